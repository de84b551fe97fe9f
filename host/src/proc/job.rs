//! What an instance is given and what comes back: the types between `proc` and
//! whoever runs procs.

use std::sync::Arc;

use super::{Component, ModelCache, Receipt};
use crate::base::{Limits, Result, RunId};
use crate::device::{KillSwitch, Quota};
use crate::table::{OutputTable, TableView};
use crate::tensor::{Executor, Mode};

/// What an instance is to do, beside its component, inputs and outputs.
#[derive(Clone, Debug)]
pub struct Task {
    /// The run it belongs to.
    pub run: RunId,
    /// Its number, below `instances`.
    pub instance: u32,
    /// Instances of the run.
    pub instances: u32,
    /// The run's seed.
    pub seed: u64,
    /// The run's parameters.
    pub params: Params,
    /// What it may use.
    pub limits: Limits,
}

/// Parameters that have a value, in declared order, defaults filled in.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// Those that are text, by name.
    pub texts: Vec<(String, String)>,
    /// Those that are bytes, by name.
    pub binary: Vec<(String, Arc<[u8]>)>,
}

/// One instance to be executed by [`super::instance`].
pub struct InstanceJob {
    /// The component that offers the proc.
    pub component: Arc<Component>,
    /// The proc's name in it.
    pub proc: String,
    /// What it is to do with them.
    pub task: Task,
    /// Inputs in declared order, under the proc's names for them.
    pub inputs: Vec<(String, TableView)>,
    /// Outputs in declared order, under the proc's names for them.
    pub outputs: Vec<(String, OutputTable)>,
    /// Stops the instance; carries the run's deadline.
    pub kill: KillSwitch,
    /// Device memory of the run, shared by its instances.
    pub quota: Quota,
    /// Is told what happens, as it happens.
    pub observer: Arc<dyn Observer>,
    /// Executes tensor programs.
    pub executor: Arc<Executor>,
    /// How they are executed: planned, but for comparisons.
    pub mode: Mode,
    /// Models that are on the device already.
    pub models: Arc<ModelCache>,
    /// The sha256 (64 hex digits) that storage keeps for the model with this
    /// uuid, if it was saved by a proc of this folder.
    pub model_sha256: ModelChecksums,
    /// Keeps checkpoints, and knows those of the run that this one resumes.
    pub checkpoints: Arc<dyn Checkpoints>,
}

/// Looks up the checksum of a stored model by its uuid (as text).
pub type ModelChecksums = Arc<dyn Fn(&str) -> Result<Option<String>> + Send + Sync>;

/// Where an instance's checkpoints are kept.
pub trait Checkpoints: Send + Sync {
    /// Keeps `file` as the newest checkpoint `name`; it is durable afterwards.
    fn keep(&self, name: &str, file: &[u8], sha256: &str) -> Result<()>;

    /// The newest checkpoint `name` of what this instance resumes: its file and
    /// the sha256 that it had when it was kept.
    fn resumed(&self, name: &str) -> Result<Option<(Vec<u8>, String)>>;
}

/// What an instance left.
pub struct InstanceOutcome {
    /// Ok completes the instance; its outputs are to be discarded otherwise.
    pub result: Result<()>,
    /// The outputs in declared order, with the rows that were made.
    pub outputs: Vec<(String, OutputTable)>,
    /// Models that the outputs hold; their checksums are to be kept at commit.
    pub saved_models: Vec<SavedModel>,
    /// What was used.
    pub receipt: Receipt,
}

/// A model that an instance appended to an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedModel {
    /// The output, by the proc's name for it.
    pub output: String,
    /// The row's uuid as text.
    pub id: String,
    /// The column `name`.
    pub name: String,
    /// Of the file in the column `model`, 64 hex digits.
    pub sha256: String,
    /// Of the file.
    pub size_bytes: u64,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For finding faults, in detail.
    Trace,
    /// For finding faults.
    Debug,
    /// What happens.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed; also the text of a panic.
    Error,
}

impl LogLevel {
    /// The word shown to users.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is told what an instance says while it runs. Called on the instance's thread,
/// so it must be quick. Texts are at most `text_bytes` long, points at most
/// `metric_points`, results at most `results` and `results_bytes`; which of many log lines are
/// kept is for the observer to decide.
pub trait Observer: Send + Sync {
    /// The status line and, when given, progress in 0..1.
    fn status(&self, message: &str, fraction: Option<f32>);
    /// A line of the log.
    fn log(&self, level: LogLevel, message: &str);
    /// A point of a series.
    fn metric(&self, name: &str, step: u64, value: f64);
    /// A result was set, or set again.
    fn result(&self, name: &str, value: &str);
    /// A binary result was set, or set again.
    fn binary_result(&self, name: &str, value: &[u8]);
}
