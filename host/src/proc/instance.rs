//! One instance of a proc, from start to receipt: a store with its limits, the
//! component instantiated in it, `entry.run` called, what is still recorded
//! executed, and the outputs taken out.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::Store;

use super::handles::{Budget, Handles};
use super::interfaces::{ColumnHandle, ModelHandle, TableHandle, TapeHandle, VariableHandle};
use super::job::{Checkpoints, InstanceJob, InstanceOutcome, LogLevel, ModelChecksums, Observer, SavedModel, Task};
use super::model_cache::ModelCache;
use super::receipt::{Moved, Receipt};
use super::sandbox::{self, Phase, State};
use super::{Component, text, trap};
use crate::base::{Error, ErrorCode, Result};
use crate::device::{KillSwitch, Quota};
use crate::table::{OutputTable, TableView};
use crate::tensor::{Executor, Notice, Session, Settings, Teller, Tensor};

/// What a running guest can reach.
pub(super) struct Run {
    pub(super) task: Task,
    pub(super) kill: KillSwitch,
    pub(super) observer: Arc<dyn Observer>,
    /// The last status message of the guest.
    pub(super) said: Arc<Mutex<String>>,
    /// Sizes of the results' values, in bytes.
    pub(super) results: BTreeMap<String, u64>,
    /// Bytes of the names and values of all results.
    pub(super) results_bytes: u64,
    pub(super) metric_points: u64,

    pub(super) inputs: Vec<(String, TableView)>,
    pub(super) outputs: Vec<(String, OutputTable)>,

    pub(super) session: Session,
    pub(super) budget: Budget,
    pub(super) tables: Handles<TableHandle>,
    pub(super) columns: Handles<ColumnHandle>,
    pub(super) tensors: Handles<Tensor>,
    pub(super) variables: Handles<VariableHandle>,
    pub(super) tapes: Handles<TapeHandle>,
    pub(super) models: Handles<ModelHandle>,

    pub(super) model_cache: Arc<ModelCache>,
    pub(super) model_sha256: ModelChecksums,
    pub(super) saved_models: Vec<SavedModel>,
    pub(super) checkpoints: Arc<dyn Checkpoints>,

    /// Bytes that moved outside the session.
    pub(super) moved: Moved,
    /// Time in calls that wait for the device or for storage.
    pub(super) waited: Duration,
    pub(super) quota: Quota,
    executor: Arc<Executor>,
}

impl Run {
    fn new(job: InstanceJob) -> (Arc<Component>, String, Self) {
        let said = Arc::default();
        let settings = Settings {
            quota: job.quota.clone(),
            kill: job.kill.clone(),
            limits: job.task.limits.clone(),
            seed: job.task.seed,
            stream: u64::from(job.task.instance),
            mode: job.mode,
            teller: teller(&job.observer, &said),
        };
        let run = Self {
            kill: job.kill,
            observer: job.observer,
            said,
            results: BTreeMap::new(),
            results_bytes: 0,
            metric_points: 0,
            inputs: job.inputs,
            outputs: job.outputs,
            session: Session::new(&job.executor, settings),
            budget: Budget::new(&job.task.limits),
            task: job.task,
            tables: Handles::new(),
            columns: Handles::new(),
            tensors: Handles::new(),
            variables: Handles::new(),
            tapes: Handles::new(),
            models: Handles::new(),
            model_cache: job.models,
            model_sha256: job.model_sha256,
            saved_models: Vec::new(),
            checkpoints: job.checkpoints,
            moved: Moved::default(),
            waited: Duration::ZERO,
            quota: job.quota,
            executor: job.executor,
        };
        (job.component, job.proc, run)
    }

    /// Does what may wait, and keeps that time apart from the guest's.
    pub(super) fn waiting<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let begun = Instant::now();
        let done = work(self);
        self.waited += begun.elapsed();
        done
    }
}

/// Tells what takes long in the log, and in the status as long as it does.
fn teller(observer: &Arc<dyn Observer>, said: &Arc<Mutex<String>>) -> Teller {
    let (observer, said) = (observer.clone(), said.clone());
    Teller::new(move |notice| {
        observer.log(LogLevel::Info, &notice.to_string());
        match notice {
            Notice::Compiling { .. } => observer.status(&notice.to_string(), None),
            Notice::Compiled { .. } => {
                observer.status(&said.lock().unwrap_or_else(PoisonError::into_inner), None);
            }
        }
    })
}

/// Executes one instance on the calling thread. Never panics, whatever the guest
/// does; the time it can take is bounded by the job's kill switch.
pub fn instance(job: InstanceJob) -> InstanceOutcome {
    let proc = job.proc.clone();
    let done = catch_unwind(AssertUnwindSafe(|| execute(job)));
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        failed(Error::Internal(format!("proc `{proc}` made the host fail: {text}")))
    })
}

fn failed(error: Error) -> InstanceOutcome {
    InstanceOutcome { result: Err(error), outputs: Vec::new(), saved_models: Vec::new(), receipt: Receipt::default() }
}

fn execute(job: InstanceJob) -> InstanceOutcome {
    let engine = match job.component.engine() {
        Ok(engine) => engine,
        Err(error) => return failed(error),
    };
    let begun = Instant::now();
    let (limits, kill) = (job.task.limits.clone(), job.kill.clone());
    let (component, proc, run) = Run::new(job);
    let state = State::new(Phase::Run(Box::new(run)), limits);
    let ticking = engine.ticking();
    let switch = kill.clone();
    let mut store = sandbox::store(engine, state, move || switch.check());

    let mut times = Times::default();
    let result = call(&component, &proc, &mut store, &mut times)
        .unwrap_or_else(|error| Err(trap::explain(error, store.data_mut(), &proc, kill.check().err())));
    drop(ticking);
    let state = store.into_data();
    let Phase::Run(run) = state.phase else {
        return failed(Error::Internal("an instance ended in another phase than it began".into()));
    };
    finish(
        *run,
        result,
        &Measured {
            times,
            wall: begun.elapsed(),
            peak_guest_bytes: state.meter.peak_bytes,
            host_calls: state.host_calls,
        },
    )
}

/// Times of one call.
#[derive(Default)]
struct Times {
    start: Duration,
    call: Duration,
}

/// Figures of the sandbox for the receipt.
struct Measured {
    times: Times,
    wall: Duration,
    peak_guest_bytes: u64,
    host_calls: u64,
}

/// Instantiates and calls; the outer error is a trap, the inner one returned.
fn call(
    component: &Component,
    proc: &str,
    store: &mut Store<State>,
    times: &mut Times,
) -> wasmtime::Result<Result<()>> {
    let begun = Instant::now();
    let instance = component.pre().instantiate(&mut *store);
    times.start = begun.elapsed();
    let begun = Instant::now();
    let returned = instance.and_then(|instance| instance.quern_udf_entry().call_run(&mut *store, proc));
    times.call = begun.elapsed();
    let returned = returned?;
    let limits = &store.data().limits;
    Ok(returned.map_err(|error| Error::Proc {
        proc: proc.to_owned(),
        code: error.code.into(),
        message: text::one_line(&error.message, limits),
    }))
}

/// Executes what is still recorded, and makes the receipt.
fn finish(mut run: Run, result: Result<()>, measured: &Measured) -> InstanceOutcome {
    let synced = Instant::now();
    let result = result.and_then(|()| run.session.sync()).and_then(|()| run.kill.check());
    // A proc that looks whether it is cancelled may say so itself; why, the switch knows.
    let result = result.map_err(|error| match (error.code(), run.kill.check()) {
        (ErrorCode::Cancelled, Err(stopped)) => stopped,
        _ => error,
    });
    let result = result.and_then(|()| run.outputs.iter().try_for_each(|(_, output)| output.read_back()));
    if result.is_err() {
        run.outputs.iter_mut().for_each(|(_, output)| drop(output.take_kept()));
    }
    // Also where the instance failed: they moved.
    let read_bytes: u64 = run.outputs.iter().map(|(_, output)| output.read_bytes()).sum();
    let synced = synced.elapsed();
    let stats = run.session.stats();
    let loaded_bytes: u64 = run.inputs.iter().map(|(_, view)| view.loaded_bytes()).sum();
    let gathered_bytes = run.inputs.iter().map(|(_, view)| view.gathered_bytes()).sum();
    let rows_in = run.inputs.iter().map(|(_, view)| view.rows()).sum();
    let rows_out = run.outputs.iter().map(|(_, table)| table.rows()).sum();
    let receipt = Receipt {
        wall_ms: ms(measured.wall + synced),
        start_ms: ms(measured.times.start),
        guest_ms: ms(measured.times.call.saturating_sub(run.waited)),
        device_ms: ms(stats.device_time),
        compile_ms: ms(stats.compile_time),
        peak_guest_bytes: measured.peak_guest_bytes,
        peak_device_bytes: run.quota.peak_bytes(),
        moved: Moved {
            inputs_bytes: run.moved.inputs_bytes + loaded_bytes,
            outputs_bytes: run.moved.outputs_bytes + read_bytes,
            scalars_bytes: stats.scalars_bytes,
            checks_bytes: stats.checks_bytes,
            ..run.moved
        },
        gathered_bytes,
        rows_in,
        rows_out,
        host_calls: measured.host_calls,
        programs: stats.programs,
        replays: stats.replays,
        device: run.executor.device().name.clone(),
    };
    InstanceOutcome { result, outputs: run.outputs, saved_models: run.saved_models, receipt }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
