//! SQL over tables, procs and runs; files in, rows out.
//!
//! - [`ingest`] reads files as batches; it knows nothing of storage.
//! - [`Answer`] is what a statement gives; [`format`] writes it as a table, CSV,
//!   JSON or Arrow.
//! - [`Sql`] executes statements: DataFusion plans and executes the queries, over
//!   one snapshot per statement; everything that changes something is ours.
//!
//! Callers are plain threads: every call blocks, on a runtime that `Sql` owns.

mod answer;
mod convert;
pub mod format;
pub mod ingest;
mod nested;

pub use answer::{Answer, Done, Rows};
