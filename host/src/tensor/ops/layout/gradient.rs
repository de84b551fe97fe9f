//! Gradients of moves are the moves back.

use super::Layout;
use crate::base::Result;
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Layout {
    /// ∂/∂inputs.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Some(x) = entry.inputs.first() else { return Ok(Vec::new()) };
        let dx = match self {
            Self::Reshape => s.reshape_to(dy, x.0.shape)?,
            Self::Copy => dy.clone(),
            Self::Transpose { permutation } => {
                let rank = x.0.shape.len();
                let mut back = vec![0; rank];
                for (i, from) in permutation[..rank].iter().enumerate() {
                    back[usize::from(*from)] = i;
                }
                s.transpose(dy, &back)?
            }
            Self::Slice { axis } => s.pad(dy, axis, entry.params.word(0), x.0.shape[axis])?,
            Self::Pad { axis } => s.slice(dy, axis as i32, entry.params.word(0), x.0.shape[axis] as u64)?,
            Self::Concat { axis } => {
                let mut start = 0;
                let mut parts = Vec::with_capacity(entry.inputs.len());
                for (i, input) in entry.inputs.iter().enumerate() {
                    let extent = input.0.shape[axis] as u64;
                    parts.push(if entry.wants(i) { Some(s.slice(dy, axis as i32, start, extent)?) } else { None });
                    start += extent;
                }
                return Ok(parts);
            }
        };
        Ok(vec![Some(dx)])
    }
}
