//! Gradients of softmax, its logarithm and cross-entropy: one operation each.

use super::Probability;
use crate::base::Result;
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Probability {
    /// ∂/∂inputs; labels have none.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (op, inputs) = match (self, entry.inputs.as_slice()) {
            (Self::Softmax { axis }, _) => (Self::SoftmaxGrad { axis }, vec![dy, &entry.output]),
            (Self::LogSoftmax { axis }, _) => (Self::LogSoftmaxGrad { axis }, vec![dy, &entry.output]),
            (Self::CrossEntropy, [logits, labels]) => (Self::CrossEntropyGrad, vec![dy, logits, labels]),
            _ => return Ok(Vec::new()),
        };
        let Some(x) = entry.inputs.first() else { return Ok(Vec::new()) };
        Ok(vec![Some(s.record(Op::Probability(op), &inputs, Params::NONE, x.dtype(), x.0.shape)?)])
    }
}
