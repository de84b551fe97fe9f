//! Everything that the holder of a folder owns, wired together: storage, the
//! device with its executor, tables, catalog, runs, SQL. The methods are what
//! can be asked of a folder, whoever asks.

mod access;
mod import;
mod models;
mod settings;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use import::{ImportDone, ImportMode, ImportRequest};
pub use models::{Model, ModelRef};
pub use settings::MAX_CORES;

use crate::base::{Error, Limits, Result, RunId};
use crate::catalog::{Catalog, ProcChange, Rights};
use crate::device::{self, Choice, Device, Listed};
use crate::proc::{CodeCache, ComponentRequest, CreationReport, MAX_INSTANCES};
use crate::run::{
    KillTarget, Killed, LocalThreads, LogBounds, RunRequest, RunResults, RunStatus, Runs, Submission, Sweep,
    SweepStatus, may_see_startup,
};
use crate::sql::{Answer, Caller, Context, Sql, Watch};
use crate::storage::{
    ComponentRecord, Disk, LogLine, ProcSetting, RunFilter, RunRecord, StartupRecord, Storage, Versions,
};
use crate::table::Tables;
use crate::tensor::Executor;

/// How a folder is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The device for columns and tensors; the best that is present where absent.
    pub device: Option<Choice>,
    /// Threads for tensor work; all that this process may use where absent.
    pub cores: Option<usize>,
    /// Limits that are other than by default in this folder while it is open: of
    /// the folder as a whole, and of procs and runs that ask for no others.
    pub limits: Vec<(String, u64)>,
}

/// One open folder.
pub struct Database {
    storage: Storage,
    catalog: Catalog,
    runs: Runs,
    sql: Sql,
    tables: Tables,
    device: Device,
    limits: Limits,
    code: Option<CodeCache>,
}

impl Database {
    /// Opens a folder, which only its holder may do.
    pub fn open(folder: &Path, options: &Options) -> Result<Self> {
        let limits = limits(options)?;
        let device = options.device.unwrap_or_default().device(options.cores)?;
        let storage = Storage::open(folder, Arc::new(Disk))?;
        let tables = Tables::new(storage.clone(), device.clone());
        let catalog = Catalog::new(storage.clone());
        catalog.remove_leftovers()?;
        let code = CodeCache::of_user();
        let backend = LocalThreads::new(&storage, &tables, Executor::new(device.clone()), code.clone())?;
        let runs = Runs::open(&storage, &catalog, Arc::new(backend), &limits)?;
        let sql = Sql::new(Context {
            storage: storage.clone(),
            catalog: catalog.clone(),
            runs: runs.clone(),
            threads: device.cores,
            tables: tables.clone(),
            limits: limits.clone(),
        })?;
        Ok(Self { storage, catalog, runs, sql, tables, device, limits, code })
    }

    /// Executes statements, one after the other, as their answers are taken. All
    /// are read before the first is executed.
    /// The first error ends them.
    pub fn sql(&self, text: &str, caller: &Caller) -> Result<impl Iterator<Item = Result<Answer>> + '_> {
        let caller = caller.clone();
        Ok(crate::sql::parse(text)?.into_iter().map(move |statement| self.sql.execute_one(&statement, &caller)))
    }

    /// Names that a shell completes.
    pub fn names(&self, caller: &Caller) -> Result<Vec<String>> {
        self.sql.names(caller)
    }

    /// Stores the component file `bytes`, if the rights allow it, or only tells what it is.
    pub fn create(&self, request: &ComponentRequest, bytes: &[u8], rights: &Rights) -> Result<CreationReport> {
        request.create((&self.catalog, rights), bytes, &self.limits, self.code.as_ref())
    }

    /// Lets a version of a component answer to its name.
    pub fn activate(&self, component: &str, version: u64) -> Result<ComponentRecord> {
        self.catalog.activate(component, version)
    }

    /// Deletes a component, or one of its versions. Runs that use it go on.
    pub fn drop_component(&self, name: &str, version: Option<u64>, rights: &Rights) -> Result<()> {
        match version {
            Some(version) => self.catalog.drop_version(name, version),
            None => self.runs.drop_component(rights, name),
        }
    }

    /// Changes what is set for a proc, `component.proc` or `proc`, if the rights
    /// allow it. Answers its full name.
    pub fn alter_proc(&self, proc: &str, changes: &[ProcChange], rights: &Rights) -> Result<String> {
        let found = self.catalog.resolve(proc)?;
        self.runs.alter_proc(rights, &found.component.name, &found.proc.name, changes)?;
        Ok(format!("{}.{}", found.component.name, found.proc.name))
    }

    /// What is set for procs.
    pub fn proc_settings(&self) -> Result<Vec<ProcSetting>> {
        self.catalog.proc_settings()
    }

    /// Components by name and version.
    pub fn components(&self, which: Versions) -> Result<Vec<ComponentRecord>> {
        self.storage.components(which)
    }

    /// A component by its name, else by the name of one of its procs.
    pub fn component(&self, name: &str) -> Result<ComponentRecord> {
        match self.catalog.list()?.into_iter().find(|component| component.name == name) {
            Some(component) => Ok(component),
            None => self.catalog.resolve(name).map(|found| found.component),
        }
    }

    /// Starts a run.
    pub fn execute(&self, request: RunRequest) -> Result<RunId> {
        self.execute_for(request, &Caller::default())
    }

    /// Starts a run for somebody, if that user may.
    pub fn execute_for(&self, submission: impl Into<Submission>, caller: &Caller) -> Result<RunId> {
        self.sql.submit(submission, caller)
    }

    /// Starts all runs of a sweep.
    pub fn sweep(&self, sweep: Sweep, caller: &Caller) -> Result<SweepStatus> {
        self.runs.sweep(sweep, |submission| self.execute_for(submission, caller))
    }

    /// Waits until the runs of a sweep have ended, at most for `timeout`.
    pub fn wait_sweep(&self, tag: &str, first: RunId, timeout: Duration) -> Result<SweepStatus> {
        self.runs.wait_sweep(tag, first, timeout)
    }

    /// Stores a request that is executed whenever a server opens the folder.
    pub fn add_startup(&self, request: RunRequest, rights: &Rights) -> Result<u64> {
        self.runs.add_startup(request, rights)
    }

    /// The stored requests that somebody may look at, oldest first.
    pub fn startups(&self, rights: &Rights) -> Result<Vec<StartupRecord>> {
        let mut stored = self.runs.startups()?;
        stored.retain(|startup| may_see_startup(rights, startup));
        Ok(stored)
    }

    /// Forgets a stored request.
    pub fn remove_startup(&self, id: u64) -> Result<()> {
        self.runs.remove_startup(id)
    }

    /// Executes the stored requests, for as long as `watch` allows.
    pub fn start_up(&self, watch: &Watch) -> Result<()> {
        self.runs.start_up(&|| watch.check().is_ok(), &|request, kill| {
            // Requests of the owner have no name; a user who is gone executes nothing.
            let rights = self.rights(request.user.as_deref())?;
            let (all, one) = (watch.clone(), kill.clone());
            let watch = Watch::new(move || all.check().and_then(|()| one.check()));
            self.execute_for(request, &Caller { rights, watch })
        })
    }

    /// The devices of the machine and what is used of them.
    pub fn devices(&self) -> Vec<Listed> {
        device::list(Some(&self.device))
    }

    /// How a run stands.
    pub fn run(&self, run: RunId) -> Result<RunStatus> {
        self.runs.status(run)
    }

    /// Waits, at most for `timeout`, until something changed in a run since the
    /// call that answered `seen` (0 at first).
    pub fn follow(&self, run: RunId, seen: u64, timeout: Duration) -> Result<(u64, RunStatus)> {
        self.runs.follow(run, seen, timeout)
    }

    /// Whether a run has ended, at most `timeout` from now.
    pub fn wait_end(&self, run: RunId, timeout: Duration) -> bool {
        self.runs.wait_end(run, timeout)
    }

    /// How much of a run's log is kept.
    pub fn log_bounds(&self, run: RunId) -> Option<LogBounds> {
        self.runs.log_bounds(run)
    }

    /// Runs, the newest first.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        self.runs.list(filter)
    }

    /// Log lines of a run with a `seq` greater than `after`.
    pub fn logs(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<LogLine>> {
        self.runs.logs(run, after, limit)
    }

    /// How many checkpoints of a run are kept.
    pub fn checkpoints(&self, run: RunId) -> Result<u64> {
        Ok(self.storage.checkpoints(Some(run))?.len() as u64)
    }

    /// Results of a run, each instance's and merged.
    pub fn results(&self, run: RunId) -> Result<RunResults> {
        self.runs.results(run)
    }

    /// Kills runs, if the rights allow it for all of them, and waits a moment until
    /// they have ended; tells which have.
    pub fn kill(&self, target: &KillTarget, by: &str, rights: &Rights) -> Result<Vec<Killed>> {
        self.runs.kill_and_wait(rights, target, Some(by))
    }

    /// Kills all runs, and waits for none.
    pub fn kill_all(&self, by: &str) -> Result<()> {
        self.runs.kill(&KillTarget::All, Some(by)).map(drop)
    }

    /// Runs that have not ended.
    pub fn active_runs(&self) -> usize {
        self.runs.active()
    }

    /// Ends what runs, and writes what waits in the catalog to files. What does not
    /// end within `patience` is left behind, and the files as they are.
    pub fn close(&self, patience: Duration) -> Result<()> {
        match self.runs.close(patience) {
            true => self.storage.close(),
            false => Ok(()),
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("folder", &self.storage.folder()).finish_non_exhaustive()
    }
}

/// The limits of the folder.
fn limits(options: &Options) -> Result<Limits> {
    let mut limits = Limits::default();
    options.limits.iter().try_for_each(|(name, value)| limits.set(name, *value))?;
    let (requested, allowed) = (limits.running_instances, u64::from(MAX_INSTANCES));
    if !(1..=allowed).contains(&requested) {
        let (limit, unit) = ("running_instances", "instances");
        let hint = format!("ask for 1 to {allowed}: so many have places in one process");
        return Err(Error::Limit { limit, requested, allowed, unit, hint });
    }
    Ok(limits)
}
