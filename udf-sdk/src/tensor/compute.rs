//! How exactly products are made.

use crate::Result;
use crate::bindings::quern::udf::tensors;

/// How products of `float32` are made: [`Tensor::matmul`](crate::Tensor::matmul),
/// [`linear`](crate::Tensor::linear) and [`conv2d`](crate::Tensor::conv2d), with their
/// gradients. Sums are made in `float32` each time; other types have no choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// With all bits.
    #[default]
    Strict,
    /// Of factors rounded to 10 bits of a fraction: several times faster on a GPU since
    /// Ampere.
    Tf32,
    /// Of factors rounded to 7 bits of a fraction, twice as fast again.
    Bf16,
}

/// Lets products that are recorded from now on be made like this.
///
/// ```no_run
/// use quern_udf::{Compute, prelude::*, set_compute};
///
/// fn forward(net: &Mlp, x: &Tensor) -> Result<Tensor> {
///     set_compute(Compute::Tf32)?;
///     let y = net.forward(x)?;
///     set_compute(Compute::Strict)?;
///     Ok(y)
/// }
/// ```
///
/// # Errors
/// None that a proc can cause.
pub fn set_compute(compute: Compute) -> Result {
    let kind = match compute {
        Compute::Strict => "strict",
        Compute::Tf32 => "tf32",
        Compute::Bf16 => "bf16",
    };
    Ok(tensors::set_compute(kind)?)
}
