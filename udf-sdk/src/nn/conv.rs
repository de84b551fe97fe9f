//! A convolutional layer.

use super::{Activation, he_std};
use crate::{DType, Model, Module, Result, Tensor, Variable};

/// How windows slide over images and what is applied to their sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// From one window to the next, along both dimensions.
    pub stride: u32,
    /// Zeros around the images.
    pub padding: u32,
    /// Applied to the sums.
    pub activation: Activation,
}

impl Default for Convolution {
    /// Stride 1, no padding, no activation.
    fn default() -> Self {
        Self { stride: 1, padding: 0, activation: Activation::None }
    }
}

/// `activation(x * weight + bias)` over images, channels last:
/// `[n, h, w, channels] → [n, oh, ow, outputs]`.
pub struct Conv2d {
    weight: Variable,
    bias: Variable,
    with: Convolution,
}

impl Conv2d {
    /// Windows of size × size with random weights (He), biases 0.
    pub fn new(channels: u32, outputs: u32, size: u32, with: Convolution) -> Result<Self> {
        let inputs = channels.saturating_mul(size).saturating_mul(size);
        let weight = Tensor::random_normal(&[size, size, channels, outputs], 0.0, he_std(inputs))?;
        let bias = Tensor::zeros(DType::Float32, &[outputs])?;
        Ok(Self { weight: Variable::new(&weight), bias: Variable::new(&bias), with })
    }

    /// The layer that was saved with the names `{name}.weight` and `{name}.bias`.
    pub fn from_model(model: &Model, name: &str, with: Convolution) -> Result<Self> {
        let weight = model.variable(&format!("{name}.weight"))?;
        Ok(Self { weight, bias: model.variable(&format!("{name}.bias"))?, with })
    }

    /// `[n, h, w, channels] → [n, oh, ow, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.conv2d(&self.weight.value()?, Some(&self.bias.value()?), self.with)
    }
}

impl Module for Conv2d {
    fn variables(&self) -> Vec<(String, Variable)> {
        vec![("weight".into(), self.weight.clone()), ("bias".into(), self.bias.clone())]
    }
}
