//! The tensor layer, through its public interface.

mod cuda;
mod gradients;
mod learning;
mod memory;
mod mistakes;
mod operations;
mod pipeline;
mod plans;
mod random;
mod reference;
mod support;
mod values;
