//! Quern: a database that keeps tables on devices and runs procs beside them,
//! user code compiled to WebAssembly components, sandboxed, that trains models
//! on the rows and applies them.
//!
//! The layers, from the bottom up. Each may use those above it in this list and
//! none below; `tests/tidy.rs` holds this.

pub mod base;
