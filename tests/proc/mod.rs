//! Procs: components are inspected, executed within their limits, and stopped.

mod crafted;
mod creating;
mod database;
mod fixture;
mod hostile;
mod limits;
mod mistakes;
mod models;
mod raw;
mod training;
