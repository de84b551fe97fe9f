//! Components, runs, logs and models as they are shown: over the socket, and by
//! `--json`. Field names are a promise to scripts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{LimitChanges, Result, RunId, SnapshotId};
use crate::catalog::{Catalog, Change, ProcSpec};
use crate::proc::{Capabilities, CodeSource, CreationReport, Inspection, Purpose, Receipt};
use crate::run::RunResults;
use crate::storage::{ComponentRecord, InstanceRecord, LogLine, ProcSetting, RunRecord, RunState, StartupRecord};

/// A version of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// Counted from 1 for each name.
    pub version: u64,
    /// Whether this version answers to the name.
    pub active: bool,
    /// Of its bytes, 64 hex digits.
    pub sha256: String,
    /// Size of its bytes.
    pub size_bytes: u64,
    /// When it was created, microseconds since 1970.
    pub created_us: i64,
    /// What it offers.
    pub procs: Vec<ProcSpec>,
    /// Instances that may run at the same time, of the procs where that is bounded.
    pub max_concurrency: BTreeMap<String, u64>,
    /// Limits that are other for runs of these procs than the folder's.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitChanges>,
}

impl ComponentView {
    /// Of a version, and what is set for procs.
    pub fn new(record: ComponentRecord, settings: &[ProcSetting]) -> Result<Self> {
        let own = settings.iter().filter(|setting| setting.component == record.name);
        let limits = own.clone().filter(|setting| !setting.limits.is_empty());
        let limits = limits.map(|setting| (setting.proc.clone(), setting.limits.clone())).collect();
        let bounds = own.filter_map(|setting| Some((setting.proc.clone(), setting.max_concurrency?)));
        Ok(Self {
            procs: Catalog::declared(&record)?,
            max_concurrency: bounds.collect(),
            limits,
            name: record.name,
            version: record.version,
            active: record.active,
            sha256: record.sha256,
            size_bytes: record.size_bytes,
            created_us: record.created_us,
        })
    }
}

/// What a component file is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InspectionView {
    /// Of the file, 64 hex digits.
    pub sha256: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Size of its machine code.
    pub code_bytes: u64,
    /// How long it took to compile it, or to read it from the cache.
    pub compile_ms: f64,
    /// `child-process`, `this-process` or `cache`.
    pub compiled_in: CodeSource,
    /// Imported interfaces.
    pub imports: Vec<String>,
    /// Exported interfaces.
    pub exports: Vec<String>,
    /// What the imports allow, and what they do not.
    pub capabilities: Capabilities,
    /// How long it took to describe itself.
    pub describe_ms: f64,
    /// The procs it declares.
    pub procs: Vec<ProcSpec>,
}

impl From<Inspection> for InspectionView {
    fn from(found: Inspection) -> Self {
        Self {
            sha256: found.sha256,
            size_bytes: found.size_bytes,
            code_bytes: found.code.code_bytes,
            compile_ms: found.code.elapsed.as_secs_f64() * 1e3,
            compiled_in: found.code.source,
            imports: found.imports,
            exports: found.exports,
            capabilities: found.capabilities,
            describe_ms: found.describe_time.as_secs_f64() * 1e3,
            procs: found.procs,
        }
    }
}

/// What became of a component file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreatedView {
    /// The component.
    pub name: String,
    /// The version that has these bytes.
    pub version: u64,
    /// Whether this version answers to the name.
    pub active: bool,
    /// `created`, `activated` or `unchanged`.
    pub change: Change,
    /// `store` or `dry-run`.
    pub purpose: Purpose,
    /// The same in one line.
    pub message: String,
    /// What the file is.
    #[serde(flatten)]
    pub report: InspectionView,
}

impl From<CreationReport> for CreatedView {
    fn from(report: CreationReport) -> Self {
        Self {
            message: report.sentence(),
            name: report.created.component.name,
            version: report.created.component.version,
            active: report.created.component.active,
            change: report.created.change,
            purpose: report.purpose,
            report: report.inspection.into(),
        }
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number.
    pub id: RunId,
    /// The proc.
    pub proc: String,
    /// The component that offers it.
    pub component: String,
    /// The component's bytes.
    pub sha256: String,
    /// The number of the component's version, where asked for and not deleted.
    #[serde(default)]
    pub version: Option<u64>,
    /// What the caller called the run.
    pub tag: Option<String>,
    /// Who asked for it.
    pub user: String,
    /// Where it stands.
    pub state: RunState,
    /// Parameters.
    pub params: serde_json::Value,
    /// Inputs.
    pub inputs: serde_json::Value,
    /// Outputs.
    pub outputs: serde_json::Value,
    /// What it read.
    pub snapshot: Option<SnapshotId>,
    /// Seed of its random numbers.
    pub seed: u64,
    /// When it was asked for, microseconds since 1970.
    pub submitted_us: i64,
    /// When it left the queue.
    pub started_us: Option<i64>,
    /// When all its instances had completed and their rows began to be written.
    #[serde(default)]
    pub committing_us: Option<i64>,
    /// When it ended: where it completed, when its commit was durable.
    pub finished_us: Option<i64>,
    /// Why it ended without completing.
    pub error: Option<String>,
    /// What the host has to say about it that did not end it.
    #[serde(default)]
    pub warning: Option<String>,
    /// The run whose checkpoints it was handed.
    #[serde(default)]
    pub resume: Option<RunId>,
    /// How many checkpoints of it are kept, where asked for.
    #[serde(default)]
    pub checkpoints: u64,
    /// Results of its instances, merged by the proc's reducers; where asked for.
    #[serde(default)]
    pub results: serde_json::Value,
    /// Its instances, where asked for.
    pub instances: Vec<InstanceView>,
}

impl RunView {
    /// Of a run and its instances.
    pub fn new(run: RunRecord, instances: Vec<InstanceRecord>) -> Self {
        Self {
            params: json(&run.params),
            inputs: json(&run.inputs),
            outputs: json(&run.outputs),
            instances: instances.into_iter().map(InstanceView::from).collect(),
            results: serde_json::Value::Null,
            id: run.id,
            proc: run.proc,
            component: run.component,
            sha256: run.sha256,
            version: None,
            tag: run.tag,
            user: run.user,
            state: run.state,
            snapshot: run.snapshot,
            seed: run.seed,
            submitted_us: run.submitted_us,
            started_us: run.started_us,
            committing_us: run.committing_us,
            finished_us: run.finished_us,
            error: run.error,
            warning: run.warning,
            resume: run.resume,
            checkpoints: 0,
        }
    }

    /// What goes on from its checkpoints, where it has some and did not complete.
    pub fn resumption(&self) -> Option<String> {
        let may_go_on = matches!(self.state, RunState::Error | RunState::Killed);
        (may_go_on && (self.checkpoints > 0 || self.resume.is_some())).then(|| {
            let Self { component, proc, id, .. } = self;
            format!("`quern proc execute {component}.{proc} … --resume {id}` goes on from its checkpoints")
        })
    }

    /// The same, with the number of its checkpoints.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoints: u64) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// The same, with the number of its component's version, which is one of these.
    #[must_use]
    pub fn with_version(mut self, versions: &[ComponentRecord]) -> Self {
        let mut own = versions.iter().filter(|c| c.name == self.component && c.sha256 == self.sha256);
        self.version = own.next().map(|component| component.version);
        self
    }

    /// The same, with merged results.
    #[must_use]
    pub fn with_results(mut self, results: &RunResults) -> Self {
        let merged = results.merged.iter().map(|(name, value)| (name.clone(), value.to_json()));
        self.results = serde_json::Value::Object(merged.collect());
        self
    }

    /// Progress of all instances together, 0 to 1, where any of them tells it.
    pub fn fraction(&self) -> Option<f64> {
        let known = self.instances.iter().any(|i| i.fraction.is_some());
        let of = |i: &InstanceView| if i.state == RunState::Complete { 1.0 } else { i.fraction.unwrap_or(0.0) };
        known.then(|| self.instances.iter().map(of).sum::<f64>() / self.instances.len().max(1) as f64)
    }

    /// The status line: of the instance that says something, the last in order.
    pub fn status(&self) -> &str {
        let mut said = self.instances.iter().rev().filter(|i| !i.status.is_empty());
        let running = said.clone().find(|i| i.state == RunState::Running);
        running.or_else(|| said.next()).map_or("", |i| i.status.as_str())
    }
}

/// A run that is executed whenever a server opens the folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartupView {
    /// Its number.
    pub id: u64,
    /// `component.proc`.
    pub proc: String,
    /// Who asked for it.
    pub user: String,
    /// When it was asked for, microseconds since 1970.
    pub created_us: i64,
    /// What is executed.
    pub request: serde_json::Value,
    /// The run it led to the last time.
    pub last_run: Option<RunId>,
    /// Why it led to none the last time.
    pub last_error: Option<String>,
}

impl From<StartupRecord> for StartupView {
    fn from(record: StartupRecord) -> Self {
        Self {
            request: json(&record.request),
            id: record.id,
            proc: record.proc,
            user: record.user,
            created_us: record.created_us,
            last_run: record.last_run,
            last_error: record.last_error,
        }
    }
}

/// One instance of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its number.
    pub shard: u32,
    /// Where it stands.
    pub state: RunState,
    /// Its last status line.
    pub status: String,
    /// Progress, 0 to 1.
    pub fraction: Option<f64>,
    /// Its closing message, or why it failed.
    pub message: Option<String>,
    /// Results by name.
    pub results: serde_json::Value,
    /// What it used, once it has ended.
    pub receipt: Option<Receipt>,
}

impl From<InstanceRecord> for InstanceView {
    fn from(record: InstanceRecord) -> Self {
        Self {
            results: json(&record.results),
            receipt: serde_json::from_str(&record.receipt).ok(),
            shard: record.shard,
            state: record.state,
            status: record.status,
            fraction: record.fraction,
            message: record.message,
        }
    }
}

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogView {
    /// The instance's number.
    pub shard: u32,
    /// Counted from 1 over the whole run.
    pub seq: u64,
    /// When it was said, microseconds since 1970.
    pub time_us: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What was said.
    pub text: String,
}

impl From<LogLine> for LogView {
    fn from(line: LogLine) -> Self {
        Self { shard: line.shard, seq: line.seq, time_us: line.time_us, level: line.level, text: line.text }
    }
}

/// A stored text as JSON; as a string where it is none.
fn json(text: &str) -> serde_json::Value {
    if text.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
