//! SQL and the readers of files.

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
mod residency;
mod system;
mod types;
