//! First values of weights. Biases start at 0.

use crate::{Result, Tensor, Variable};

/// How the weights of a layer `[inputs, outputs]` start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Normal with [`he_std`]: keeps the variance through ReLU layers.
    He,
    /// Uniform within [`glorot_bound`]: for linear, sigmoid and tanh layers.
    Glorot,
}

impl Init {
    /// A variable `[inputs, outputs]` of float32.
    pub fn weight(self, inputs: u32, outputs: u32) -> Result<Variable> {
        let shape = [inputs, outputs];
        let start = match self {
            Self::He => Tensor::random_normal(&shape, 0.0, he_std(inputs))?,
            Self::Glorot => {
                let bound = glorot_bound(inputs, outputs);
                Tensor::random_uniform(&shape, -bound, bound)?
            }
        };
        Ok(Variable::new(&start))
    }
}

/// √(2 / inputs), He et al. 2015, "Delving Deep into Rectifiers", equation 10.
pub fn he_std(inputs: u32) -> f64 {
    (2.0 / f64::from(inputs.max(1))).sqrt()
}

/// √(6 / (inputs + outputs)), Glorot & Bengio 2010, "Understanding the difficulty
/// of training deep feedforward neural networks", equation 16.
pub fn glorot_bound(inputs: u32, outputs: u32) -> f64 {
    (6.0 / (f64::from(inputs) + f64::from(outputs)).max(1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_follow_from_the_layer() {
        assert!((he_std(784) - 0.050_507_627_227_610_534).abs() < 1e-15);
        assert!((glorot_bound(256, 10) - 0.150_187_852_296_527_65).abs() < 1e-15);
        assert!(he_std(0).is_finite() && glorot_bound(0, 0).is_finite());
    }
}
