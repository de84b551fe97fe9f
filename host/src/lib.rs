//! Quern: a database that keeps tables on devices and runs procs beside them,
//! user code compiled to WebAssembly components, sandboxed, that trains models
//! on the rows and applies them.
//!
//! The layers, from the bottom up. Each may use those above it in this list and
//! none below; `tests/tidy.rs` holds this.

pub mod base;

pub mod device;

pub mod tensor;

pub mod storage;

pub mod table;

pub mod catalog;

pub mod proc;

pub mod run;

pub mod sql;

pub mod database;

pub mod server;

pub mod cli;
