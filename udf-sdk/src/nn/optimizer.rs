//! Optimisers: one host call updates all variables. They are modules themselves,
//! so that a checkpoint can keep their moments.

use std::cell::Cell;

use crate::bindings::quern::udf::tensors;
use crate::model::restore_all;
use crate::tape::raw_variables;
use crate::{DType, Model, Module, Result, Tape, Tensor, Variable};

/// Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov
/// & Hutter 2019).
pub struct Adam {
    /// The learning rate; it may change from step to step.
    pub rate: f64,
    /// Decay of the first and the second moment, `(0.9, 0.999)`.
    pub betas: (f64, f64),
    /// Added to the root of the second moment, `1e-8`.
    pub epsilon: f64,
    /// Weight decay, 0.
    pub decay: f64,
    variables: Vec<Variable>,
    first: Vec<Variable>,
    second: Vec<Variable>,
    steps: Cell<u64>,
}

impl Adam {
    /// For all variables of `module`.
    pub fn new(module: &impl Module, rate: f64) -> Result<Self> {
        let variables = variables(module);
        let (first, second) = (zeros_like(&variables)?, zeros_like(&variables)?);
        Ok(Self { rate, betas: (0.9, 0.999), epsilon: 1e-8, decay: 0.0, variables, first, second, steps: Cell::new(0) })
    }

    /// One training step: builds the loss under a tape, updates the variables
    /// and returns the loss, a scalar on the device. Read it (`item`) rarely.
    pub fn step(&mut self, loss: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let (loss, gradients) = differentiate(&self.variables, loss)?;
        self.apply(&gradients)?;
        Ok(loss)
    }

    /// Updates the variables with gradients in their order.
    pub fn apply(&mut self, gradients: &[Tensor]) -> Result {
        self.steps.set(self.steps.get() + 1);
        Ok(tensors::adam(
            &raw_variables(&self.variables),
            &raw_tensors(gradients),
            &raw_variables(&self.first),
            &raw_variables(&self.second),
            self.steps.get(),
            self.rate,
            self.betas.0,
            self.betas.1,
            self.epsilon,
            self.decay,
        )?)
    }
}

impl Module for Adam {
    fn variables(&self) -> Vec<(String, Variable)> {
        let mut moments = numbered("adam.first", &self.first);
        moments.extend(numbered("adam.second", &self.second));
        moments
    }

    /// The moments, and how many steps they are from.
    fn state(&self) -> Result<Vec<(String, Variable)>> {
        let steps = Tensor::from_slice(&[1], &[self.steps.get() as i64])?;
        let mut state = self.variables();
        state.push((STEPS.to_owned(), Variable::new(&steps)));
        Ok(state)
    }

    fn restore(&self, model: &Model) -> Result {
        restore_all(&self.variables(), model)?;
        self.steps.set(model.tensor(STEPS)?.cast(DType::Int64)?.item()? as u64);
        Ok(())
    }
}

/// The tensor that holds how many steps [`Adam`] has done.
const STEPS: &str = "adam.steps";

/// Stochastic gradient descent with momentum (Sutskever et al. 2013, as in
/// PyTorch): v ← μ·v + g + decay·w, w ← w − rate·v.
pub struct Sgd {
    /// The learning rate; it may change from step to step.
    pub rate: f64,
    /// μ, fixed at the start; 0 needs no velocities.
    momentum: f64,
    /// Weight decay, 0.
    pub decay: f64,
    variables: Vec<Variable>,
    velocities: Vec<Variable>,
}

impl Sgd {
    /// For all variables of `module`.
    pub fn new(module: &impl Module, rate: f64, momentum: f64) -> Result<Self> {
        let variables = variables(module);
        let velocities = if momentum == 0.0 { Vec::new() } else { zeros_like(&variables)? };
        Ok(Self { rate, momentum, decay: 0.0, variables, velocities })
    }

    /// One training step, as [`Adam::step`].
    pub fn step(&mut self, loss: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let (loss, gradients) = differentiate(&self.variables, loss)?;
        self.apply(&gradients)?;
        Ok(loss)
    }

    /// Updates the variables with gradients in their order.
    pub fn apply(&mut self, gradients: &[Tensor]) -> Result {
        Ok(tensors::sgd(
            &raw_variables(&self.variables),
            &raw_tensors(gradients),
            &raw_variables(&self.velocities),
            self.rate,
            self.momentum,
            self.decay,
        )?)
    }
}

impl Module for Sgd {
    fn variables(&self) -> Vec<(String, Variable)> {
        numbered("sgd.velocity", &self.velocities)
    }
}

fn numbered(name: &str, variables: &[Variable]) -> Vec<(String, Variable)> {
    variables.iter().enumerate().map(|(i, variable)| (format!("{name}.{i}"), variable.clone())).collect()
}

/// The loss that `loss` builds under a tape, and its gradients.
fn differentiate(variables: &[Variable], loss: impl FnOnce() -> Result<Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
    let tape = Tape::new(variables);
    let loss = loss()?;
    let gradients = tape.gradients(&loss)?;
    Ok((loss, gradients))
}

fn variables(module: &impl Module) -> Vec<Variable> {
    module.variables().into_iter().map(|(_, variable)| variable).collect()
}

fn zeros_like(variables: &[Variable]) -> Result<Vec<Variable>> {
    let zero = |variable: &Variable| {
        let like = variable.value()?;
        Ok(Variable::new(&Tensor::zeros(like.dtype(), &like.shape())?))
    };
    variables.iter().map(zero).collect()
}

fn raw_tensors(tensors: &[Tensor]) -> Vec<&tensors::Tensor> {
    tensors.iter().map(Tensor::raw).collect()
}
