//! Softmax and its kin on the processor. Sums are in double precision.

use super::Probability;
use crate::base::Result;
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, Real, with_dtype};
use crate::tensor::simd::simd;

/// Elements one thread takes at a time, about.
const CHUNK: usize = 1 << 13;

/// Elements of a long lane between two looks at the kill switch.
const PIECE: usize = 1 << 16;

/// Whether a program should end; a lane is left as it is then.
type Halt<'a> = &'a dyn Fn() -> bool;

pub(super) fn run(op: Probability, call: &Call) -> Result<()> {
    with_dtype!(float call.output(0).dtype, T => match op {
        Probability::Softmax { axis } => lanes::<T>(call, axis, 0, &|_, x, y, halt| softmax_lane(x, y, halt)),
        Probability::LogSoftmax { axis } => lanes::<T>(call, axis, 0, &|_, x, y, halt| log_softmax_lane(x, y, halt)),
        Probability::SoftmaxGrad { axis } => lanes::<T>(call, axis, 1, &|dy, y, dx, halt| {
            let dot = sum(dy.iter().zip(y).map(|(dy, y)| (dy.times(*y)).to_f64()), halt);
            let dot = Number::from_f64(dot);
            pieces(dx, halt, |at, dx| {
                for ((dx, dy), y) in dx.iter_mut().zip(&dy[at..]).zip(&y[at..]) {
                    *dx = y.times(dy.minus(dot));
                }
            });
        }),
        Probability::LogSoftmaxGrad { axis } => lanes::<T>(call, axis, 1, &|dy, y, dx, halt| {
            let sum = Number::from_f64(sum(dy.iter().map(|dy| dy.to_f64()), halt));
            pieces(dx, halt, |at, dx| {
                for ((dx, dy), y) in dx.iter_mut().zip(&dy[at..]).zip(&y[at..]) {
                    *dx = dy.minus(y.exp().times(sum));
                }
            });
        }),
        Probability::CrossEntropy => cross_entropy::<T>(call),
        Probability::CrossEntropyGrad => cross_entropy_gradient::<T>(call),
    }, |_| Ok(()))
}

/// A function of two lanes and the resulting one.
type LaneWork<W> = dyn Fn(&[W], &[W], &mut [W], Halt) + Sync;

/// Calls `work(first, second, result, halt)` for every lane along `axis`: lanes of the
/// last two inputs, or of the only one as `second`.
fn lanes<T: Element<Work: Real>>(call: &Call, axis: usize, second: usize, work: &LaneWork<T::Work>) -> Result<()> {
    let (first, second, output) = (call.input(0), call.input(second), call.output(0));
    let (outer, extent, inner) = output.shape.around(axis);
    let (a, b) = (first.slice::<T>(), second.slice::<T>());
    call.lanes.split(outer * inner, (CHUNK / extent.max(1)).max(1), &|start, len| {
        let mut scratch = vec![T::Work::default(); 3 * extent];
        let (one, rest) = scratch.split_at_mut(extent);
        let (two, three) = rest.split_at_mut(extent);
        let halt = || call.lanes.killed();
        for lane in start..start + len {
            let at = lane / inner * extent * inner + lane % inner;
            let load = |lane: &mut [T::Work], from: &[T]| {
                pieces(lane, &halt, |start, lane| {
                    for (i, x) in lane.iter_mut().enumerate() {
                        *x = from[at + (start + i) * inner].widen();
                    }
                });
            };
            load(&mut *one, a);
            load(&mut *two, b);
            work(one, two, three, &halt);
            pieces(three, &halt, |start, lane| {
                for (i, y) in lane.iter().enumerate() {
                    // SAFETY: lanes are disjoint.
                    let target = unsafe { output.slice_mut::<T>(at + (start + i) * inner, 1) };
                    target.fill(T::narrow(*y));
                }
            });
        }
    })
}

/// Calls `work(start, piece)` for the pieces of a lane, until `halt`.
#[inline(always)]
fn pieces<W>(lane: &mut [W], halt: Halt, mut work: impl FnMut(usize, &mut [W])) {
    for (i, piece) in lane.chunks_mut(PIECE).enumerate() {
        if i > 0 && halt() {
            return;
        }
        work(i * PIECE, piece);
    }
}

/// The sum in order, until `halt`.
#[inline(always)]
fn sum(mut terms: impl ExactSizeIterator<Item = f64>, halt: Halt) -> f64 {
    let mut sum = 0.0;
    while terms.len() > PIECE && !halt() {
        sum = terms.by_ref().take(PIECE).fold(sum, |sum, term| sum + term);
    }
    terms.take(PIECE).fold(sum, |sum, term| sum + term)
}

/// The largest; NaN if there is one.
#[inline(always)]
fn largest<W: Real>(x: &[W], halt: Halt) -> W {
    let larger = |a: W, b: W| if a > b || a.is_nan() { a } else { b };
    let mut top = x.first().copied().unwrap_or_default();
    for (i, piece) in x.chunks(PIECE).enumerate() {
        if i > 0 && halt() {
            break;
        }
        top = piece.iter().copied().fold(top, larger);
    }
    top
}

/// y = eˣ⁻ᵐᵃˣ; the largest x and the sum of y.
#[inline(always)]
fn exponentials<W: Real>(x: &[W], y: &mut [W], halt: Halt) -> (W, f64) {
    let top = largest(x, halt);
    pieces(y, halt, |start, y| {
        for (y, x) in y.iter_mut().zip(&x[start..]) {
            *y = x.minus(top).exp();
        }
    });
    (top, sum(y.iter().map(|y| y.to_f64()), halt))
}

simd! {
    /// y = eˣ / Σ eˣ.
    fn softmax_lane[W] where [W: Real] (x: &[W], y: &mut [W], halt: Halt) {
        let (_, sum) = exponentials(x, y, halt);
        let scale = W::from_f64(1.0 / sum);
        pieces(y, halt, |_, y| {
            for y in y {
                *y = y.times(scale);
            }
        });
    }
}

simd! {
    /// y = x − ln Σ eˣ.
    fn log_softmax_lane[W] where [W: Real] (x: &[W], y: &mut [W], halt: Halt) {
        let (top, sum) = exponentials(x, y, halt);
        let log = W::from_f64(sum.ln());
        pieces(y, halt, |start, y| {
            for (y, x) in y.iter_mut().zip(&x[start..]) {
                *y = x.minus(top).minus(log);
            }
        });
    }
}

fn cross_entropy<T: Element<Work: Real>>(call: &Call) -> Result<()> {
    let (logits, labels) = (call.input(0), call.input(1));
    let (rows, classes) = (logits.shape[0], logits.shape[1]);
    let x = logits.slice::<T>();
    let per_chunk = (CHUNK / classes.max(1)).max(1);
    let mut partial = vec![0f64; rows.div_ceil(per_chunk)];
    let sums = std::sync::Mutex::new(&mut partial);
    call.lanes.split(rows, per_chunk, &|start, len| {
        let mut wide = vec![T::Work::default(); 2 * classes];
        let (row, out) = wide.split_at_mut(classes);
        let mut sum = 0.0;
        for i in start..start + len {
            for (to, from) in row.iter_mut().zip(&x[i * classes..]) {
                *to = from.widen();
            }
            log_softmax_lane(row, out, &|| call.lanes.killed());
            sum -= labels.index(i, classes).map_or(f64::NAN, |label| out[label].to_f64());
        }
        sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[start / per_chunk] = sum;
    })?;
    let mean = partial.iter().sum::<f64>() / rows as f64;
    // SAFETY: the output is this call's, one element.
    let target = unsafe { call.output(0).slice_mut::<T>(0, 1) };
    target.fill(T::narrow(Number::from_f64(mean)));
    Ok(())
}

fn cross_entropy_gradient<T: Element<Work: Real>>(call: &Call) -> Result<()> {
    let (d, logits, labels, output) = (call.input(0), call.input(1), call.input(2), call.output(0));
    let (rows, classes) = (logits.shape[0], logits.shape[1]);
    let x = logits.slice::<T>();
    let d = d.slice::<T>().first().map_or(0.0, |d| d.widen().to_f64()) / rows as f64;
    let scale = <T::Work as Number>::from_f64(d);
    call.lanes.split(rows, (CHUNK / classes.max(1)).max(1), &|start, len| {
        let mut wide = vec![T::Work::default(); 2 * classes];
        let (row, out) = wide.split_at_mut(classes);
        for i in start..start + len {
            for (to, from) in row.iter_mut().zip(&x[i * classes..]) {
                *to = from.widen();
            }
            softmax_lane(row, out, &|| call.lanes.killed());
            match labels.index(i, classes) {
                Some(label) => out[label] = out[label].minus(<T::Work as Number>::ONE),
                None => out.fill(<T::Work as Number>::from_f64(f64::NAN)),
            }
            // SAFETY: rows are disjoint.
            for (y, out) in unsafe { output.slice_mut::<T>(i * classes, classes) }.iter_mut().zip(&*out) {
                *y = T::narrow(out.times(scale));
            }
        }
    })
}
