//! The gradient of a gather adds up what was picked from the same place.

use super::Index;
use crate::base::Result;
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Index {
    /// ∂/∂inputs; indices have none.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        match (self, entry.inputs.as_slice()) {
            (Self::Gather { axis }, [x, indices]) => Ok(vec![Some(s.scatter_add(dy, axis, indices, x.0.shape)?), None]),
            _ => Ok(Vec::new()),
        }
    }
}
