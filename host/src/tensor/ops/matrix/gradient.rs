//! Gradients of products: with Y = A·B, ∂A = ∂Y·Bᵀ and ∂B = Aᵀ·∂Y.

use super::{Activation, Matrix, Transposed};
use crate::base::Result;
use crate::tensor::ops::elementwise::Elementwise;
use crate::tensor::ops::reduce::Keep;
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Matrix {
    /// ∂/∂inputs.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [a, b, ..] = entry.inputs.as_slice() else { return Ok(Vec::new()) };
        let dz = match self {
            Self::MatMul(t) => return of_matmul(s, entry, dy, (a, b, t)),
            Self::Linear { activation: Activation::None } => dy.clone(),
            Self::Linear { activation: Activation::Relu } => {
                s.activation_gradient(Elementwise::ReluGrad, dy, &entry.output)?
            }
            Self::Linear { activation: Activation::Sigmoid } => {
                s.activation_gradient(Elementwise::SigmoidGrad, dy, &entry.output)?
            }
            Self::Linear { activation: Activation::Tanh } => {
                s.activation_gradient(Elementwise::TanhGrad, dy, &entry.output)?
            }
        };
        let mut gradients = of_matmul(s, entry, &dz, (a, b, Transposed::default()))?;
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
    (a, b, t): (&Tensor, &Tensor, Transposed),
) -> Result<Vec<Option<Tensor>>> {
    let da = if entry.wants(0) {
        let da = if t.a {
            s.matmul(b, dy, Transposed { a: t.b, b: true })?
        } else {
            s.matmul(dy, b, Transposed { a: false, b: !t.b })?
        };
        Some(s.sum_to(&da, a.0.shape)?)
    } else {
        None
    };
    let db = if entry.wants(1) {
        let db = if t.b {
            s.matmul(dy, a, Transposed { a: true, b: t.a })?
        } else {
            s.matmul(a, dy, Transposed { a: !t.a, b: false })?
        };
        Some(s.sum_to(&db, b.0.shape)?)
    } else {
        None
    };
    Ok(vec![da, db])
}
