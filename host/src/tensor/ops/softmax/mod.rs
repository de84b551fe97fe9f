//! Softmax, its logarithm, and cross-entropy.

mod cpu;
mod cuda;
mod gradient;

use crate::base::{Error, Result};
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Probability {
    /// Exponentials that sum to 1 along an axis.
    Softmax {
        /// The axis.
        axis: usize,
    },
    /// Logarithm of the above.
    LogSoftmax {
        /// The axis.
        axis: usize,
    },
    /// y · (dy − Σ dy·y); inputs: dy, y.
    SoftmaxGrad {
        /// The axis.
        axis: usize,
    },
    /// dy − eʸ · Σ dy; inputs: dy, y.
    LogSoftmaxGrad {
        /// The axis.
        axis: usize,
    },
    /// Mean −log softmax at the labels; inputs: logits, labels.
    CrossEntropy,
    /// (softmax − one-hot) · d / n; inputs: d (a scalar), logits, labels.
    CrossEntropyGrad,
}

impl Probability {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }

    /// Three lanes of the type computed in for each thread.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        let lane = match self {
            Self::Softmax { axis }
            | Self::LogSoftmax { axis }
            | Self::SoftmaxGrad { axis }
            | Self::LogSoftmaxGrad { axis } => operands.input(0).shape.around(axis).1,
            Self::CrossEntropy => operands.input(0).shape[1],
            Self::CrossEntropyGrad => operands.input(1).shape[1],
        };
        3 * lane * size_of::<f64>() * operands.threads
    }
}

impl Session {
    /// Exponentials that sum to 1 along `axis`. Floats.
    pub fn softmax(&mut self, a: &Tensor, axis: i32) -> Result<Tensor> {
        let axis = checked_axis("softmax", a, axis)?;
        self.record(Op::Probability(Probability::Softmax { axis }), &[a], Params::NONE, a.dtype(), a.0.shape)
    }

    /// Logarithm of [`Self::softmax`], computed without overflow.
    pub fn log_softmax(&mut self, a: &Tensor, axis: i32) -> Result<Tensor> {
        let axis = checked_axis("log-softmax", a, axis)?;
        self.record(Op::Probability(Probability::LogSoftmax { axis }), &[a], Params::NONE, a.dtype(), a.0.shape)
    }

    /// Mean softmax cross-entropy of logits `[n, classes]` against class ids `[n]`
    /// of an integer type; a scalar. An id outside the classes makes it NaN.
    pub fn cross_entropy(&mut self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        if !logits.dtype().is_float() || !labels.dtype().is_integer() {
            return Err(Error::TypeMismatch(format!(
                "cross-entropy: logits are {} and labels {}; a float and an integer type are needed",
                logits.dtype(),
                labels.dtype()
            )));
        }
        match (logits.shape(), labels.shape()) {
            ([n, _], [m]) if n == m => {}
            _ => {
                return Err(Error::OutOfRange(format!(
                    "cross-entropy: logits of shape {} and labels of shape {}; [n, classes] and [n] are needed",
                    logits.0.shape, labels.0.shape
                )));
            }
        }
        let op = Op::Probability(Probability::CrossEntropy);
        self.record(op, &[logits, labels], Params::NONE, logits.dtype(), Shape::SCALAR)
    }
}

fn checked_axis(op: &str, a: &Tensor, axis: i32) -> Result<usize> {
    if !a.dtype().is_float() {
        return Err(Error::TypeMismatch(format!("{op} needs a float type, not {}; cast it first", a.dtype())));
    }
    a.0.shape.axis(axis)
}
