//! Reductions on the processor.
//!
//! The operand is `[outer, reduced, inner]`. The reduced dimension is cut into
//! blocks of fixed length; every block yields partial results, which are combined in
//! order. So the order of additions, and with it every bit, depends on the shape only.

use super::{Kind, Reduce};
use crate::base::Result;
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, with_dtype};
use crate::tensor::simd::simd;

/// Length of a block where elements to combine are neighbours.
const LONG: usize = 1 << 16;

/// Length of a block where they are not.
pub(super) const SHORT: usize = 1 << 12;

/// Columns one thread takes at a time.
const COLUMNS: usize = 128;

/// Elements one thread takes at a time, about.
const CHUNK: usize = 1 << 15;

pub(super) fn run(op: Reduce, call: &Call) -> Result<()> {
    with_dtype!(any call.output(0).dtype, T => match op.kind {
        Kind::Max => reduce::<T, Largest>(op, call),
        _ => reduce::<T, Total>(op, call),
    })
}

/// A way to combine elements.
trait Combine<T: Element>: 'static {
    type State: Copy + Send + Sync;
    fn start() -> Option<Self::State>;
    fn of(x: T) -> Self::State;
    fn join(a: Self::State, b: Self::State) -> Self::State;
    /// The result; `scale` is 1 but for means.
    fn finish(state: Self::State, scale: f64) -> T;
}

/// Addition.
struct Total;
/// Maximum.
struct Largest;

impl<T: Element> Combine<T> for Total {
    type State = <T::Work as Number>::Sum;
    fn start() -> Option<Self::State> {
        Some(Self::State::default())
    }
    #[inline(always)]
    fn of(x: T) -> Self::State {
        x.widen().to_sum()
    }
    #[inline(always)]
    fn join(a: Self::State, b: Self::State) -> Self::State {
        <T::Work as Number>::add_sums(a, b)
    }
    #[inline(always)]
    fn finish(state: Self::State, scale: f64) -> T {
        T::narrow(<T::Work as Number>::from_sum(<T::Work as Number>::scale_sum(state, scale)))
    }
}

impl<T: Element> Combine<T> for Largest {
    type State = T::Work;
    fn start() -> Option<Self::State> {
        None
    }
    #[inline(always)]
    fn of(x: T) -> Self::State {
        x.widen()
    }
    #[inline(always)]
    fn join(a: Self::State, b: Self::State) -> Self::State {
        if a > b || a.is_nan() { a } else { b }
    }
    #[inline(always)]
    fn finish(state: Self::State, _scale: f64) -> T {
        T::narrow(state)
    }
}

fn reduce<T: Element, C: Combine<T>>(op: Reduce, call: &Call) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let (outer, reduced, inner) = input.shape.around_range(op.start, op.end);
    let x = input.slice::<T>();
    let scale = if op.kind == Kind::Mean { 1.0 / reduced as f64 } else { 1.0 };
    let length = if inner == 1 { LONG } else { SHORT };
    let blocks = reduced.div_ceil(length);
    let results = outer * inner;
    let Some(any) = x.first().map(|x| C::of(*x)).or(C::start()) else { return Ok(()) };
    if blocks == 0 {
        // SAFETY: the output is this call's; one slice of it is made.
        unsafe { output.slice_mut::<T>(0, results) }.fill(C::finish(any, scale));
        return Ok(());
    }
    // Partial results as [block][outer][inner].
    let mut partial = vec![any; if blocks > 1 { blocks * results } else { 0 }];
    let target = Parts::<T, C> { partial: partial.as_mut_ptr(), results, whole: blocks == 1, scale };
    let out = |at: usize, len: usize| {
        // SAFETY: each chunk below writes results that no other writes.
        unsafe { output.slice_mut::<T>(at, len) }
    };
    let wide = COLUMNS.min(inner.max(1));
    let (rows_per_chunk, across) = ((CHUNK / (wide * reduced.min(length))).max(1), inner.div_ceil(wide));
    call.lanes.run(blocks * across * outer.div_ceil(rows_per_chunk), &|chunk| {
        let (block, rest) = (chunk % blocks, chunk / blocks);
        let (column, first_row) = (rest % across * wide, rest / across * rows_per_chunk);
        let (from, len) = (block * length, length.min(reduced - block * length));
        for row in first_row..(first_row + rows_per_chunk).min(outer) {
            let start = (row * reduced + from) * inner + column;
            let columns = wide.min(inner - column);
            let mut state = [any; COLUMNS];
            let state = &mut state[..columns];
            if inner == 1 {
                fold_row::<T, C>(&x[start..start + len], state);
            } else {
                fold_columns::<T, C>(&x[start..], len, inner, state);
            }
            let at = row * inner + column;
            if target.whole {
                for (y, s) in out(at, columns).iter_mut().zip(state) {
                    *y = C::finish(*s, target.scale);
                }
            } else {
                target.store(block, at, state);
            }
        }
    })?;
    if blocks > 1 {
        call.lanes.split(results, CHUNK / blocks.min(CHUNK), &|start, len| {
            for (i, y) in out(start, len).iter_mut().enumerate() {
                let mut state = partial[start + i];
                for block in 1..blocks {
                    state = C::join(state, partial[block * results + start + i]);
                }
                *y = C::finish(state, scale);
            }
        })?;
    }
    Ok(())
}

/// Where partial results go.
struct Parts<T: Element, C: Combine<T>> {
    partial: *mut C::State,
    results: usize,
    whole: bool,
    scale: f64,
}

// SAFETY: chunks write disjoint parts.
unsafe impl<T: Element, C: Combine<T>> Sync for Parts<T, C> {}

impl<T: Element, C: Combine<T>> Parts<T, C> {
    fn store(&self, block: usize, at: usize, state: &[C::State]) {
        // SAFETY: `partial` has blocks × results places; a chunk owns those of its
        // block, rows and columns.
        unsafe {
            std::ptr::copy_nonoverlapping(state.as_ptr(), self.partial.add(block * self.results + at), state.len())
        }
    }
}

simd! {
    /// Combines neighbours into `state[0]`, in 16 lanes.
    fn fold_row[T, C] where [T: Element, C: Combine<T>] (row: &[T], state: &mut [C::State]) {
        let (head, tail) = row.split_at(row.len() / 16 * 16);
        let mut result = None;
        if let Some((first, _)) = head.split_at_checked(16) {
            let mut lanes: [C::State; 16] = std::array::from_fn(|i| C::of(first[i]));
            for part in head[16..].chunks_exact(16) {
                for (lane, x) in lanes.iter_mut().zip(part) {
                    *lane = C::join(*lane, C::of(*x));
                }
            }
            result = lanes.into_iter().reduce(C::join);
        }
        let rest = tail.iter().map(|x| C::of(*x)).reduce(C::join);
        if let Some(combined) = result.into_iter().chain(rest).reduce(C::join) {
            state[0] = combined;
        }
    }
}

simd! {
    /// Combines `len` rows that are `stride` apart into `state`, column by column.
    fn fold_columns[T, C] where [T: Element, C: Combine<T>]
    (x: &[T], len: usize, stride: usize, state: &mut [C::State]) {
        for (s, x) in state.iter_mut().zip(x) {
            *s = C::of(*x);
        }
        for row in 1..len {
            for (s, x) in state.iter_mut().zip(&x[row * stride..]) {
                *s = C::join(*s, C::of(*x));
            }
        }
    }
}
