//! The tables and runs of one test of a proc: a folder that exists while the
//! test lasts, in memory where the machine has a place for that, and everything
//! that executes runs elsewhere. So a test meets the checks, shards, commits and
//! limits that a user's run meets.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::kill::KillTarget;
use super::local::LocalThreads;
use super::request::{Bytes, InputRef, RunRequest};
use super::results::Value;
use super::runs::Runs;
use crate::base::{Column, Error, Limits, Result, RunId, Schema, Sharding};
use crate::catalog::{Catalog, NewComponent};
use crate::device::KillSwitch;
use crate::proc::{TestRun, TestTables};
use crate::storage::{AppendTo, Disk, ResultRecord, RunState, Storage};
use crate::table::{ColumnCopy, OutputBudget, OutputTable, RawColumn, Shards, Tables};
use crate::tensor::Executor;

/// How folders of tests are named, before the number of their process.
const PREFIX: &str = "quern-test-";
/// Where folders in memory can be made.
const MEMORY: &str = "/dev/shm";
/// Log lines and metric points that a test can look at.
const SHOWN: u32 = 10_000;
/// Time between two looks at the test's deadline while a run executes.
const PATIENCE: Duration = Duration::from_millis(50);

/// One test's tables and runs.
pub(super) struct Workshop {
    storage: Storage,
    tables: Tables,
    runs: Runs,
    component: String,
    limits: Limits,
    kill: KillSwitch,
    // Removed last, after everything that has files in it.
    _folder: Folder,
}

impl Workshop {
    /// With the procs of one component. `kill` ends the test.
    pub(super) fn new(
        new: &NewComponent<'_>,
        executor: &Arc<Executor>,
        limits: &Limits,
        kill: &KillSwitch,
    ) -> Result<Self> {
        let folder = Folder::make()?;
        let storage = Storage::open(&folder.0, Arc::new(Disk))?;
        let catalog = Catalog::new(storage.clone());
        catalog.create(new)?;
        let tables = Tables::new(storage.clone(), executor.device().clone());
        let threads = LocalThreads::new(&storage, &tables, Arc::clone(executor), None)?;
        let runs = Runs::open(&storage, &catalog, Arc::new(threads), limits)?;
        let (component, limits, kill) = (new.name.to_owned(), limits.clone(), kill.clone());
        Ok(Self { storage, tables, runs, component, limits, kill, _folder: folder })
    }

    fn request(&self, run: TestRun) -> Result<RunRequest> {
        let mut request = RunRequest::new(format!("{}.{}", self.component, run.proc));
        request.inputs = run
            .inputs
            .into_iter()
            .map(|(table, columns)| InputRef {
                columns: Some(columns).filter(|columns| !columns.is_empty()),
                ..InputRef::table(table)
            })
            .collect();
        request.outputs = run.outputs;
        request.params = run.params;
        request.binary_params =
            run.binary_params.into_iter().map(|(name, bytes)| (name, Bytes(bytes.into()))).collect();
        request.user = Some("test".to_owned());
        for (name, value) in run.options {
            let number = value
                .trim()
                .parse()
                .map_err(|_| Error::Invalid(format!("option {name}: `{value}` is not a whole number")))?;
            match name.as_str() {
                "seed" => request.seed = Some(number),
                "resume" => request.resume = Some(RunId(number)),
                limit => request.limits.set(limit, number)?,
            }
        }
        Ok(request)
    }

    /// Results of a run: merged by the proc's reducers, or the only instance's.
    fn values(&self, run: u64) -> Result<Vec<(String, Value)>> {
        let status = self.runs.status(RunId(run))?;
        let results = self.runs.results(RunId(run))?;
        if status.run.instances > 1 {
            return Ok(results.merged);
        }
        let value = |result: ResultRecord| match (result.text, result.bytes) {
            (Some(text), _) => Some((result.name, Value::Text(text))),
            (None, bytes) => Some((result.name, Value::Bytes(bytes?.into()))),
        };
        Ok(results.instances.into_iter().filter_map(value).collect())
    }
}

impl TestTables for Workshop {
    fn create_table(&self, name: &str, columns: Vec<Column>, rows: &[RawColumn<'_>], shards: u32) -> Result<()> {
        let schema = Schema::new(columns)?;
        if rows.len() != schema.columns().len() {
            return Err(Error::Invalid(format!(
                "table `{name}` has {} columns, rows of {} were given",
                schema.columns().len(),
                rows.len()
            )));
        }
        let n_rows = rows.first().map_or(0, |column| column.rows);
        let mut table = OutputTable::new(name, schema.clone(), OutputBudget::new(self.limits.output_bytes))?;
        table.resize(n_rows)?;
        for (index, (data, column)) in rows.iter().zip(schema.columns()).enumerate() {
            if data.rows != n_rows {
                return Err(Error::Invalid(format!(
                    "column `{}` has {} rows, the first one has {n_rows}",
                    column.name, data.rows
                )));
            }
            table.write(index, 0, data)?;
        }
        let batches = table.into_batches()?;
        let sharding = if shards == 0 { Sharding::Replicated } else { Sharding::Random };
        // In two steps: rows are dealt to the shards of a table that is there.
        let mut write = self.storage.begin();
        write.create_table(name, &schema, sharding, shards.max(1))?;
        write.commit()?;
        let mut write = self.storage.begin();
        write.append(name, AppendTo::Deal, batches.into_iter().map(Ok::<_, Error>))?;
        write.commit().map(drop)
    }

    fn fields(&self, table: &str) -> Result<Vec<Column>> {
        Ok(self.storage.snapshot()?.table(table)?.schema.columns().to_vec())
    }

    fn read(&self, table: &str, column: &str) -> Result<(u64, ColumnCopy)> {
        let snapshot = self.storage.snapshot()?;
        let state = snapshot.table(table)?;
        let columns = state.schema.columns();
        let index = columns.iter().position(|known| known.name == column).ok_or_else(|| {
            let names = columns.iter().map(|known| &known.name);
            Error::not_found("column", column, Some(format!("table `{table}`")), names)
        })?;
        let view = self.tables.view(&snapshot, &state, Shards::All)?;
        let rows = view.rows();
        Ok((rows, view.column(index)?.read(0, rows, &KillSwitch::new())?))
    }

    fn execute(&self, run: TestRun) -> Result<u64> {
        let run = self.runs.execute(self.request(run)?)?;
        loop {
            if self.runs.wait(run, Some(PATIENCE))?.run.state.is_final() {
                return Ok(run.0);
            }
            if let Err(late) = self.kill.check() {
                // One that is committing ends by itself.
                drop(self.runs.kill(&KillTarget::Run(run), Some("the end of its test")));
                return Err(late);
            }
        }
    }

    fn failure(&self, run: u64) -> Result<Option<String>> {
        let run = self.runs.status(RunId(run))?.run;
        Ok(match run.state {
            RunState::Complete => None,
            _ => Some(run.error.unwrap_or_else(|| run.state.name().to_owned())),
        })
    }

    fn results(&self, run: u64) -> Result<Vec<(String, String)>> {
        Ok(self.values(run)?.into_iter().filter_map(|(name, value)| Some((name, value.text()?.to_owned()))).collect())
    }

    fn binary_results(&self, run: u64) -> Result<Vec<(String, Vec<u8>)>> {
        Ok(self.values(run)?.into_iter().filter_map(|(name, value)| Some((name, value.bytes()?.to_vec()))).collect())
    }

    fn instance_results(&self, run: u64, name: &str) -> Result<Vec<(u32, String)>> {
        let results = self.runs.results(RunId(run))?.instances.into_iter();
        let of_name = results.filter(|result| result.name == name);
        Ok(of_name.filter_map(|result| Some((result.shard, result.text?))).collect())
    }

    fn metrics(&self, run: u64) -> Result<Vec<(String, u64, f64)>> {
        let points = self.runs.metrics(RunId(run), 0, SHOWN)?;
        Ok(points.into_iter().map(|point| (point.name, point.step, point.value)).collect())
    }

    fn logs(&self, run: u64) -> Result<Vec<(String, String)>> {
        let lines = self.runs.logs(RunId(run), 0, SHOWN)?;
        Ok(lines.into_iter().map(|line| (line.level, line.text)).collect())
    }

    fn checkpoints(&self, run: u64) -> Result<Vec<(u32, String, u64)>> {
        let kept = self.storage.checkpoints(Some(RunId(run)))?.into_iter();
        Ok(kept.map(|kept| (kept.shard, kept.name, kept.size_bytes)).collect())
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.runs.close(Duration::MAX);
    }
}

/// A folder of this user alone, removed in the end.
struct Folder(PathBuf);

/// Removes what tests left whose process was killed: folders in memory cost memory.
pub(super) fn remove_leftovers() {
    for place in [PathBuf::from(MEMORY), std::env::temp_dir()] {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        for entry in entries.filter_map(std::result::Result::ok) {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
            let is_over = |pid: &str| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
            if pid.is_some_and(|(pid, _)| is_over(pid)) {
                // Another user's stays.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Folder {
    fn make() -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = || format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let make = |path: &Path| std::fs::DirBuilder::new().mode(0o700).create(path);
        let memory = Path::new(MEMORY).join(name());
        if make(&memory).is_ok() {
            return Ok(Self(memory));
        }
        let path = std::env::temp_dir().join(name());
        make(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is small, and the system removes it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
