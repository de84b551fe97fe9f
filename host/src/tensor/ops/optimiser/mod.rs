//! Updates of variables: assignment and the optimisers. Each is one operation for
//! all its variables. Inputs begin with the variables' present versions, which the
//! outputs replace in the same memory.

mod cpu;
mod cuda;

use crate::base::{DType, Error, Result};
use crate::tensor::call::Call;
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::value::{Tensor, Variable};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Update {
    /// Inputs: variable, value.
    Assign,
    /// Inputs: variables, velocities if `momentum`, gradients. Parameters: rate,
    /// momentum, decay.
    Sgd {
        /// Whether there are velocities.
        momentum: bool,
    },
    /// Inputs: variables, first moments, second moments, gradients. Parameters:
    /// step, rate, β₁, β₂, ε, decay.
    Adam,
}

impl Update {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }
}

/// One step of stochastic gradient descent with momentum μ: v ← μ·v + g + decay·w,
/// w ← w − rate·v (as in PyTorch, dampening 0); without velocities
/// w ← w − rate·(g + decay·w).
#[derive(Clone, Copy, Debug)]
pub struct Sgd<'a> {
    /// What is trained.
    pub variables: &'a [&'a Variable],
    /// As many, of the same shapes.
    pub gradients: &'a [&'a Tensor],
    /// As many, or none.
    pub velocities: &'a [&'a Variable],
    /// Learning rate.
    pub rate: f64,
    /// μ.
    pub momentum: f64,
    /// Weight decay.
    pub decay: f64,
}

/// One step of Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay
/// (Loshchilov & Hutter 2019). Moments too small to matter (|m| < 2⁻¹⁰⁰ in single,
/// 2⁻⁹⁰⁰ in double precision) become 0.
#[derive(Clone, Copy, Debug)]
pub struct Adam<'a> {
    /// What is trained.
    pub variables: &'a [&'a Variable],
    /// As many, of the same shapes.
    pub gradients: &'a [&'a Tensor],
    /// First moments, as many.
    pub first: &'a [&'a Variable],
    /// Second moments, as many.
    pub second: &'a [&'a Variable],
    /// Counts from 1 and corrects the bias of the moments.
    pub step: u64,
    /// Learning rate.
    pub rate: f64,
    /// Decay of the first moments.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// Keeps the divisor above 0.
    pub epsilon: f64,
    /// Weight decay.
    pub decay: f64,
}

impl Session {
    /// Replaces a variable's value; shape and type must be equal.
    pub fn assign(&mut self, variable: &Variable, value: &Tensor) -> Result<()> {
        fits("assign", 0, variable, value.dtype(), value.shape())?;
        self.update(Op::Update(Update::Assign), Params::NONE, &[variable], &[value])
    }

    /// See [`Sgd`].
    pub fn sgd(&mut self, sgd: &Sgd) -> Result<()> {
        let momentum = !sgd.velocities.is_empty();
        let groups: &[&[&Variable]] = if momentum { &[sgd.velocities] } else { &[] };
        let variables = check("sgd", sgd.variables, sgd.gradients, groups)?;
        let params = Params::floats([sgd.rate, sgd.momentum, sgd.decay]);
        self.update(Op::Update(Update::Sgd { momentum }), params, &variables, sgd.gradients)
    }

    /// See [`Adam`].
    pub fn adam(&mut self, adam: &Adam) -> Result<()> {
        if adam.step == 0 {
            return Err(Error::Invalid("adam: step 0; steps count from 1".to_owned()));
        }
        let variables = check("adam", adam.variables, adam.gradients, &[adam.first, adam.second])?;
        let Adam { rate, beta1, beta2, epsilon, decay, .. } = *adam;
        let params = Params::floats([adam.step as f64, rate, beta1, beta2, epsilon, decay]);
        self.update(Op::Update(Update::Adam), params, &variables, adam.gradients)
    }
}

/// All variables of an optimiser's call in order, if they fit each other.
fn check<'a>(
    op: &str,
    variables: &[&'a Variable],
    gradients: &[&Tensor],
    groups: &[&[&'a Variable]],
) -> Result<Vec<&'a Variable>> {
    let count = variables.len();
    for given in groups.iter().map(|g| g.len()).chain([gradients.len()]) {
        if given != count {
            return Err(Error::Invalid(format!(
                "{op}: {count} variables but lists of {given}; one for each is needed"
            )));
        }
    }
    for (i, (variable, gradient)) in variables.iter().zip(gradients).enumerate() {
        if !variable.dtype().is_float() {
            return Err(Error::TypeMismatch(format!("{op}: variable {i} is {}, not a float type", variable.dtype())));
        }
        fits(op, i, variable, gradient.dtype(), gradient.shape())?;
        for state in groups.iter().filter_map(|group| group.get(i)) {
            fits(op, i, variable, state.dtype(), state.shape())?;
        }
    }
    let all: Vec<&Variable> = variables.iter().chain(groups.iter().copied().flatten()).copied().collect();
    let mut ids: Vec<u64> = all.iter().map(|v| v.0.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::Invalid(format!("{op}: one variable is given twice")));
    }
    Ok(all)
}

fn fits(op: &str, position: usize, variable: &Variable, dtype: DType, shape: &[usize]) -> Result<()> {
    if dtype != variable.dtype() {
        return Err(Error::TypeMismatch(format!(
            "{op}: variable {position} is {} and what goes with it {dtype}",
            variable.dtype()
        )));
    }
    if shape != variable.shape() {
        return Err(Error::OutOfRange(format!(
            "{op}: variable {position} has shape {:?} and what goes with it {shape:?}",
            variable.shape()
        )));
    }
    Ok(())
}
