//! Gradients of reductions.

use super::{Kind, Reduce};
use crate::base::Result;
use crate::tensor::session::Session;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Reduce {
    /// ∂/∂input. That of a maximum is shared equally among the largest elements.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Some(x) = entry.inputs.first() else { return Ok(Vec::new()) };
        let shape = x.0.shape;
        let dx = match self.kind {
            Kind::Sum => s.broadcast(dy, shape)?,
            Kind::Mean => {
                let (_, reduced, _) = shape.around_range(self.start, self.end);
                let dy = s.affine(dy, 1.0 / reduced as f64, 0.0)?;
                s.broadcast(&dy, shape)?
            }
            Kind::Max => {
                let largest = s.equal(x, &entry.output)?;
                let largest = s.cast(&largest, x.dtype())?;
                let axes: Vec<i32> = (self.start..self.end).map(|i| i as i32).collect();
                let count = s.reduce_sum(&largest, &axes, super::Keep::Kept)?;
                let share = s.div(dy, &count)?;
                s.mul(&largest, &share)?
            }
        };
        Ok(vec![Some(dx)])
    }
}
