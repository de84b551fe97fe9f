//! NVIDIA GPUs, through libraries that are looked for at run time: Quern builds
//! and starts with nothing of CUDA installed, and says why there is no GPU.
//!
//! [`probe`] lists them.

mod libraries;
mod probe;

pub use libraries::{FOLDERS_VARIABLE, Library, Missing};
pub use probe::{Absent, Gpu, probe};
