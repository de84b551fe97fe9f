//! Runs: executions of procs, from request to commit.
//!
//! `queued → running → complete | error | killed`. A request is checked against
//! what the proc declares before it is queued; when it leaves the queue one
//! snapshot is fixed, which all its instances read. Instances execute behind
//! [`Backend`], here on threads; what they made is committed in one transaction
//! with the run's record, or not at all. [`Runs`] is what everybody else uses.

mod access;
mod backend;
mod checkpoints;
mod commit;
mod dispatch;
mod execute;
mod failures;
mod history;
mod kill;
mod launch;
mod live;
mod local;
mod outputs;
mod params;
mod plan;
mod request;
mod results;
mod runs;
mod settings;
mod startup;
mod submit;
mod suite;
mod sweep;
mod temporary;
mod testing;

pub use access::{check_request, check_startup, may_see_startup};
pub use backend::{Backend, Committed, Descriptor, InputShard, InstanceLink, Made, Manifest, OnDone, OutputRows};
pub use kill::{KillTarget, Killed};
pub use live::{LogBounds, RunStatus};
pub use local::LocalThreads;
pub use outputs::only_output;
pub use request::{Bytes, InputRef, OnFailure, RunRequest, Submission};
pub use results::Value;
pub use runs::{RunResults, Runs};
pub use startup::{Execute, Wanted};
pub use suite::{Suite, SuiteReport, TestReport};
pub use sweep::{Sweep, SweepStatus};
pub use temporary::TEMPORARY;
