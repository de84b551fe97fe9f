//! Procs: components are inspected, executed within their limits, and stopped.

mod crafted;
mod creating;
mod database;
mod fixture;
mod floods;
mod hostile;
mod limits;
mod mistakes;
mod models;
mod raw;
pub(crate) mod sequences;
mod training;
