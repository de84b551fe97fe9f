//! Models: named tensors that outlive a run, as a row of a model table.

use crate::bindings::quern::udf::models;
use crate::{Error, Result, Tensor, Variable};

/// Anything with named variables: saved by [`Table::save`](crate::Table::save),
/// trained by the optimisers of [`nn`](crate::nn).
///
/// ```
/// use quern_udf::prelude::*;
///
/// /// y = scale · x + shift, both learnt.
/// struct Calibration {
///     scale: Variable,
///     shift: Variable,
/// }
///
/// impl Module for Calibration {
///     fn variables(&self) -> Vec<(String, Variable)> {
///         vec![("scale".into(), self.scale.clone()), ("shift".into(), self.shift.clone())]
///     }
/// }
/// ```
pub trait Module {
    /// The variables with their names, always in the same order.
    fn variables(&self) -> Vec<(String, Variable)>;

    /// Replaces the variables' values by the model's tensors of the same names,
    /// which must be of the same shapes.
    fn restore(&self, model: &Model) -> Result {
        for (name, variable) in self.variables() {
            let assigned = model.tensor(&name).and_then(|value| variable.assign(&value));
            assigned.map_err(|error: Error| error.during(format!("restoring `{name}`")))?;
        }
        Ok(())
    }
}

/// A loaded model. Its tensors are shared with other runs and never change.
pub struct Model(models::Model);

impl Model {
    pub(crate) fn own(raw: models::Model) -> Self {
        Self(raw)
    }

    /// The uuid of its row, as text.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// The name it was saved under.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// What was given when it was saved.
    pub fn metadata(&self) -> Vec<(String, String)> {
        self.0.metadata()
    }

    /// Names of the tensors, in the order in which they were saved.
    pub fn tensor_names(&self) -> Vec<String> {
        self.0.tensor_names()
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        Ok(Tensor::own(self.0.tensor(name)?))
    }

    /// A variable that starts as a copy of the tensor of that name.
    pub fn variable(&self, name: &str) -> Result<Variable> {
        Ok(Variable::new(&self.tensor(name)?))
    }
}
