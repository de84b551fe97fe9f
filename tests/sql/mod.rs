//! SQL and the readers of files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arithmetic;
mod bad_files;
mod bad_statements;
mod change;
mod duckdb;
mod files;
mod fixture;
mod formats;
mod functions;
mod grants;
mod inputs;
mod queries;
mod system;
mod types;
