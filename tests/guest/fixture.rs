//! Tables and a device for procs of these tests, without a database around them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use quern::base::{Column, Error, Limits, RunId, Schema, Sharding};
use quern::catalog::ProcSpec;
use quern::device::{Device, KillSwitch, Quota};
use quern::proc::{Engine, InstanceJob, InstanceOutcome, ModelCache, inspect, instance};
use quern::storage::{AppendTo, Disk, Storage};
use quern::table::{OutputBudget, OutputTable, Shards, TableView, Tables};
use quern::tensor::Executor;

use crate::journal::Journal;

/// A folder with tables, and what executes procs on them.
pub(super) struct Bench {
    storage: Storage,
    tables: Tables,
    executor: Arc<Executor>,
    models: Arc<ModelCache>,
    _folder: tempfile::TempDir,
}

/// What a proc left behind.
pub(super) struct Done {
    outcome: InstanceOutcome,
    pub(super) journal: Arc<Journal>,
}

/// A column's description.
pub(super) fn column(name: &str, column_type: &str, nullable: bool) -> Column {
    Column { name: name.to_owned(), column_type: column_type.parse().unwrap(), nullable }
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Arc::new(Disk)).unwrap();
        let device = Device::cpu(1, 1 << 30);
        Self {
            tables: Tables::new(storage.clone(), device.clone()),
            executor: Executor::new(device.clone()),
            models: Arc::new(ModelCache::new(device, 1 << 28)),
            storage,
            _folder: folder,
        }
    }

    /// Makes a table of one shard with these rows.
    pub(super) fn table(&self, name: &str, columns: &[Column], rows: Vec<ArrayRef>) {
        let schema = Schema::new(columns.to_vec()).unwrap();
        let batch = RecordBatch::try_new(schema.to_arrow(), rows).unwrap();
        self.store(name, &schema, vec![batch]);
    }

    /// Makes a table of the models that a proc saved.
    pub(super) fn append_models(&self, name: &str, done: Done) {
        done.outcome.result.unwrap();
        let output = done.outcome.outputs.into_iter().next().unwrap().1;
        let schema = output.schema().clone();
        self.store(name, &schema, output.into_batches().unwrap());
    }

    fn store(&self, name: &str, schema: &Schema, batches: Vec<RecordBatch>) {
        let mut write = self.storage.begin();
        write.create_table(name, schema, Sharding::Random, 1).unwrap();
        write.commit().unwrap();
        let mut write = self.storage.begin();
        write.append(name, AppendTo::Deal, batches.into_iter().map(Ok::<_, Error>)).unwrap();
        write.commit().unwrap();
    }

    /// Executes one instance of a proc on these tables.
    pub(super) fn run(&self, component: &[u8], proc: &str, inputs: &[&str]) -> Done {
        let engine = Engine::get().unwrap();
        let limits = Limits::default();
        let found = inspect(engine, "the test's component", component, &limits, None).unwrap();
        let spec = found.procs.into_iter().find(|spec| spec.name == proc).unwrap();
        let inputs = spec.inputs.iter().zip(inputs).map(|(input, table)| (input.name.clone(), self.view(table)));
        let defaults = spec.params.iter().filter_map(|p| Some((p.name.clone(), p.default.clone()?)));
        let journal = Arc::new(Journal::default());
        let outcome = instance(InstanceJob {
            component: engine.compile(component, &limits, None).unwrap(),
            proc: proc.to_owned(),
            run: RunId(1),
            shard: 0,
            shards: 1,
            seed: 11,
            params: defaults.collect(),
            binary_params: Vec::new(),
            inputs: inputs.collect(),
            outputs: outputs(&spec, &limits),
            kill: KillSwitch::with_deadline(60_000),
            quota: Quota::new(limits.device_bytes),
            limits,
            observer: journal.clone(),
            executor: self.executor.clone(),
            mode: quern::tensor::Mode::Planned,
            models: self.models.clone(),
            model_sha256: Arc::new(|_| Ok(None)),
            checkpoints: journal.clone(),
        });
        Done { outcome, journal }
    }

    fn view(&self, table: &str) -> TableView {
        let snapshot = self.storage.snapshot().unwrap();
        self.tables.view(&snapshot, &snapshot.table(table).unwrap(), Shards::All).unwrap()
    }
}

impl Done {
    /// The rows of the first output, all of them in one batch; none if the proc
    /// has no output.
    pub(super) fn complete(self) -> RecordBatch {
        self.outcome.result.unwrap_or_else(|error| panic!("{}", error.chain()));
        let output = self.outcome.outputs.into_iter().next();
        let batches = output.map(|(_, table)| table.into_batches().unwrap()).unwrap_or_default();
        match batches.first() {
            Some(first) => arrow::compute::concat_batches(&first.schema(), &batches).unwrap(),
            None => RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
        }
    }

    /// The message of the proc's failure.
    pub(super) fn failure(self) -> String {
        self.outcome.result.expect_err("it should fail").chain()
    }
}

fn outputs(spec: &ProcSpec, limits: &Limits) -> Vec<(String, OutputTable)> {
    let budget = OutputBudget::new(limits.output_bytes);
    let mut tables = Vec::new();
    for output in &spec.outputs {
        let mut columns: Vec<Column> = output.columns.iter().map(|column| column.to_column()).collect();
        if output.models {
            columns.extend([
                column("model", "binary", false),
                column("name", "utf8", false),
                column("id", "uuid", false),
                column("date_time_created", "timestamp", false),
            ]);
        }
        let table = OutputTable::new(&output.name, Schema::new(columns).unwrap(), budget.clone()).unwrap();
        tables.push((output.name.clone(), table));
    }
    tables
}
