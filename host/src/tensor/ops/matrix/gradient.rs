//! Gradients of products: with Y = A·B, ∂A = ∂Y·Bᵀ and ∂B = Aᵀ·∂Y, with the compute
//! type of Y.

use super::{Activation, Matrix, Transposed};
use crate::base::Result;
use crate::device::cuda::Compute;
use crate::tensor::ops::elementwise::Elementwise;
use crate::tensor::ops::reduce::Keep;
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Matrix {
    /// ∂/∂inputs.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [a, b, ..] = entry.inputs.as_slice() else { return Ok(Vec::new()) };
        let (activation, compute) = match self {
            Self::MatMul { transposed, compute } => return of_matmul(s, entry, dy, (a, b, transposed, compute)),
            Self::Linear { activation, compute } => (activation, compute),
        };
        let through = |s: &mut Session, op| s.activation_gradient(op, dy, &entry.output);
        let dz = match activation {
            Activation::None => dy.clone(),
            Activation::Relu => through(s, Elementwise::ReluGrad)?,
            Activation::Sigmoid => through(s, Elementwise::SigmoidGrad)?,
            Activation::Tanh => through(s, Elementwise::TanhGrad)?,
        };
        let mut gradients = of_matmul(s, entry, &dz, (a, b, Transposed::default(), compute))?;
        if entry.inputs.len() > 2 {
            gradients.push(if entry.wants(2) { Some(s.reduce_sum(&dz, &[0], Keep::Removed)?) } else { None });
        }
        Ok(gradients)
    }
}

fn of_matmul(
    s: &mut Session,
    entry: &Entry,
    dy: &Tensor,
    (a, b, t, compute): (&Tensor, &Tensor, Transposed, Compute),
) -> Result<Vec<Option<Tensor>>> {
    let da = if entry.wants(0) {
        let da = if t.a {
            s.matmul_as(b, dy, (Transposed { a: t.b, b: true }, compute))?
        } else {
            s.matmul_as(dy, b, (Transposed { a: false, b: !t.b }, compute))?
        };
        Some(s.sum_to(&da, a.0.shape)?)
    } else {
        None
    };
    let db = if entry.wants(1) {
        let db = if t.b {
            s.matmul_as(dy, a, (Transposed { a: true, b: t.a }, compute))?
        } else {
            s.matmul_as(a, dy, (Transposed { a: !t.a, b: false }, compute))?
        };
        Some(s.sum_to(&db, b.0.shape)?)
    } else {
        None
    };
    Ok(vec![da, db])
}
