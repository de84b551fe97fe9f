//! The tensor layer, through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
