//! CUDA on a machine without a GPU: a fake driver, cuBLAS and NVRTC that execute
//! kernels on the processor. `README.md` says how it works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// A closure, unlike a function, is named after the test that it is in.
#![allow(clippy::redundant_closure)]

pub(crate) mod bench;

mod choosing;
mod faults;
mod kernels;
mod memory;
mod nvrtc;
mod outputs;
mod probing;
pub(crate) mod real;
mod residency;
mod run_faults;
mod runs;
mod waiting;
