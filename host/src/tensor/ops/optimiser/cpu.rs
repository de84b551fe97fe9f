//! Updates on the processor: one pass over all variables of a call.

use super::Update;
use crate::base::{DType, Result};
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, Real, with_dtype};
use crate::tensor::simd::simd;

/// Elements one thread takes at a time.
const CHUNK: usize = 1 << 14;

pub(super) fn run(op: Update, call: &Call) -> Result<()> {
    if op == Update::Assign {
        let (value, output) = (call.input(1), call.output(0));
        let bytes = value.bytes();
        return call.lanes.split(bytes.len(), CHUNK * 8, &|start, len| {
            // SAFETY: chunks are disjoint; the value is not the variable's own memory.
            unsafe { output.bytes_mut(start, len) }.copy_from_slice(&bytes[start..start + len]);
        });
    }
    let states = match op {
        Update::Adam => 2,
        Update::Sgd { momentum } => usize::from(momentum),
        Update::Assign => 0,
    };
    let count = call.outputs.len() / (states + 1);
    let pieces: Vec<(usize, usize)> =
        (0..count).flat_map(|i| (0..call.output(i).elements()).step_by(CHUNK).map(move |start| (i, start))).collect();
    call.lanes.run(pieces.len(), &|chunk| {
        let (i, start) = pieces[chunk];
        let len = CHUNK.min(call.output(i).elements() - start);
        let gradient = call.input(call.outputs.len() + i);
        with_dtype!(float gradient.dtype, T => {
            let gradient = &gradient.slice::<T>()[start..start + len];
            // SAFETY: variables of a call are distinct, chunks are disjoint, and
            // gradients are never a replaced version's memory.
            unsafe {
                let part = |group: usize| call.output(group * count + i).slice_mut::<T>(start, len);
                match op {
                    Update::Adam => adam::<T>(call.params, gradient, part(0), part(1), part(2)),
                    Update::Sgd { momentum: true } => momentum_step::<T>(call.params, gradient, part(0), part(1)),
                    _ => step::<T>(call.params, gradient, part(0)),
                }
            }
        }, |_: DType| ());
    })
}

/// Scalar `i` in the type of arithmetic.
#[inline(always)]
fn scalar<T: Number>(params: &[u64], i: usize) -> T {
    T::from_f64(f64::from_bits(params[i]))
}

simd! {
    /// w ← w − rate·(g + decay·w).
    fn step[T] where [T: Element, T::Work: Real] (params: &[u64], g: &[T], w: &mut [T]) {
        let [rate, decay] = [0, 2].map(|i| scalar::<T::Work>(params, i));
        for (w, g) in w.iter_mut().zip(g) {
            let old = w.widen();
            *w = T::narrow(old.minus(rate.times(g.widen().plus(decay.times(old)))));
        }
    }
}

simd! {
    /// v ← μ·v + g + decay·w, w ← w − rate·v.
    fn momentum_step[T] where [T: Element, T::Work: Real]
    (params: &[u64], g: &[T], w: &mut [T], v: &mut [T]) {
        let [rate, momentum, decay] = [0, 1, 2].map(|i| scalar::<T::Work>(params, i));
        for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
            let old = w.widen();
            let velocity = momentum.times(v.widen()).plus(g.widen()).plus(decay.times(old)).flushed(T::Work::TINY);
            *v = T::narrow(velocity);
            *w = T::narrow(old.minus(rate.times(velocity)));
        }
    }
}

simd! {
    /// m ← β₁·m + (1 − β₁)·g, v ← β₂·v + (1 − β₂)·g²,
    /// w ← w − rate·(m̂ / (√v̂ + ε) + decay·w). Moments of weights whose gradient
    /// stays 0 decay towards denormal numbers; they are set to 0 before.
    fn adam[T] where [T: Element, T::Work: Real]
    (params: &[u64], g: &[T], w: &mut [T], m: &mut [T], v: &mut [T]) {
        let float = |i: usize| f64::from_bits(params[i]);
        let (count, rate, beta1, beta2) = (float(0), float(1), float(2), float(3));
        let number = <T::Work as Number>::from_f64;
        let [b1, c1, b2, c2] = [beta1, 1.0 - beta1, beta2, (1.0 - beta2).sqrt()].map(number);
        let (tiny, root_of_tiny) = (<T::Work as Real>::TINY, <T::Work as Real>::TINY_ROOT);
        let smallest = root_of_tiny.times(root_of_tiny);
        // √v̂ = √v / √(1 − β₂ᵗ): the corrections are scalars.
        let step = number(rate / (1.0 - beta1.powf(count)));
        let unbias = number(1.0 / (1.0 - beta2.powf(count)).sqrt());
        let [epsilon, shrink] = [float(4), rate * float(5)].map(number);
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            let g = g.widen();
            let first = b1.times(m.widen()).plus(c1.times(g)).flushed(tiny);
            let scaled = c2.times(g).flushed(root_of_tiny);
            let second = b2.times(v.widen()).plus(scaled.times(scaled)).flushed(smallest);
            *m = T::narrow(first);
            *v = T::narrow(second);
            let old = w.widen();
            let towards = step.times(first).over(second.sqrt().times(unbias).plus(epsilon));
            *w = T::narrow(old.minus(towards).minus(shrink.times(old)));
        }
    }
}
