//! Softmax and its kin on the processor. Sums are in double precision.

use super::Probability;
use crate::base::Result;
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, Real, with_dtype};
use crate::tensor::simd::simd;

/// Elements one thread takes at a time, about.
const CHUNK: usize = 1 << 13;

pub(super) fn run(op: Probability, call: &Call) -> Result<()> {
    with_dtype!(float call.output(0).dtype, T => match op {
        Probability::Softmax { axis } => lanes::<T>(call, axis, 0, &|_, x, y| softmax_lane(x, y)),
        Probability::LogSoftmax { axis } => lanes::<T>(call, axis, 0, &|_, x, y| log_softmax_lane(x, y)),
        Probability::SoftmaxGrad { axis } => lanes::<T>(call, axis, 1, &|dy, y, dx| {
            let dot: f64 = dy.iter().zip(y).map(|(dy, y)| (dy.times(*y)).to_f64()).sum();
            let dot = Number::from_f64(dot);
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = y.times(dy.minus(dot));
            }
        }),
        Probability::LogSoftmaxGrad { axis } => lanes::<T>(call, axis, 1, &|dy, y, dx| {
            let sum = Number::from_f64(dy.iter().map(|dy| dy.to_f64()).sum());
            for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
                *dx = dy.minus(y.exp().times(sum));
            }
        }),
        Probability::CrossEntropy => cross_entropy::<T>(call),
        Probability::CrossEntropyGrad => cross_entropy_gradient::<T>(call),
    }, |_| Ok(()))
}

/// A function of two lanes and the resulting one.
type LaneWork<W> = dyn Fn(&[W], &[W], &mut [W]) + Sync;

/// Calls `work(first, second, result)` for every lane along `axis`: lanes of the
/// last two inputs, or of the only one as `second`.
fn lanes<T: Element<Work: Real>>(call: &Call, axis: usize, second: usize, work: &LaneWork<T::Work>) -> Result<()> {
    let (first, second, output) = (call.input(0), call.input(second), call.output(0));
    let (outer, extent, inner) = output.shape.around(axis);
    let (a, b) = (first.slice::<T>(), second.slice::<T>());
    call.lanes.split(outer * inner, (CHUNK / extent.max(1)).max(1), &|start, len| {
        let mut scratch = vec![T::Work::default(); 3 * extent];
        let (one, rest) = scratch.split_at_mut(extent);
        let (two, three) = rest.split_at_mut(extent);
        for lane in start..start + len {
            let at = lane / inner * extent * inner + lane % inner;
            for i in 0..extent {
                one[i] = a[at + i * inner].widen();
                two[i] = b[at + i * inner].widen();
            }
            work(one, two, three);
            for (i, y) in three.iter().enumerate() {
                // SAFETY: lanes are disjoint.
                let target = unsafe { output.slice_mut::<T>(at + i * inner, 1) };
                target.fill(T::narrow(*y));
            }
        }
    })
}

#[inline(always)]
fn largest<W: Real>(x: &[W]) -> W {
    x.iter().copied().reduce(|a, b| if a > b || a.is_nan() { a } else { b }).unwrap_or_default()
}

simd! {
    /// y = eˣ / Σ eˣ.
    fn softmax_lane[W] where [W: Real] (x: &[W], y: &mut [W]) {
        let top = largest(x);
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.minus(top).exp();
        }
        let sum: f64 = y.iter().map(|y| y.to_f64()).sum();
        let scale = W::from_f64(1.0 / sum);
        for y in y {
            *y = y.times(scale);
        }
    }
}

simd! {
    /// y = x − ln Σ eˣ.
    fn log_softmax_lane[W] where [W: Real] (x: &[W], y: &mut [W]) {
        let top = largest(x);
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.minus(top).exp();
        }
        let sum: f64 = y.iter().map(|y| y.to_f64()).sum();
        let log = W::from_f64(sum.ln());
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.minus(top).minus(log);
        }
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
            log_softmax_lane(row, out);
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
            softmax_lane(row, out);
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
