//! Operations that move elements without looking at them.

mod cpu;
mod cuda;
mod gradient;

use super::elementwise::same_dtype;
use crate::base::{Error, Result};
use crate::tensor::call::Call;
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::{MAX_RANK, Shape};
use crate::tensor::value::Tensor;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// The same memory in another shape; never executed.
    Reshape,
    /// The same elements in other memory.
    Copy,
    /// Dimension i of the result is dimension `permutation[i]` of the operand.
    Transpose {
        /// As many as there are dimensions.
        permutation: [u8; MAX_RANK],
    },
    /// Elements `[start, start + length)` of an axis; `start` is parameter 0.
    Slice {
        /// The axis.
        axis: usize,
    },
    /// The operand at parameter 0 of an axis, zeros around it: the reverse of a slice.
    Pad {
        /// The axis.
        axis: usize,
    },
    /// Operands one after the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
}

impl Layout {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }
}

impl Session {
    /// The same elements in another shape of equal size.
    pub fn reshape(&mut self, a: &Tensor, shape: &[usize]) -> Result<Tensor> {
        let target = Shape::new(shape)?;
        let from = a.0.shape;
        if target.elements() != from.elements() {
            return Err(Error::OutOfRange(format!(
                "reshape: {from} has {} elements and {target} has {}",
                from.elements(),
                target.elements()
            )));
        }
        self.reshape_to(a, target)
    }

    /// As [`Self::reshape`], to a shape of the same size.
    pub(crate) fn reshape_to(&mut self, a: &Tensor, shape: Shape) -> Result<Tensor> {
        if a.0.shape == shape {
            return Ok(a.clone());
        }
        self.record(Op::Layout(Layout::Reshape), &[a], Params::NONE, a.dtype(), shape)
    }

    /// Dimension i of the result is dimension `permutation[i]` of `a`.
    pub fn transpose(&mut self, a: &Tensor, permutation: &[usize]) -> Result<Tensor> {
        let shape = a.0.shape;
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..shape.len()) {
            return Err(Error::Invalid(format!(
                "transpose: {permutation:?} is not an order of the {} dimensions of shape {shape}",
                shape.len()
            )));
        }
        let mut order = [0; MAX_RANK];
        let mut target = shape;
        for (i, from) in permutation.iter().enumerate() {
            order[i] = *from as u8;
            target = target.with(i, shape[*from]);
        }
        self.record(Op::Layout(Layout::Transpose { permutation: order }), &[a], Params::NONE, a.dtype(), target)
    }

    /// Elements `[start, start + length)` along `axis`. Slices that differ only in
    /// `start` are one program.
    pub fn slice(&mut self, a: &Tensor, axis: i32, start: u64, length: u64) -> Result<Tensor> {
        let shape = a.0.shape;
        let axis = shape.axis(axis)?;
        if start.checked_add(length).is_none_or(|end| end > shape[axis] as u64) {
            return Err(Error::OutOfRange(format!(
                "slice [{start}, {start} + {length}) of axis {axis} of shape {shape}"
            )));
        }
        let target = shape.with(axis, length as usize);
        self.record(Op::Layout(Layout::Slice { axis }), &[a], Params::words([start]), a.dtype(), target)
    }

    /// `a` at `start` of an axis of `extent`, zeros elsewhere.
    pub(crate) fn pad(&mut self, a: &Tensor, axis: usize, start: u64, extent: usize) -> Result<Tensor> {
        let target = a.0.shape.with(axis, extent);
        self.record(Op::Layout(Layout::Pad { axis }), &[a], Params::words([start]), a.dtype(), target)
    }

    /// Parts of equal shape but for `axis`, joined along it.
    pub fn concat(&mut self, axis: i32, parts: &[&Tensor]) -> Result<Tensor> {
        let Some(first) = parts.first() else {
            return Err(Error::Invalid("concat of no tensors; give at least one".to_owned()));
        };
        let shape = first.0.shape;
        let axis = shape.axis(axis)?;
        let mut extent = 0usize;
        for part in parts {
            same_dtype("concat", first, part)?;
            let other = part.0.shape;
            if other.len() != shape.len() || other.with(axis, 0) != shape.with(axis, 0) {
                return Err(Error::OutOfRange(format!(
                    "concat along axis {axis}: shapes {shape} and {other} do not fit"
                )));
            }
            extent = extent.saturating_add(other[axis]);
        }
        let target = Shape::new(&shape.with(axis, extent))?;
        self.record(Op::Layout(Layout::Concat { axis }), parts, Params::NONE, first.dtype(), target)
    }
}
