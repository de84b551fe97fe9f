//! What learns: variables, and the tape that differentiates.

use std::rc::Rc;

use crate::bindings::quern::udf::tensors;
use crate::{Result, Tensor};

/// The only thing that changes: a value that optimisers update in place. Cloning
/// copies the handle; both name the same variable.
#[derive(Clone)]
pub struct Variable(Rc<tensors::Variable>);

impl Variable {
    /// Starts as a copy of `initial`, which stays as it is.
    pub fn new(initial: &Tensor) -> Self {
        Self(Rc::new(tensors::Variable::new(initial.raw())))
    }

    /// The value at this point of the program.
    pub fn value(&self) -> Result<Tensor> {
        Ok(Tensor::own(self.0.value()?))
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `out-of-range` or `type-mismatch` where shape or element type differ.
    pub fn assign(&self, value: &Tensor) -> Result {
        Ok(self.0.assign(value.raw())?)
    }

    pub(crate) fn raw(&self) -> &tensors::Variable {
        &self.0
    }
}

pub(crate) fn raw_variables(variables: &[Variable]) -> Vec<&tensors::Variable> {
    variables.iter().map(Variable::raw).collect()
}

/// Reverse-mode gradients.
///
/// Beginning a tape executes what was recorded before it, so that each turn of
/// a training loop is one program. Programs that are equal but for numbers
/// (learning rate, step, the start of a slice) are planned once and replayed,
/// which is what makes a plain loop quick: do the same operations in each turn,
/// begin the tape first, and keep hold of the same number of values.
///
/// Most procs need no tape of their own: [`Adam::step`](crate::nn::Adam::step)
/// and [`Sgd::step`](crate::nn::Sgd::step) begin one.
///
/// ```no_run
/// # use quern_udf::prelude::*;
/// # fn example() -> Result {
/// let w = Variable::new(&Tensor::ones(Float32, &[3])?);
/// let tape = Tape::new(&[w.clone()]);
/// let loss = w.value()?.square()?.sum(&[])?;
/// let gradient = &tape.gradients(&loss)?[0]; // 2 · w
/// assert_eq!(gradient.to_vec::<f32>()?, [2.0, 2.0, 2.0]);
/// # Ok(())
/// # }
/// ```
pub struct Tape(tensors::Tape);

impl Tape {
    /// A tape over these variables, at their present values.
    pub fn new(variables: &[Variable]) -> Self {
        Self(tensors::Tape::new(&raw_variables(variables)))
    }

    /// ∂loss/∂variable for each variable in order. `loss` is a float scalar
    /// recorded since the tape began; a variable it does not depend on gets
    /// zeros.
    ///
    /// # Errors
    /// `invalid-argument` unless `loss` is a float of one element.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        Ok(self.0.gradients(loss.raw())?.into_iter().map(Tensor::own).collect())
    }
}
