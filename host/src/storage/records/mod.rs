//! What the catalog keeps beside tables: components, runs and what runs said.
//! Plain rows in SQLite; histories are indexed by what they are asked for.
//!
//! All are written through [`super::Write`], so that a run's record and its
//! output rows become visible in one transaction.

mod checkpoints;
mod components;
mod grants;
mod history;
mod models;
mod residency;
mod runs;
mod startup;

pub use checkpoints::{CheckpointBounds, CheckpointRecord};
pub use components::{ComponentRecord, ProcSetting, Versions, VersionsSeen};
pub use grants::{GrantRecord, UserRecord};
pub use history::{LogLine, MetricPoint, ResultRecord};
pub use models::ModelRecord;
pub use runs::{InstanceRecord, RunFilter, RunRecord, RunState};
pub use startup::StartupRecord;
