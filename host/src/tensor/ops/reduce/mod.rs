//! Sums, means and maxima over axes.
//!
//! One operation reduces neighbouring dimensions; sets of axes that are not
//! neighbours are recorded as several.

mod cpu;
mod cuda;
mod gradient;

use crate::base::{DType, Error, Result};
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Reduces dimensions `[start, end)`. The shape of the result is the value's own,
/// with or without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reduce {
    kind: Kind,
    start: usize,
    end: usize,
}

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Mean,
    Max,
}

/// What becomes of reduced dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// They disappear.
    Removed,
    /// They stay, with size 1.
    Kept,
}

impl Reduce {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }

    /// Long reductions are made of partial results.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        let (outer, reduced, inner) = operands.input(0).shape.around_range(self.start, self.end);
        reduced.div_ceil(cpu::SHORT) * outer * inner * size_of::<u128>()
    }
}

impl Session {
    /// Sum over `axes` (all when empty). Numbers; integers wrap around, floats
    /// are added in double precision.
    pub fn reduce_sum(&mut self, a: &Tensor, axes: &[i32], keep: Keep) -> Result<Tensor> {
        self.reduce(Kind::Sum, a, axes, keep)
    }

    /// Arithmetic mean over `axes` (all when empty). Floats.
    pub fn reduce_mean(&mut self, a: &Tensor, axes: &[i32], keep: Keep) -> Result<Tensor> {
        if !a.dtype().is_float() {
            return Err(Error::TypeMismatch(format!(
                "reduce-mean needs a float type, not {}; cast it first",
                a.dtype()
            )));
        }
        self.reduce(Kind::Mean, a, axes, keep)
    }

    /// Largest element over `axes` (all when empty); NaN if any is.
    pub fn reduce_max(&mut self, a: &Tensor, axes: &[i32], keep: Keep) -> Result<Tensor> {
        self.reduce(Kind::Max, a, axes, keep)
    }

    fn reduce(&mut self, kind: Kind, a: &Tensor, axes: &[i32], keep: Keep) -> Result<Tensor> {
        let shape = a.0.shape;
        if a.dtype() == DType::Bool {
            return Err(Error::TypeMismatch("reductions need a number type, not bool; cast it first".to_owned()));
        }
        let mut reduced = [axes.is_empty(); crate::tensor::MAX_RANK];
        for axis in axes {
            let position = shape.axis(*axis)?;
            if std::mem::replace(&mut reduced[position], true) {
                return Err(Error::Invalid(format!("axis {axis} is named twice in a reduction of shape {shape}")));
            }
        }
        if kind == Kind::Max
            && let Some(axis) = (0..shape.len()).find(|i| reduced[*i] && shape[*i] == 0)
        {
            return Err(Error::OutOfRange(format!(
                "reduce-max over axis {axis} of shape {shape}, which has no elements"
            )));
        }
        let mut result = a.clone();
        let mut end = shape.len();
        while end > 0 {
            if !reduced[end - 1] {
                end -= 1;
                continue;
            }
            let start = (0..end).rev().take_while(|i| reduced[*i]).last().unwrap_or(end - 1);
            let mut target = result.0.shape;
            for i in start..end {
                target = target.with(i, 1);
            }
            let op = Op::Reduce(Reduce { kind, start, end });
            result = self.record(op, &[&result], Params::NONE, a.dtype(), target)?;
            end = start;
        }
        if keep == Keep::Kept {
            return Ok(result);
        }
        let left: Vec<usize> = (0..shape.len()).filter(|i| !reduced[*i]).map(|i| shape[i]).collect();
        self.reshape_to(&result, Shape::new(&left)?)
    }
}
