//! A folder with procs whose instances are closures of the test, so that what
//! happens around instances can be told exactly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use quern::base::{Column, Error, Limits, Result, RunId, Schema, Sharding};
use quern::catalog::{Catalog, Declarations, NewComponent};
use quern::device::Device;
use quern::proc::Receipt;
use quern::run::{Descriptor, InstanceLink, Made, RunStatus, Runs};
use quern::storage::{AppendTo, Disk, FileLayer, Storage};
use quern::table::{OutputBudget, OutputTable, TableView, Tables};

use crate::support::backend::RustInstances;

/// What an instance of a proc does.
pub(super) type Script = dyn Fn(&Instance<'_>) -> Result<Made> + Send + Sync;

/// An instance as a script sees it.
pub(super) struct Instance<'a> {
    pub(super) descriptor: &'a Descriptor,
    pub(super) link: &'a InstanceLink,
    pub(super) inputs: Vec<TableView>,
    pub(super) outputs: Vec<OutputTable>,
}

/// The scripts of procs by name.
#[derive(Clone)]
pub(super) struct Scripts {
    tables: Tables,
    scripts: Arc<Mutex<BTreeMap<String, Arc<Script>>>>,
    /// Instances at the same time: now and at most.
    pub(super) running: Arc<Mutex<(usize, usize)>>,
}

impl Scripts {
    /// What executes them.
    pub(super) fn backend(&self) -> Arc<RustInstances> {
        let this = self.clone();
        Arc::new(RustInstances::new(move |descriptor, link| {
            {
                let mut running = this.running.lock().unwrap();
                *running = (running.0 + 1, running.1.max(running.0 + 1));
            }
            let made = this.execute(descriptor, link);
            this.running.lock().unwrap().0 -= 1;
            (made, Receipt::default())
        }))
    }

    fn execute(&self, descriptor: &Descriptor, link: &InstanceLink) -> Result<Made> {
        link.kill.check()?;
        let inputs = descriptor
            .inputs
            .iter()
            .map(|input| self.tables.view(&descriptor.snapshot, &input.table, input.shards)?.project(&input.columns));
        let budget = OutputBudget::new(descriptor.task.limits.output_bytes);
        let outputs =
            descriptor.outputs.iter().map(|rows| OutputTable::new(&rows.name, rows.schema.clone(), budget.clone()));
        let (inputs, outputs) = (inputs.collect::<Result<_>>()?, outputs.collect::<Result<_>>()?);
        let script = self.scripts.lock().unwrap().get(&descriptor.proc).cloned().unwrap();
        script(&Instance { descriptor, link, inputs, outputs })
    }
}

/// A data folder with runs.
pub(super) struct Folder {
    pub(super) storage: Storage,
    pub(super) catalog: Catalog,
    pub(super) scripts: Scripts,
    pub(super) runs: Runs,
    pub(super) _folder: tempfile::TempDir,
}

/// Long enough for anything here.
pub(super) const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

impl Folder {
    pub(super) fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    pub(super) fn with_limits(limits: &Limits) -> Self {
        Self::with_files(limits, Arc::new(Disk))
    }

    pub(super) fn with_files(limits: &Limits, files: Arc<dyn FileLayer>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), files).unwrap();
        let catalog = Catalog::new(storage.clone());
        let tables = Tables::new(storage.clone(), Device::cpu(1, 1 << 30));
        let scripts = Scripts { tables, scripts: Arc::default(), running: Arc::default() };
        let runs = Runs::open(&storage, &catalog, scripts.backend(), limits).unwrap();
        Self { storage, catalog, scripts, runs, _folder: folder }
    }

    /// Adds a component of one proc.
    pub(super) fn proc(
        &self,
        name: &str,
        declare: impl FnOnce(&mut Declarations),
        script: impl Fn(&Instance<'_>) -> Result<Made> + Send + Sync + 'static,
    ) {
        let mut declarations = Declarations::default();
        declare(&mut declarations);
        let procs = declarations.finish().unwrap();
        let sha256 = format!("{name:0>64}");
        let new = NewComponent { name, procs: &procs, sha256: &sha256, bytes: name.as_bytes() };
        self.catalog.create(&new).unwrap();
        self.scripts.scripts.lock().unwrap().insert(procs[0].name.clone(), Arc::new(script));
    }

    /// A table of int64 `n` with rows in given shards.
    pub(super) fn table(&self, name: &str, sharding: Sharding, shards: &[&[i64]]) {
        let mut write = self.storage.begin();
        let count = u32::try_from(shards.len()).unwrap();
        write.create_table(name, &numbers(&["n"]), sharding.clone(), count).unwrap();
        for (shard, rows) in (0..).zip(shards) {
            let to = if matches!(sharding, Sharding::Key(_)) { AppendTo::Deal } else { AppendTo::Shard(shard) };
            if !rows.is_empty() {
                write.append(name, to, [Ok::<_, Error>(batch(rows))]).unwrap();
            }
        }
        write.commit().unwrap();
    }

    pub(super) fn append(&self, name: &str, rows: &[i64]) {
        let mut write = self.storage.begin();
        write.append(name, AppendTo::Deal, [Ok::<_, Error>(batch(rows))]).unwrap();
        write.commit().unwrap();
    }

    /// The numbers of a table's first column, by shard, each in order.
    pub(super) fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(name).unwrap();
        let shard = |shard| {
            let batches =
                self.storage.scan(&snapshot, &table, (table.shards > 1).then_some(shard), Some(&[0])).unwrap();
            let numbers =
                batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec());
            numbers.collect()
        };
        (0..table.shards).map(shard).collect()
    }

    pub(super) fn sorted(&self, name: &str) -> Vec<i64> {
        let mut rows = self.rows(name).concat();
        rows.sort_unstable();
        rows
    }

    pub(super) fn has_table(&self, name: &str) -> bool {
        self.storage.snapshot().unwrap().table(name).is_ok()
    }

    pub(super) fn wait(&self, id: RunId) -> RunStatus {
        let status = self.runs.wait(id, PATIENCE).unwrap();
        assert!(status.run.state.is_final(), "{status:?}");
        status
    }
}

pub(super) fn numbers(names: &[&str]) -> Schema {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        column_type: if *name == "shard" { "int32" } else { "int64" }.parse().unwrap(),
        nullable: false,
    };
    Schema::new(names.iter().map(column).collect()).unwrap()
}

fn batch(rows: &[i64]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
    RecordBatch::try_new(numbers(&["n"]).to_arrow(), vec![column]).unwrap()
}

/// The numbers of an input's column `n`.
pub(super) fn input(instance: &Instance<'_>, place: usize) -> Vec<i64> {
    let column = instance.inputs[place].column(0).unwrap();
    column.values().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Rows of one output of int64 and perhaps the instance's shard.
pub(super) fn made(instance: &Instance<'_>, rows: &[i64]) -> Made {
    let schema = instance.outputs[0].schema();
    let columns = schema.columns().iter().map(|column| -> ArrayRef {
        match column.name.as_str() {
            "shard" => {
                Arc::new(Int32Array::from(vec![i32::try_from(instance.descriptor.task.instance).unwrap(); rows.len()]))
            }
            _ => Arc::new(Int64Array::from(rows.to_vec())),
        }
    });
    let batch = RecordBatch::try_new(schema.to_arrow(), columns.collect()).unwrap();
    Made { outputs: vec![vec![batch]], ..Made::default() }
}

/// `square`: n² of each row, with the shard.
pub(super) fn declare_square(declarations: &mut Declarations) {
    declarations.proc("square", "distributed", "n² of each row").unwrap();
    declarations.input("square", "rows", "").unwrap();
    declarations.input_column("square", "rows", "n", "numeric").unwrap();
    declarations.output("square", "squares", "").unwrap();
    declarations.output_column("square", "squares", ("y", "int64", false)).unwrap();
    declarations.output_column("square", "squares", ("shard", "int32", false)).unwrap();
}

pub(super) fn square(instance: &Instance<'_>) -> Result<Made> {
    let squares: Vec<i64> = input(instance, 0).iter().map(|n| n * n).collect();
    Ok(made(instance, &squares))
}
