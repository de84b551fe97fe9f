//! Gradients of windows.

use super::Window;
use crate::base::Result;
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Window {
    /// ∂/∂images.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Some(x) = entry.inputs.first() else { return Ok(Vec::new()) };
        let (op, inputs) = match self {
            Self::Unfold(sliding) => (Self::Fold(sliding), vec![dy]),
            Self::MaxPool(sliding) => (Self::MaxPoolGrad(sliding), vec![dy, x]),
            Self::Fold(_) | Self::MaxPoolGrad(_) => return Ok(Vec::new()),
        };
        Ok(vec![Some(s.record(Op::Window(op), &inputs, Params::NONE, x.dtype(), x.0.shape)?)])
    }
}
