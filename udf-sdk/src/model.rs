//! Models: named tensors that outlive a run, as a row of a model table.

use crate::bindings::quern::udf::models;
use crate::{Error, ErrorCode, Param, Result, Tensor, Variable};

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
        restore_all(&self.variables(), model)
    }
}

/// Replaces the variables' values by the model's tensors of their names.
pub(crate) fn restore_all(variables: &[(String, Variable)], model: &Model) -> Result {
    for (name, variable) in variables {
        let assigned = model.tensor(name).and_then(|value| variable.assign(&value));
        assigned.map_err(|error| error.during(format!("restoring `{name}`")))?;
    }
    Ok(())
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

    /// One value of what was given when it was saved.
    pub fn metadata_of<T: Param>(&self, key: &str) -> Result<T> {
        let found = self.metadata().into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let text = found.ok_or_else(|| {
            Error::new(ErrorCode::NotFound, format!("model `{}` has no metadata `{key}`", self.name()))
        })?;
        T::parse(&text)
            .ok_or_else(|| Error::invalid(format!("metadata `{key}` is `{text}`, it must be {}", T::EXPECTED)))
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
