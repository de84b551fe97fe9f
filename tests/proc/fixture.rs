//! Components built from this repository's crates, and instances of them that
//! need no database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use quern::base::{Column, ColumnType, Limits, RunId, Schema};
use quern::catalog::ProcSpec;
use quern::device::{Device, KillSwitch, Quota};
use quern::proc::{Component, Engine, InstanceJob, InstanceOutcome, ModelCache, build, inspect, instance};
use quern::table::{OutputBudget, OutputTable, TableView};
use quern::tensor::{Executor, Mode};

use crate::journal::Journal;

/// The component of the crate in `folder` of the repository, built once.
pub(super) fn guest(folder: &str) -> &'static [u8] {
    static BUILT: Mutex<Option<HashMap<String, &'static [u8]>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(bytes) = built.get(folder) {
        return bytes;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let crate_folder = root.join(folder).canonicalize().unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.wasm", folder.replace('/', "-")));
    let mut said = Vec::new();
    build::build(&crate_folder, Some(&file), &mut |line| said.push(line.to_owned()))
        .unwrap_or_else(|e| panic!("{folder}: {}\n{}", e.chain(), said.join("\n")));
    let bytes: &'static [u8] = std::fs::read(&file).unwrap().leak();
    built.insert(folder.to_owned(), bytes);
    bytes
}

/// The hostile guests, one proc each.
pub(super) fn hostile() -> &'static [u8] {
    guest("tests/evil/hostile")
}

/// The executor that all instances of these tests share.
pub(super) fn executor() -> &'static Arc<Executor> {
    static EXECUTOR: OnceLock<Arc<Executor>> = OnceLock::new();
    EXECUTOR.get_or_init(|| Executor::new(Device::cpu(2, 4 << 30)))
}

/// Everything about an instance that a test may want to set.
pub(super) struct Trial {
    pub(super) component: Arc<Component>,
    pub(super) spec: ProcSpec,
    pub(super) params: Vec<(String, String)>,
    pub(super) binary_params: Vec<(String, Arc<[u8]>)>,
    pub(super) inputs: Vec<(String, TableView)>,
    pub(super) mode: Mode,
    pub(super) limits: Limits,
    pub(super) kill: KillSwitch,
    pub(super) seed: u64,
    pub(super) journal: Arc<Journal>,
    pub(super) models: Arc<ModelCache>,
    pub(super) sha256_of_models: Option<String>,
}

impl Trial {
    /// An instance of a proc with its default parameters and a minute to do it.
    pub(super) fn new(bytes: &[u8], proc: &str) -> Self {
        let engine = Engine::get().unwrap();
        let limits = Limits::default();
        let found = inspect(engine, "the test's component", bytes, &limits, None).unwrap();
        let spec = found.procs.into_iter().find(|p| p.name == proc).unwrap();
        Self::of(engine.compile(bytes, &limits, None).unwrap(), spec)
    }

    /// The same, of a component that is compiled already.
    pub(super) fn of(component: Arc<Component>, spec: ProcSpec) -> Self {
        let defaults = spec.params.iter().filter_map(|p| Some((p.name.clone(), p.default.clone()?)));
        Self {
            component,
            params: defaults.collect(),
            spec,
            binary_params: Vec::new(),
            inputs: Vec::new(),
            mode: Mode::Planned,
            kill: KillSwitch::with_deadline(60_000),
            seed: 1,
            journal: Arc::default(),
            models: Arc::new(ModelCache::new(executor().device().clone(), 1 << 28)),
            sha256_of_models: None,
            limits: Limits::default(),
        }
    }

    pub(super) fn param(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(known, _)| known != name);
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn limit(mut self, name: &str, value: u64) -> Self {
        self.limits.set(name, value).unwrap();
        self
    }

    pub(super) fn input(mut self, name: &str, view: TableView) -> Self {
        self.inputs.push((name.to_owned(), view));
        self
    }

    /// Executes it on this thread; whatever it does, its device memory returns.
    pub(super) fn run(&self) -> InstanceOutcome {
        let quota = Quota::new(self.limits.device_bytes);
        let outcome = self.run_within(&quota);
        assert_eq!(quota.used_bytes(), 0, "device memory that the instance has not given back");
        outcome
    }

    fn run_within(&self, quota: &Quota) -> InstanceOutcome {
        let budget = OutputBudget::new(self.limits.output_bytes);
        let outputs = self.spec.outputs.iter().map(|output| {
            let mut columns: Vec<Column> = output.columns.iter().map(|c| c.to_column()).collect();
            if output.models {
                columns.extend(model_columns());
            }
            let table = OutputTable::new(&output.name, Schema::new(columns).unwrap(), budget.clone()).unwrap();
            (output.name.clone(), table)
        });
        let sha256 = self.sha256_of_models.clone();
        instance(InstanceJob {
            component: self.component.clone(),
            proc: self.spec.name.clone(),
            run: RunId(7),
            shard: 0,
            shards: 1,
            seed: self.seed,
            params: self.params.clone(),
            binary_params: self.binary_params.clone(),
            inputs: self.inputs.clone(),
            outputs: outputs.collect(),
            limits: self.limits.clone(),
            kill: self.kill.clone(),
            quota: quota.clone(),
            observer: self.journal.clone(),
            executor: executor().clone(),
            mode: self.mode,
            models: self.models.clone(),
            model_sha256: Arc::new(move |_| Ok(sha256.clone())),
            checkpoints: self.journal.clone(),
        })
    }

    /// The message of its failure.
    pub(super) fn failure(&self) -> String {
        self.run().result.expect_err("it should fail").chain()
    }
}

/// The columns that every model table has.
pub(super) fn model_columns() -> Vec<Column> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: false };
    vec![
        column("model", ColumnType::Binary),
        column("name", ColumnType::Utf8),
        column("id", ColumnType::Uuid),
        column("date_time_created", ColumnType::Timestamp),
    ]
}

/// A normal proc, to see that the host is well after a bad one: 1000 rows.
pub(super) fn works_normally() {
    let outcome = Trial::new(hostile(), "writes").run();
    outcome.result.unwrap();
    assert_eq!(outcome.outputs[0].1.rows(), 1000);
    assert_eq!(outcome.receipt.rows_out, 1000);
}
