//! NVIDIA GPUs, through libraries that are looked for at run time: Quern builds
//! and starts with nothing of CUDA installed, and says why there is no GPU.
//!
//! [`probe`] lists them; [`Cuda::open`] opens one. Its thread makes all calls, as
//! methods of [`Gpu`]: memory and copies, kernels compiled from the text of a
//! [`Module`], products of matrices ([`Gemm`]), and a [`Graph`] of such work that
//! is replayed with one call. All is ordered by one stream, so that memory may be
//! given back while kernels that use it still wait in the stream.
//!
//! What must not happen here: a call of the driver on another thread (except to
//! list devices), a panic because something of CUDA is missing, and any use of a
//! device after it was lost.

mod cache;
mod clock;
mod compile;
mod cublas;
mod failure;
mod gpu;
mod graph;
mod launch;
mod libraries;
mod modules;
mod owner;
mod probe;
mod staging;

pub use compile::{Image, compile};
pub use cublas::{Compute, Gemm, Stored};
pub use gpu::{Gpu, Mark};
pub use graph::Graph;
pub use launch::{Arg, Grid, Kernel, Module};
pub use libraries::{FOLDERS_VARIABLE, Library, Missing};
pub use owner::{Copies, Cuda, Ticket};
pub use probe::{Absent, Info, probe};
