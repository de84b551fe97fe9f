//! Operations that pick by index or yield indices.

mod cpu;
mod cuda;
mod gradient;

use crate::base::{DType, Error, Result};
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Index {
    /// Positions of an axis picked by a vector; inputs: operand, indices.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// The reverse of a gather: adds up what was picked; inputs: gradient, indices.
    ScatterAdd {
        /// The axis.
        axis: usize,
    },
    /// Index of the first largest element of an axis.
    ArgMax {
        /// The axis.
        axis: usize,
    },
    /// A new last axis with a 1 at each id.
    OneHot,
}

impl Index {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }

    /// Gathers check all indices before they move anything.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        match self {
            Self::Gather { .. } | Self::ScatterAdd { .. } => operands.input(1).elements() * size_of::<u32>(),
            Self::ArgMax { .. } | Self::OneHot => 0,
        }
    }

    /// Whether a gradient can flow through it.
    pub(crate) fn is_differentiable(self) -> bool {
        matches!(self, Self::Gather { .. })
    }
}

fn check_indices(op: &str, indices: &Tensor) -> Result<()> {
    if indices.dtype().is_integer() {
        return Ok(());
    }
    Err(Error::TypeMismatch(format!("{op}: indices are {}, an integer type is needed", indices.dtype())))
}

impl Session {
    /// Positions of `axis` picked by an integer vector `[n]`. An index outside is
    /// an error when the program is executed.
    pub fn gather(&mut self, a: &Tensor, axis: i32, indices: &Tensor) -> Result<Tensor> {
        let shape = a.0.shape;
        let axis = shape.axis(axis)?;
        check_indices("gather", indices)?;
        let &[count] = indices.shape() else {
            return Err(Error::OutOfRange(format!("gather: indices of shape {}; a vector is needed", indices.0.shape)));
        };
        let target = Shape::new(&shape.with(axis, count))?;
        self.record(Op::Index(Index::Gather { axis }), &[a, indices], Params::NONE, a.dtype(), target)
    }

    /// Zeros of `shape` plus, for each i, position i of `a` at `indices[i]` of `axis`.
    pub(crate) fn scatter_add(&mut self, a: &Tensor, axis: usize, indices: &Tensor, shape: Shape) -> Result<Tensor> {
        self.record(Op::Index(Index::ScatterAdd { axis }), &[a, indices], Params::NONE, a.dtype(), shape)
    }

    /// int64 index of the first largest element along `axis`, which is removed.
    /// NaN counts as largest.
    pub fn arg_max(&mut self, a: &Tensor, axis: i32) -> Result<Tensor> {
        let shape = a.0.shape;
        let axis = shape.axis(axis)?;
        if a.dtype() == DType::Bool {
            return Err(Error::TypeMismatch("arg-max needs a number type, not bool; cast it first".to_owned()));
        }
        if shape[axis] == 0 {
            return Err(Error::OutOfRange(format!("arg-max over axis {axis} of shape {shape}, which has no elements")));
        }
        let left: Vec<usize> = (0..shape.len()).filter(|i| *i != axis).map(|i| shape[i]).collect();
        self.record(Op::Index(Index::ArgMax { axis }), &[a], Params::NONE, DType::I64, Shape::new(&left)?)
    }

    /// Integer ids `[..]` to `[.., classes]` with a 1 at each id; an id outside
    /// gives zeros.
    pub fn one_hot(&mut self, ids: &Tensor, classes: usize, dtype: DType) -> Result<Tensor> {
        check_indices("one-hot", ids)?;
        let target = Shape::new(&[ids.shape(), &[classes]].concat())?;
        self.record(Op::Index(Index::OneHot), &[ids], Params::NONE, dtype, target)
    }
}
