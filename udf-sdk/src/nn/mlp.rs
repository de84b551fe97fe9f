//! A stack of fully connected layers.

use super::{Activation, Linear};
use crate::{Model, Module, Result, Tensor, Variable, bail};

/// Fully connected layers with ReLU between them; the last one is linear, so
/// its outputs are logits.
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// From the sizes of input, hidden layers and output: `[784, 256, 256, 10]`.
    pub fn new(sizes: &[u32]) -> Result<Self> {
        if sizes.len() < 2 || sizes.contains(&0) {
            bail!("an Mlp needs two or more sizes, none of them 0; {sizes:?} were given");
        }
        let last = sizes.len() - 2;
        let layers = sizes.windows(2).enumerate().map(|(i, pair)| match pair {
            [inputs, outputs] => Linear::new(*inputs, *outputs, activation(i, last)),
            _ => bail!("an Mlp needs pairs of sizes"),
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    /// The network that was saved under `layers.0.weight`, `layers.0.bias`, ….
    pub fn from_model(model: &Model) -> Result<Self> {
        let names = model.tensor_names();
        let count = (0..).take_while(|i| names.contains(&format!("layers.{i}.weight"))).count();
        if count == 0 {
            bail!("model `{}` is not an Mlp: it has no tensor `layers.0.weight`, but {names:?}", model.name());
        }
        let layers = (0..count).map(|i| Linear::from_model(model, &format!("layers.{i}"), activation(i, count - 1)));
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    /// Logits: `[n, inputs] → [n, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |h, layer| layer.forward(&h))
    }
}

impl Module for Mlp {
    fn variables(&self) -> Vec<(String, Variable)> {
        let named = |(i, layer): (usize, &Linear)| {
            layer.variables().into_iter().map(move |(name, variable)| (format!("layers.{i}.{name}"), variable))
        };
        self.layers.iter().enumerate().flat_map(named).collect()
    }
}

fn activation(layer: usize, last: usize) -> Activation {
    if layer < last { Activation::Relu } else { Activation::None }
}
