//! A fully connected layer.

use super::{Activation, Init};
use crate::{Model, Module, Result, Tensor, Variable};

/// `activation(x · weight + bias)`: `[n, inputs] → [n, outputs]`, one operation.
pub struct Linear {
    weight: Variable,
    bias: Variable,
    activation: Activation,
}

impl Linear {
    /// Random weights `[inputs, outputs]` (He before ReLU, Glorot otherwise),
    /// biases 0.
    pub fn new(inputs: u32, outputs: u32, activation: Activation) -> Result<Self> {
        let init = if activation == Activation::Relu { Init::He } else { Init::Glorot };
        let bias = Variable::new(&Tensor::zeros(crate::DType::Float32, &[outputs])?);
        Ok(Self { weight: init.weight(inputs, outputs)?, bias, activation })
    }

    /// The layer that was saved with the names `{name}.weight` and `{name}.bias`.
    pub fn from_model(model: &Model, name: &str, activation: Activation) -> Result<Self> {
        let weight = model.variable(&format!("{name}.weight"))?;
        Ok(Self { weight, bias: model.variable(&format!("{name}.bias"))?, activation })
    }

    /// `[n, inputs] → [n, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight.value()?, Some(&self.bias.value()?), self.activation)
    }
}

impl Module for Linear {
    fn variables(&self) -> Vec<(String, Variable)> {
        vec![("weight".into(), self.weight.clone()), ("bias".into(), self.bias.clone())]
    }
}
