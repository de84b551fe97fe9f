//! Models: named tensors that outlive a run, as a row of a model table.

use std::fmt::Display;

use crate::bindings::quern::udf::models;
use crate::proc::read_value;
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

    /// What a checkpoint keeps: the variables, unless there is more to go on from.
    ///
    /// # Errors
    /// Where something of it cannot be made a variable.
    fn state(&self) -> Result<Vec<(String, Variable)>> {
        Ok(self.variables())
    }

    /// Replaces the variables' values by the model's tensors of the same names,
    /// which must be of the same shapes. Who has more [`state`](Self::state) than
    /// variables takes that from the model as well.
    ///
    /// # Errors
    /// `not-found` where the model lacks a tensor, `out-of-range` or `type-mismatch`
    /// where one does not fit its variable.
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

/// Metadata as the contract takes it.
pub(crate) fn texts(metadata: &[(&str, &dyn Display)]) -> Vec<(String, String)> {
    metadata.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect()
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
    ///
    /// # Errors
    /// `not-found` where nothing was given for `key`, `invalid-argument` where it is no `T`.
    pub fn metadata_of<T: Param>(&self, key: &str) -> Result<T> {
        let found = self.metadata().into_iter().find(|(known, _)| known == key).map(|(_, value)| value);
        let text = found.ok_or_else(|| {
            Error::new(ErrorCode::NotFound, format!("model `{}` has no metadata `{key}`", self.name()))
        })?;
        read_value("metadata", key, &text)
    }

    /// Names of the tensors, in the order in which they were saved.
    pub fn tensor_names(&self) -> Vec<String> {
        self.0.tensor_names()
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// `not-found`, with the names that there are.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        Ok(Tensor::own(self.0.tensor(name)?))
    }

    /// A variable that starts as a copy of the tensor of that name.
    pub fn variable(&self, name: &str) -> Result<Variable> {
        Ok(Variable::new(&self.tensor(name)?))
    }
}
