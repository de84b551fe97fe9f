//! The operations, one folder per family: `mod.rs` has the shape rules and what
//! is recorded, `gradient.rs` the gradients, `cpu.rs` (or the files it names) the
//! code for the processor, `kernels.cu` the code for CUDA and `cuda.rs` what of it is
//! launched with what.

pub(crate) mod elementwise;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod matrix;
pub(crate) mod optimiser;
pub(crate) mod random;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod window;
