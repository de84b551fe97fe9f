//! Moves on the processor, in bytes.

use super::Layout;
use crate::base::{Error, Result};
use crate::tensor::call::{Call, View};
use crate::tensor::shape::MAX_RANK;

/// Bytes one thread moves at a time, about.
const CHUNK_BYTES: usize = 1 << 18;

pub(super) fn run(op: Layout, call: &Call) -> Result<()> {
    match op {
        Layout::Reshape => Err(Error::Internal("a reshape was executed".to_owned())),
        Layout::Copy => copy(call),
        Layout::Transpose { permutation } => transpose(call, &permutation),
        Layout::Slice { axis } => {
            let start = call.word(0) as usize;
            rows(call, axis, call.input(0), call.output(0), (start, 0, call.output(0).shape[axis]))
        }
        Layout::Pad { axis } => {
            let output = call.output(0);
            let start = call.word(0) as usize;
            call.lanes.split(output.bytes().len(), CHUNK_BYTES, &|at, len| {
                // SAFETY: chunks are disjoint.
                unsafe { output.bytes_mut(at, len) }.fill(0);
            })?;
            rows(call, axis, call.input(0), output, (0, start, call.input(0).shape[axis]))
        }
        Layout::Concat { axis } => {
            let mut start = 0;
            for i in 0..call.inputs.len() {
                let part = call.input(i);
                rows(call, axis, part, call.output(0), (0, start, part.shape[axis]))?;
                start += part.shape[axis];
            }
            Ok(())
        }
    }
}

fn copy(call: &Call) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    call.lanes.split(input.bytes().len(), CHUNK_BYTES, &|start, len| {
        // SAFETY: chunks are disjoint.
        unsafe { output.bytes_mut(start, len) }.copy_from_slice(&input.bytes()[start..start + len]);
    })
}

/// Copies `length` positions of `axis` from position `from` to position `to`, for
/// all dimensions before it.
fn rows(
    call: &Call,
    axis: usize,
    input: &View,
    output: &View,
    (from, to, length): (usize, usize, usize),
) -> Result<()> {
    let size = input.dtype.size_bytes();
    let (outer, source_extent, inner) = input.shape.around(axis);
    let (target_extent, row) = (output.shape[axis], inner * size);
    let (bytes, target_step) = (length * row, target_extent * row);
    let source = input.bytes();
    // Long rows are cut as well, short ones taken together.
    let pieces = bytes.div_ceil(CHUNK_BYTES).max(1);
    let piece = bytes.div_ceil(pieces);
    call.lanes.split(outer * pieces, CHUNK_BYTES / piece.max(1), &|start, len| {
        for i in start..start + len {
            let (outer, at) = (i / pieces, i % pieces * piece);
            let n = piece.min(bytes.saturating_sub(at));
            let source_at = outer * source_extent * row + from * row + at;
            // SAFETY: pieces are disjoint, and shapes were checked when recorded.
            unsafe { output.bytes_mut(outer * target_step + to * row + at, n) }
                .copy_from_slice(&source[source_at..source_at + n]);
        }
    })
}

fn transpose(call: &Call, permutation: &[u8; MAX_RANK]) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let own = input.shape.strides();
    let mut strides = [0; MAX_RANK];
    for i in 0..input.shape.len() {
        strides[i] = own[usize::from(permutation[i])];
    }
    match input.dtype.size_bytes() {
        1 => transpose_in::<u8>(call, input, output, &strides),
        2 => transpose_in::<u16>(call, input, output, &strides),
        4 => transpose_in::<u32>(call, input, output, &strides),
        _ => transpose_in::<u64>(call, input, output, &strides),
    }
}

/// Fills the output in order, reading along `strides`. `T` is any type of the
/// elements' size.
fn transpose_in<T: Copy + Send + Sync>(
    call: &Call,
    input: &View,
    output: &View,
    strides: &[usize; MAX_RANK],
) -> Result<()> {
    let shape = output.shape;
    let rank = shape.len();
    let inner = shape.last().copied().unwrap_or(1).max(1);
    let step = if rank == 0 { 0 } else { strides[rank - 1] };
    let size = size_of::<T>();
    let rows = output.elements() / inner;
    call.lanes.split(rows, (CHUNK_BYTES / 4 / (inner * size)).max(1), &|start, len| {
        for row in start..start + len {
            let (mut rest, mut offset) = (row, 0);
            for i in (0..rank.saturating_sub(1)).rev() {
                offset += rest % shape[i] * strides[i];
                rest /= shape[i];
            }
            // SAFETY: the multi-index stays inside the input's shape; rows of the
            // output are disjoint; both are aligned for their type, of T's size.
            unsafe {
                let source = input.ptr.cast::<T>().add(offset);
                let target = output.ptr.cast::<T>().add(row * inner);
                for i in 0..inner {
                    *target.add(i) = *source.add(i * step);
                }
            }
        }
    })
}
