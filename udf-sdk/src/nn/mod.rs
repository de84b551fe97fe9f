//! Small networks: layers on variables, their initialisation, optimisers and
//! learning-rate schedules. Each costs one host call where the host has one:
//! a linear layer with bias and activation, a loss, an optimiser step.

mod conv;
mod init;
mod linear;
mod mlp;
mod optimizer;
mod schedule;

pub use conv::{Conv2d, Convolution};
pub use init::{Init, glorot_bound, he_std};
pub use linear::Linear;
pub use mlp::Mlp;
pub use optimizer::{Adam, Sgd};
pub use schedule::Schedule;

/// What a layer applies to its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relu => "relu",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
        }
    }
}
