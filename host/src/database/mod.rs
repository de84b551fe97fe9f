//! Everything that the holder of a folder owns, wired together: storage, the
//! device with its executor, tables, catalog, runs, SQL. The methods are what
//! can be asked of a folder, whoever asks.

mod import;
mod models;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use import::{Import, ImportDone, ImportMode};
pub use models::{Model, ModelRef};

use crate::base::{Error, Limits, Result, RunId};
use crate::catalog::{Catalog, NewComponent};
use crate::device::Device;
use crate::proc::{CodeCache, Engine, Inspection};
use crate::run::{LocalThreads, Request, RunResults, RunStatus, Runs, Target};
use crate::sql::{Answer, Context, Sql, Watch};
use crate::storage::{ComponentRecord, Disk, LogLine, RunFilter, RunRecord, Storage};
use crate::table::Tables;
use crate::tensor::Executor;

/// Where compiled components are kept in a folder.
const CODE_FOLDER: &str = "code";

/// How a folder is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Threads for tensor work; all that this process may use where absent.
    pub cores: Option<usize>,
}

/// One open folder.
pub struct Database {
    storage: Storage,
    catalog: Catalog,
    runs: Runs,
    sql: Sql,
    limits: Limits,
}

impl Database {
    /// Opens a folder, which only its holder may do.
    pub fn open(folder: &Path, options: &Options) -> Result<Self> {
        let limits = Limits::default();
        let storage = Storage::open(folder, Arc::new(Disk))?;
        let device = device(options);
        let tables = Tables::new(storage.clone(), device.clone());
        let catalog = Catalog::new(storage.clone());
        catalog.sweep()?;
        let code = CodeCache::new(folder.join(CODE_FOLDER));
        let backend = LocalThreads::new(&storage, &tables, Executor::new(device.clone()), Some(code))?;
        let runs = Runs::open(&storage, &catalog, Arc::new(backend), &limits)?;
        let sql = Sql::new(Context {
            storage: storage.clone(),
            catalog: catalog.clone(),
            runs: runs.clone(),
            threads: device.cores,
            devices: vec![device],
            limits: limits.clone(),
        })?;
        Ok(Self { storage, catalog, runs, sql, limits })
    }

    /// Executes statements, one after the other, as their answers are taken. All
    /// are read before the first is executed.
    /// The first error ends them, also that of `watch`.
    pub fn sql(&self, text: &str, watch: &Watch) -> Result<impl Iterator<Item = Result<Answer>> + '_> {
        let watch = watch.clone();
        Ok(crate::sql::parse(text)?.into_iter().map(move |statement| self.sql.execute_one(&statement, &watch)))
    }

    /// Names that a shell completes.
    pub fn names(&self) -> Result<Vec<String>> {
        self.sql.names()
    }

    /// Looks at the component file `bytes`, called `what` in errors.
    pub fn inspect(&self, what: &str, bytes: &[u8]) -> Result<Inspection> {
        crate::proc::inspect(Engine::get()?, what, bytes, &self.limits)
    }

    /// Stores a component; with `replace` also where one of its name exists.
    pub fn create_component(&self, name: &str, bytes: &[u8], replace: Replace) -> Result<ComponentRecord> {
        let found = self.inspect(&format!("`{name}`"), bytes)?;
        let new = NewComponent { name, procs: &found.procs, sha256: &found.sha256, bytes };
        if replace == Replace::No && self.catalog.versions()?.iter().any(|kept| kept.name == name) {
            return Err(Error::Exists { kind: "component", name: name.to_owned() });
        }
        self.catalog.create(&new)
    }

    /// Lets a component no longer be executed.
    pub fn drop_component(&self, name: &str) -> Result<()> {
        self.catalog.drop_component(name)
    }

    /// The components that can be executed.
    pub fn components(&self) -> Result<Vec<ComponentRecord>> {
        self.catalog.list()
    }

    /// A component by its name, else by the name of one of its procs.
    pub fn component(&self, name: &str) -> Result<ComponentRecord> {
        match self.catalog.list()?.into_iter().find(|component| component.name == name) {
            Some(component) => Ok(component),
            None => self.catalog.resolve(name).map(|found| found.component),
        }
    }

    /// Starts a run.
    pub fn execute(&self, request: Request) -> Result<RunId> {
        self.runs.execute(request)
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

    /// Runs, the newest first.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        self.runs.list(filter)
    }

    /// Log lines of a run with a `seq` greater than `after`.
    pub fn logs(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<LogLine>> {
        self.runs.logs(run, after, limit)
    }

    /// Results of a run, each instance's and merged.
    pub fn results(&self, run: RunId) -> Result<RunResults> {
        self.runs.results(run)
    }

    /// Kills runs; answers which.
    pub fn kill(&self, target: &Target, by: &str) -> Result<Vec<RunId>> {
        self.runs.kill(target, Some(by))
    }

    /// Runs that have not ended.
    pub fn active_runs(&self) -> usize {
        self.runs.active()
    }

    /// Ends what runs, and writes what waits in the catalog to files.
    pub fn close(&self) -> Result<()> {
        self.runs.close();
        self.storage.close()
    }
}

/// What happens to a component of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replace {
    /// It is an error.
    No,
    /// It gets a new version.
    Yes,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("folder", &self.storage.folder()).finish_non_exhaustive()
    }
}

fn device(options: &Options) -> Device {
    let machine = Device::cpu_of_this_machine();
    match options.cores {
        Some(cores) => Device::cpu(cores, machine.memory_bytes),
        None => machine,
    }
}
