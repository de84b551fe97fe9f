//! Instances as threads of this process, at a lower priority than the rest.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use super::backend::{Backend, Committed, Descriptor, InstanceLink, Made, Manifest, OnDone};
use super::checkpoints::StoredCheckpoints;
use crate::base::{Limits, Result};
use crate::catalog::Catalog;
use crate::device::{KillSwitch, lower_priority};
use crate::proc::{Bounds, CodeCache, Component, Engine, InstanceJob, InstanceOutcome, ModelCache, ModelChecksums};
use crate::storage::{CheckpointBounds, ComponentRecord, Storage};
use crate::table::{OutputBudget, OutputTable, TableView, Tables};
use crate::tensor::{Executor, Mode};

/// Models kept on the device for the next run that loads them.
const MODEL_CACHE_BYTES: u64 = 1 << 30;

/// Executes each instance on its own thread.
#[derive(Clone)]
pub struct LocalThreads(Arc<Parts>);

struct Parts {
    storage: Storage,
    tables: Tables,
    catalog: Catalog,
    engine: &'static Engine,
    cache: Option<CodeCache>,
    executor: Arc<Executor>,
    models: Arc<ModelCache>,
}

impl LocalThreads {
    /// Over the tables of a folder and the executor of their device. Compiled
    /// components are kept in `cache`.
    pub fn new(storage: &Storage, tables: &Tables, executor: Arc<Executor>, cache: Option<CodeCache>) -> Result<Self> {
        Ok(Self(Arc::new(Parts {
            storage: storage.clone(),
            tables: tables.clone(),
            catalog: Catalog::new(storage.clone()),
            engine: Engine::get()?,
            cache,
            executor,
            models: Arc::new(ModelCache::new(tables.device().clone(), MODEL_CACHE_BYTES)),
        })))
    }

    fn component(&self, record: &ComponentRecord, limits: &Limits, kill: &KillSwitch) -> Result<Arc<Component>> {
        let bounds = Bounds { limits, kill };
        self.0.engine.load(&record.sha256, bounds, self.0.cache.as_ref(), || self.0.catalog.bytes(record))
    }

    fn execute(&self, descriptor: Descriptor, link: InstanceLink) -> Manifest {
        let instance = descriptor.task.instance;
        let job = link.kill.check().and_then(|()| self.job(descriptor, link));
        match job {
            Ok(job) => manifest(instance, crate::proc::instance(job)),
            Err(error) => Manifest::failed(instance, error),
        }
    }

    fn job(&self, descriptor: Descriptor, link: InstanceLink) -> Result<InstanceJob> {
        let inputs = descriptor.inputs.iter().map(|input| {
            let view = self.0.tables.view(&descriptor.snapshot, &input.table, input.shards)?;
            Ok((input.name.clone(), view.project(&input.columns)?.with_kill(link.kill.clone())))
        });
        let inputs: Vec<(String, TableView)> = inputs.collect::<Result<_>>()?;
        let budget = OutputBudget::new(descriptor.task.limits.output_bytes);
        let outputs = descriptor.outputs.into_iter().map(|rows| {
            let output = OutputTable::new(&rows.name, rows.schema, budget.clone())?.with_kill(link.kill.clone());
            // A table that keeps nothing there has no use for rows that were kept.
            let stays = rows.stays && self.0.tables.stays_on_device(rows.table)?;
            let output = if stays { output.on_device(self.0.tables.device(), &link.quota) } else { output };
            Ok((rows.name, output))
        });
        let storage = self.0.storage.clone();
        let model_sha256: ModelChecksums = Arc::new(move |id| Ok(storage.model(id)?.map(|model| model.sha256)));
        let checkpoints = Arc::new(StoredCheckpoints {
            storage: self.0.storage.clone(),
            run: descriptor.task.run,
            resume: descriptor.resume,
            shard: descriptor.task.instance,
            bounds: CheckpointBounds::of(&descriptor.task.limits),
            names_allowed: descriptor.task.limits.checkpoint_names,
            names: Mutex::default(),
        });
        Ok(InstanceJob {
            component: self.component(&descriptor.component, &descriptor.task.limits, &link.kill)?,
            proc: descriptor.proc,
            task: descriptor.task,
            inputs,
            outputs: outputs.collect::<Result<_>>()?,
            kill: link.kill,
            quota: link.quota,
            observer: link.observer,
            executor: Arc::clone(&self.0.executor),
            mode: Mode::Planned,
            models: Arc::clone(&self.0.models),
            model_sha256,
            checkpoints,
        })
    }
}

impl Backend for LocalThreads {
    fn prepare(&self, component: &ComponentRecord, limits: &Limits, kill: &KillSwitch) -> Result<()> {
        self.component(component, limits, kill).map(drop)
    }

    fn committed(&self, rows: Committed<'_>) {
        let Committed { snapshot, table, shard, kept } = rows;
        // What is not published is loaded when it is read; whatever happens, the run is committed.
        let published = catch_unwind(AssertUnwindSafe(|| self.0.tables.publish(snapshot, table, shard, kept)));
        drop(published);
    }

    fn start(&self, descriptor: Descriptor, link: InstanceLink, done: OnDone) {
        let this = self.clone();
        let name = format!("run {}.{}", descriptor.task.run, descriptor.task.instance);
        let thread = std::thread::Builder::new().name(name);
        // Without a thread `done` is dropped, which tells the run.
        drop(thread.spawn(move || {
            lower_priority();
            done(this.execute(descriptor, link));
        }));
    }
}

fn manifest(instance: u32, outcome: InstanceOutcome) -> Manifest {
    let InstanceOutcome { result, outputs, saved_models, receipt, .. } = outcome;
    let made = result.and_then(|()| {
        let mut made = Made { models: saved_models, ..Made::default() };
        for (_, mut output) in outputs {
            made.kept.push(output.take_kept());
            made.outputs.push(output.into_batches()?);
        }
        Ok(made)
    });
    Manifest { instance, made, receipt }
}
