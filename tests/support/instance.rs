//! Instances of procs that need no database around them.

use std::sync::{Arc, OnceLock};

use quern::base::{Column, Limits, RunId, Schema};
use quern::catalog::{MODEL_COLUMNS, ProcSpec};
use quern::device::{Device, KillSwitch, Quota};
use quern::proc::{Component, Engine, InstanceJob, InstanceOutcome, ModelCache, Params, Task, inspect, instance};
use quern::table::{OutputBudget, OutputTable, TableView};
use quern::tensor::{Executor, Mode};

use super::journal::Journal;

/// The executor that all instances of these tests share.
pub(crate) fn executor() -> &'static Arc<Executor> {
    static EXECUTOR: OnceLock<Arc<Executor>> = OnceLock::new();
    EXECUTOR.get_or_init(|| Executor::new(Device::cpu(2, 4 << 30)))
}

/// Everything about an instance that a test may want to set.
pub(crate) struct Trial {
    pub(crate) component: Arc<Component>,
    pub(crate) spec: ProcSpec,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) binary_params: Vec<(String, Arc<[u8]>)>,
    pub(crate) inputs: Vec<(String, TableView)>,
    pub(crate) mode: Mode,
    pub(crate) executor: Arc<Executor>,
    pub(crate) limits: Limits,
    pub(crate) kill: KillSwitch,
    pub(crate) seed: u64,
    pub(crate) journal: Arc<Journal>,
    pub(crate) models: Arc<ModelCache>,
    pub(crate) sha256_of_models: Option<String>,
}

impl Trial {
    /// An instance of a proc with its default parameters and a minute to do it.
    pub(crate) fn new(bytes: &[u8], proc: &str) -> Self {
        let engine = Engine::get().unwrap();
        let limits = Limits::default();
        let found = inspect(engine, "the test's component", bytes, &limits, None).unwrap();
        let spec = found.procs.into_iter().find(|p| p.name == proc).unwrap();
        Self::of(engine.compile(bytes, &limits, None).unwrap(), spec)
    }

    /// An instance of a proc whose component is compiled already.
    pub(crate) fn of(component: Arc<Component>, spec: ProcSpec) -> Self {
        let defaults = spec.params.iter().filter_map(|p| Some((p.name.clone(), p.default.clone()?)));
        Self {
            component,
            params: defaults.collect(),
            spec,
            binary_params: Vec::new(),
            inputs: Vec::new(),
            mode: Mode::Planned,
            executor: executor().clone(),
            kill: KillSwitch::with_deadline(60_000),
            seed: 1,
            journal: Arc::default(),
            models: Arc::new(ModelCache::new(executor().device().clone(), 1 << 28)),
            sha256_of_models: None,
            limits: Limits::default(),
        }
    }

    pub(crate) fn param(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(known, _)| known != name);
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn limit(mut self, name: &str, value: u64) -> Self {
        self.limits.set(name, value).unwrap();
        self
    }

    pub(crate) fn input(mut self, name: &str, view: TableView) -> Self {
        self.inputs.push((name.to_owned(), view));
        self
    }

    /// Executes it on this thread; whatever it does, its device memory returns.
    pub(crate) fn run(&self) -> InstanceOutcome {
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
                let required = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: false };
                columns.extend(MODEL_COLUMNS.map(|(name, column_type)| required(name, column_type)));
            }
            let table = OutputTable::new(&output.name, Schema::new(columns).unwrap(), budget.clone()).unwrap();
            (output.name.clone(), table)
        });
        let sha256 = self.sha256_of_models.clone();
        instance(InstanceJob {
            component: self.component.clone(),
            proc: self.spec.name.clone(),
            task: Task {
                run: RunId(7),
                instance: 0,
                instances: 1,
                seed: self.seed,
                params: Params { texts: self.params.clone(), binary: self.binary_params.clone() },
                limits: self.limits.clone(),
            },
            inputs: self.inputs.clone(),
            outputs: outputs.collect(),
            kill: self.kill.clone(),
            quota: quota.clone(),
            observer: self.journal.clone(),
            executor: self.executor.clone(),
            mode: self.mode,
            models: self.models.clone(),
            model_sha256: Arc::new(move |_| Ok(sha256.clone())),
            checkpoints: self.journal.clone(),
        })
    }

    /// Results that are text, in the order they were first set.
    pub(crate) fn results(&self) -> Vec<(String, String)> {
        self.journal.results.lock().unwrap().clone()
    }

    /// The message of its failure.
    pub(crate) fn failure(&self) -> String {
        self.run().result.expect_err("it should fail").chain()
    }
}
