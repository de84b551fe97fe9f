//! Where instances execute. A descriptor goes in, a manifest comes out, and an
//! [`InstanceLink`] carries what passes meanwhile: the kill, the quota, what the
//! instance says. Whoever makes the descriptors commits the manifests, in one place.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::base::{Error, Limits, Result, RunId, Schema, SnapshotId, TableId};
use crate::device::{KillSwitch, Quota};
use crate::proc::{Observer, Receipt, SavedModel, Task};
use crate::storage::{ComponentRecord, Snapshot, TableState};
use crate::table::{KeptOutput, KeptRows, Shards};

/// What one instance is to do.
#[derive(Clone)]
pub struct Descriptor {
    /// The component that offers the proc.
    pub component: ComponentRecord,
    /// The proc.
    pub proc: String,
    /// What it is to do with it.
    pub task: Task,
    /// The run whose checkpoints it is handed.
    pub resume: Option<RunId>,
    /// The state of all tables that the run reads.
    pub snapshot: Arc<Snapshot>,
    /// What it reads, in declared order.
    pub inputs: Vec<InputShard>,
    /// What it appends to, in declared order.
    pub outputs: Vec<OutputRows>,
}

/// Rows that an instance makes.
#[derive(Clone)]
pub struct OutputRows {
    /// The proc's name for them.
    pub name: String,
    /// Their columns.
    pub schema: Schema,
    /// The table they are appended to, where there is one already.
    pub table: Option<TableId>,
    /// Whether they can be read where they are made once they are committed, because
    /// all of them go to one shard.
    pub stays: bool,
}

/// Rows that an instance reads.
#[derive(Clone)]
pub struct InputShard {
    /// The proc's name for them.
    pub name: String,
    /// The table as the run reads it.
    pub table: Arc<TableState>,
    /// Which of its rows.
    pub shards: Shards,
    /// Places of the visible columns, in order.
    pub columns: Vec<usize>,
}

/// How an instance is reached while it runs.
#[derive(Clone)]
pub struct InstanceLink {
    /// Ends it.
    pub kill: KillSwitch,
    /// Device memory of the run, shared by its instances.
    pub quota: Quota,
    /// Is told what it says.
    pub observer: Arc<dyn Observer>,
}

/// What an instance left.
pub struct Manifest {
    /// The instance's number.
    pub instance: u32,
    /// Its rows and models; or why there are none.
    pub made: Result<Made>,
    /// What it used.
    pub receipt: Receipt,
}

/// What a completed instance made.
#[derive(Default)]
pub struct Made {
    /// Rows of each output, in declared order.
    pub outputs: Vec<Vec<RecordBatch>>,
    /// Models among those rows.
    pub models: Vec<SavedModel>,
    /// The same rows of each output, as far as they are on a device still.
    pub kept: Vec<KeptOutput>,
}

/// Rows that a run added to a table, now that they are committed.
pub struct Committed<'a> {
    /// The snapshot that shows them.
    pub snapshot: SnapshotId,
    /// The table.
    pub table: &'a str,
    /// The shard they went to, unless they were dealt.
    pub shard: Option<u32>,
    /// What is on a device of them still, in their order.
    pub kept: Vec<KeptRows>,
}

/// Takes the manifest of an instance, once.
pub type OnDone = Box<dyn FnOnce(Manifest) + Send>;

/// Executes instances.
pub trait Backend: Send + Sync {
    /// Makes a component ready, so that its instances start quickly. Compiling it
    /// stays within the limits of the run, and ends with it.
    fn prepare(&self, component: &ComponentRecord, limits: &Limits, kill: &KillSwitch) -> Result<()>;

    /// Starts an instance and returns; `done` is called when it has ended. Dropped
    /// without a call it fails the instance.
    fn start(&self, descriptor: Descriptor, link: InstanceLink, done: OnDone);

    /// Is told what was committed, for whoever reads it next. What is not taken over
    /// is given up.
    fn committed(&self, rows: Committed<'_>) {
        drop(rows);
    }
}

impl Manifest {
    /// Of an instance that made nothing.
    pub(super) fn failed(instance: u32, error: Error) -> Self {
        Self { instance, made: Err(error), receipt: Receipt::default() }
    }
}
