//! Picking and indices on the processor.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Index;
use crate::base::{Error, Result};
use crate::tensor::call::{Call, View};
use crate::tensor::element::{Element, Number, with_dtype};

/// Elements one thread takes at a time, about.
const CHUNK: usize = 1 << 16;

/// Bytes one thread gathers at a time, about. Rows lie far apart, so this is slow
/// work that is worth sharing early.
const GATHER_BYTES: usize = 1 << 14;

pub(super) fn run(op: Index, call: &Call) -> Result<()> {
    match op {
        Index::Gather { axis } => gather(call, axis),
        Index::ScatterAdd { axis } => with_dtype!(any call.output(0).dtype, T => scatter_add::<T>(call, axis)),
        Index::ArgMax { axis } => with_dtype!(any call.input(0).dtype, T => arg_max::<T>(call, axis)),
        Index::OneHot => with_dtype!(any call.output(0).dtype, T => one_hot::<T>(call)),
    }
}

/// Indices as positions, or the error that names the first one outside.
fn positions(call: &Call, view: &View, extent: usize) -> Result<Vec<u32>> {
    let mut positions = vec![0u32; view.elements()];
    let outside = AtomicU64::new(u64::MAX);
    let target = View { ptr: positions.as_mut_ptr().cast(), dtype: u32::DTYPE, shape: view.shape };
    call.lanes.split(view.elements(), CHUNK, &|start, len| {
        // SAFETY: chunks are disjoint parts of `positions`.
        let part = unsafe { target.slice_mut::<u32>(start, len) };
        for (i, position) in part.iter_mut().enumerate() {
            match view.index(start + i, extent).and_then(|p| u32::try_from(p).ok()) {
                Some(found) => *position = found,
                None => {
                    outside.fetch_min((start + i) as u64, Ordering::Relaxed);
                }
            }
        }
    })?;
    let first = outside.into_inner();
    if first == u64::MAX {
        return Ok(positions);
    }
    let at = first as usize;
    let value = with_dtype!(integer view.dtype, T => i128::from(view.slice::<T>()[at]), |_| -1);
    Err(Error::OutOfRange(format!("gather: index {value} at position {at}; the axis has {extent} elements")))
}

fn gather(call: &Call, axis: usize) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let (outer, extent, inner) = input.shape.around(axis);
    let row = inner * input.dtype.size_bytes();
    let picked = positions(call, call.input(1), extent)?;
    if output.elements() == 0 {
        return Ok(());
    }
    let (source, count) = (input.bytes(), picked.len());
    call.lanes.split(outer * count, (GATHER_BYTES / row.max(1)).max(1), &|start, len| {
        for i in start..start + len {
            let at = (i / count * extent + picked[i % count] as usize) * row;
            // SAFETY: rows of the output are disjoint.
            unsafe { output.bytes_mut(i * row, row) }.copy_from_slice(&source[at..at + row]);
        }
    })
}

/// Adds rows in the order of indices, so that sums do not depend on threads.
fn scatter_add<T: Element>(call: &Call, axis: usize) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let (outer, extent, inner) = output.shape.around(axis);
    let picked = positions(call, call.input(1), extent)?;
    if output.elements() == 0 {
        return Ok(());
    }
    let (source, count) = (input.slice::<T>(), picked.len());
    call.lanes.split(output.elements(), CHUNK, &|start, len| {
        // SAFETY: chunks are disjoint.
        unsafe { output.slice_mut::<T>(start, len) }.fill(T::default());
    })?;
    // Columns are cut, rows are not: two indices may name one row.
    let columns = inner.clamp(1, 256);
    let across = inner.div_ceil(columns);
    call.lanes.run(outer * across, &|chunk| {
        let (o, column) = (chunk / across, chunk % across * columns);
        let width = columns.min(inner - column);
        for (i, position) in picked.iter().enumerate() {
            if i % 4096 == 4095 && call.lanes.killed() {
                return;
            }
            let at = (o * extent + *position as usize) * inner + column;
            // SAFETY: a chunk owns its columns of its outer index.
            let target = unsafe { output.slice_mut::<T>(at, width) };
            for (y, x) in target.iter_mut().zip(&source[(o * count + i) * inner + column..]) {
                *y = T::narrow(y.widen().plus(x.widen()));
            }
        }
    })
}

fn arg_max<T: Element>(call: &Call, axis: usize) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let (_, extent, inner) = input.shape.around(axis);
    let x = input.slice::<T>();
    call.lanes.split(output.elements(), (CHUNK / extent).max(1), &|start, len| {
        // SAFETY: chunks are disjoint.
        let target = unsafe { output.slice_mut::<i64>(start, len) };
        for (i, y) in target.iter_mut().enumerate() {
            let (o, column) = ((start + i) / inner, (start + i) % inner);
            let lane = x[o * extent * inner + column..].iter().step_by(inner).take(extent);
            let (mut best, mut largest) = (0, None);
            for (position, value) in lane.enumerate() {
                let value = value.widen();
                if largest.is_none_or(|l: T::Work| value > l || (value.is_nan() && !l.is_nan())) {
                    (best, largest) = (position, Some(value));
                }
                if position % (1 << 20) == (1 << 20) - 1 && call.lanes.killed() {
                    return;
                }
            }
            *y = best as i64;
        }
    })
}

fn one_hot<T: Element>(call: &Call) -> Result<()> {
    let (ids, output) = (call.input(0), call.output(0));
    let classes = output.shape.last().copied().unwrap_or_default();
    call.lanes.split(ids.elements(), (CHUNK / classes.max(1)).max(1), &|start, len| {
        // SAFETY: chunks are disjoint.
        let rows = unsafe { output.slice_mut::<T>(start * classes, len * classes) };
        for piece in rows.chunks_mut(1 << 20) {
            if call.lanes.killed() {
                return;
            }
            piece.fill(T::default());
        }
        for i in 0..len {
            if let Some(id) = ids.index(start + i, classes) {
                rows[i * classes + id] = T::narrow(T::Work::ONE);
            }
        }
    })
}
