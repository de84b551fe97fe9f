//! Procs: components are inspected, executed within their limits, and stopped.

mod creating;
mod fixture;
mod hostile;
