//! Products of matrices: `matmul` and `linear`.

mod cpu;
mod cuda;
mod gradient;

use super::elementwise::same_dtype;
use crate::base::{DType, Error, Result};
use crate::device::cuda::Compute;
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Matrix {
    /// `[.., m, k] × [.., k, n] → [.., m, n]`.
    MatMul {
        /// How the operands are read.
        transposed: Transposed,
        /// Strict but for f32.
        compute: Compute,
    },
    /// `activation(x · w + bias)`; inputs x, w and, with `bias`, the bias.
    Linear {
        /// Applied to the sum.
        activation: Activation,
        /// Strict but for f32.
        compute: Compute,
    },
}

/// Which operands of a `matmul` are read with their last two dimensions swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transposed {
    /// The first.
    pub a: bool,
    /// The second.
    pub b: bool,
}

/// A function applied to every element of a `linear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// The sum as it is.
    None,
    /// max(a, 0).
    Relu,
    /// 1 / (1 + e⁻ᵃ).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl std::str::FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "relu" => Ok(Self::Relu),
            "sigmoid" => Ok(Self::Sigmoid),
            "tanh" => Ok(Self::Tanh),
            _ => Err(Error::not_found("activation", text, None, ["none", "relu", "sigmoid", "tanh"])),
        }
    }
}

impl Matrix {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        match self {
            Self::MatMul { transposed, compute } => cpu::matmul(call, transposed, compute),
            Self::Linear { activation, compute } => cpu::linear(call, activation, compute),
        }
    }

    /// How products are made.
    fn compute(self) -> Compute {
        match self {
            Self::MatMul { compute, .. } | Self::Linear { compute, .. } => compute,
        }
    }

    /// Values of half precision are widened before they are multiplied, and factors that
    /// are to be less exact rounded.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        let half = matches!(operands.output(0).dtype, DType::F16 | DType::BF16);
        let is_copied = half || self.compute() != Compute::Strict;
        if is_copied { operands.elements() * size_of::<f32>() } else { 0 }
    }
}

fn check_float(op: &str, dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::TypeMismatch(format!("{op} needs a float type, not {dtype}; cast it first")))
}

/// The compute type of products of this type: there is a choice for f32 only.
fn of_type(dtype: DType, compute: Compute) -> Compute {
    if dtype == DType::F32 { compute } else { Compute::Strict }
}

impl Session {
    /// `[.., m, k] × [.., k, n] → [.., m, n]`; leading dimensions broadcast. Floats.
    pub fn matmul(&mut self, a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<Tensor> {
        self.matmul_as(a, b, (transposed, self.compute()))
    }

    /// As [`Self::matmul`], with another compute type than the session's.
    pub(crate) fn matmul_as(
        &mut self,
        a: &Tensor,
        b: &Tensor,
        (transposed, compute): (Transposed, Compute),
    ) -> Result<Tensor> {
        same_dtype("matmul", a, b)?;
        check_float("matmul", a.dtype())?;
        let (sa, sb) = (a.0.shape, b.0.shape);
        let unfit = || {
            let mark = |t: bool| if t { " transposed" } else { "" };
            Error::OutOfRange(format!(
                "matmul: shapes {sa}{} and {sb}{} do not fit; [.., m, k] × [.., k, n] is needed",
                mark(transposed.a),
                mark(transposed.b)
            ))
        };
        let ([batch_a @ .., a0, a1], [batch_b @ .., b0, b1]) = (&*sa, &*sb) else { return Err(unfit()) };
        let (m, k) = if transposed.a { (*a1, *a0) } else { (*a0, *a1) };
        let (k_b, n) = if transposed.b { (*b1, *b0) } else { (*b0, *b1) };
        if k != k_b {
            return Err(unfit());
        }
        let batch = Shape::new(batch_a)?.broadcast(&Shape::new(batch_b)?, "matmul")?;
        let shape = Shape::new(&[&*batch, &[m, n]].concat())?;
        let compute = of_type(a.dtype(), compute);
        self.record(Op::Matrix(Matrix::MatMul { transposed, compute }), &[a, b], Params::NONE, a.dtype(), shape)
    }

    /// `activation(x · w + bias)`: `[n, i] × [i, o] (+ [o]) → [n, o]`. Floats.
    pub fn linear(
        &mut self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        same_dtype("linear", x, weight)?;
        check_float("linear", x.dtype())?;
        let (sx, sw) = (x.0.shape, weight.0.shape);
        let (&[n, i], &[i_w, o]) = (&*sx, &*sw) else {
            return Err(Error::OutOfRange(format!("linear: shapes {sx} and {sw}; [n, i] × [i, o] is needed")));
        };
        if i != i_w {
            return Err(Error::OutOfRange(format!(
                "linear: shapes {sx} and {sw} do not fit; [n, i] × [i, o] is needed"
            )));
        }
        let mut inputs = vec![x, weight];
        if let Some(bias) = bias {
            same_dtype("linear", weight, bias)?;
            if bias.shape() != [o] {
                return Err(Error::OutOfRange(format!(
                    "linear: bias of shape {}; [{o}] fits weights of shape {sw}",
                    bias.0.shape
                )));
            }
            inputs.push(bias);
        }
        let shape = Shape::new(&[n, o])?;
        let compute = of_type(x.dtype(), self.compute());
        self.record(Op::Matrix(Matrix::Linear { activation, compute }), &inputs, Params::NONE, x.dtype(), shape)
    }
}
