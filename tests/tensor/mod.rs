//! The tensor layer, through its public interface.

mod compute;
mod conformance;
mod cuda;
mod gradients;
mod indices;
mod learning;
mod machine;
mod memory;
mod mistakes;
mod operations;
mod pipeline;
mod plans;
mod random;
mod reference;
mod support;
mod values;

pub(crate) use conformance::all_on_fake;
