//! Tensors are values in a recorded program.
//!
//! A [`Session`] records one operation per call: shapes and types are checked at
//! once, nothing is computed. At a *flush* (a read, `sync`, `step`, the beginning of a
//! tape) the program is cleaned to its [`graph`], which is its identity, and goes
//! through the session's [`pipeline`]: programs are executed in order while the next
//! one is recorded. The [`engine`] executes a program the first time plainly, one
//! operation after the other; from the second time on by replaying a [`plan`], in
//! which chains are fused and every intermediate value has its place. Plans are
//! shared by all sessions of an [`Executor`].
//!
//! What must not happen here: an operation that changes what a handle, column or tape
//! can still reach (only variables change, and old versions that someone holds are
//! copied first); results that depend on the number of threads; a kernel that runs
//! for more than about 5 ms without looking at the kill switch.

mod call;
mod cuda;
mod element;
mod engine;
mod executor;
mod graph;
mod notice;
mod op;
mod ops;
mod pipeline;
mod plan;
mod program;
mod session;
mod shape;
mod simd;
mod tape;
mod team;
mod value;

pub use crate::device::cuda::Compute;
pub use cuda::is_compiling;
pub use executor::Executor;
pub use notice::{Notice, Teller};
pub use ops::matrix::{Activation, Transposed};
pub use ops::optimiser::{Adam, Sgd};
pub use ops::reduce::Keep;
pub use ops::window::Conv2d;
pub use session::{Mode, Session, Settings, Stats};
pub use shape::MAX_RANK;
pub use tape::Tape;
pub use value::{Tensor, Variable};
