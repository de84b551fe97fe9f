//! Procs: components are inspected, executed within their limits, and stopped.

mod crafted;
mod fixture;
mod floods;
mod hostile;
mod inspecting;
mod limits;
mod mistakes;
mod models;
mod pooled;
mod raw;
mod sequences;
mod training;
