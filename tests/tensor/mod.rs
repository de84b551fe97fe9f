//! The tensor layer, through its public interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod operations;
mod reference;
mod support;

pub(crate) mod network;
