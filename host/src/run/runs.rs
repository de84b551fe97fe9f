//! The runs of one folder: what there is to see of them, and waiting for their end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::backend::Backend;
use super::dispatch::Dispatch;
use super::live::{LogBounds, RunStatus};
use super::results::{self, Value};
use super::temporary;
use crate::base::{Limits, Result, RunId, now_us};
use crate::catalog::Catalog;
use crate::device::KillSwitch;
use crate::storage::{LogLine, MetricPoint, ResultRecord, RunFilter, RunRecord, RunState, Storage, Versions};

/// The runs of one folder. Cheap to clone.
#[derive(Clone)]
pub struct Runs(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) storage: Storage,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) dispatch: Dispatch,
    pub(super) catalog: Catalog,
    /// Requests for start-up that are being executed, by number.
    pub(super) starting: Mutex<HashMap<u64, KillSwitch>>,
    /// Of runs that ask for no others.
    pub(super) limits: Limits,
}

/// Results of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResults {
    /// Of each instance, by number and name.
    pub instances: Vec<ResultRecord>,
    /// Merged over the instances by the proc's reducers; nothing when the run failed.
    pub merged: Vec<(String, Value)>,
}

/// What became of runs that were executing when their process ended.
const ENDED_WITH_PROCESS: &str = "the process that executed it ended first; nothing was committed, execute it again";

impl Runs {
    /// Over a folder that this process holds: runs that another process left
    /// queued or running have failed. `limits` are those of runs that ask for no
    /// others; its `running_instances` execute at the same time.
    pub fn open(storage: &Storage, catalog: &Catalog, backend: Arc<dyn Backend>, limits: &Limits) -> Result<Self> {
        for state in [RunState::Queued, RunState::Running] {
            let left = storage.runs(&RunFilter { state: Some(state), ..RunFilter::default() })?;
            if left.is_empty() {
                continue;
            }
            let mut write = storage.begin();
            for mut run in left {
                run.state = RunState::Error;
                run.error = Some(ENDED_WITH_PROCESS.to_owned());
                run.finished_us = Some(now_us());
                write.put_run(run);
            }
            write.commit()?;
        }
        temporary::remove_leftovers(storage)?;
        storage.remove_orphaned_checkpoints()?;
        Ok(Self(Arc::new(Inner {
            storage: storage.clone(),
            backend,
            dispatch: Dispatch::new(limits.running_instances),
            catalog: catalog.clone(),
            starting: Mutex::default(),
            limits: limits.clone(),
        })))
    }

    /// What is stored.
    pub(super) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// A run with a tag that has not ended, of those whose numbers are `first` or above.
    pub(super) fn open_run(&self, tag: &str, first: RunId) -> Option<RunId> {
        let live = self.0.dispatch.all().into_iter();
        let mut open = live.filter(|live| live.id >= first && live.tag() == Some(tag) && !live.has_ended());
        open.next().map(|live| live.id)
    }

    /// A run as it stands.
    pub fn status(&self, id: RunId) -> Result<RunStatus> {
        match self.0.dispatch.find(id) {
            Some(live) => Ok(live.status()),
            None => Ok(RunStatus { run: self.0.storage.run(id)?, instances: self.0.storage.instances(id)? }),
        }
    }

    /// Runs, the newest first.
    pub fn list(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        // Stored records of runs that have not ended are behind.
        let live = self.0.dispatch.all().into_iter().map(|live| live.record());
        let mut live: Vec<RunRecord> = live.collect();
        if filter.state.is_none_or(RunState::is_final) {
            let mut runs = self.0.storage.runs(filter)?;
            for run in &mut runs {
                if let Some(at) = live.iter().position(|live| live.id == run.id) {
                    *run = live.swap_remove(at);
                }
            }
            return Ok(runs);
        }
        live.retain(|run| {
            filter.state == Some(run.state)
                && filter.proc.as_ref().is_none_or(|proc| *proc == run.proc)
                && filter.tag.as_ref().is_none_or(|tag| run.tag.as_ref() == Some(tag))
        });
        live.reverse();
        live.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(live)
    }

    /// How many runs are queued or running.
    pub fn active(&self) -> usize {
        self.0.dispatch.all().iter().filter(|live| !live.has_ended()).count()
    }

    /// Waits until a run has ended, at most for `timeout`; how it stands then.
    pub fn wait(&self, id: RunId, timeout: Option<Duration>) -> Result<RunStatus> {
        let Some(live) = self.0.dispatch.find(id) else { return self.status(id) };
        live.wait_end(timeout);
        Ok(live.status())
    }

    /// Whether a run has ended, at most `timeout` from now.
    pub fn wait_end(&self, id: RunId, timeout: Duration) -> bool {
        self.0.dispatch.find(id).is_none_or(|live| live.wait_end(Some(timeout)))
    }

    /// Waits until something has changed since a call that answered `seen` (0 at
    /// first), at most for `timeout`. Answers the next `seen` and how the run stands.
    pub fn follow(&self, id: RunId, seen: u64, timeout: Duration) -> Result<(u64, RunStatus)> {
        match self.0.dispatch.find(id) {
            Some(live) => {
                let (changes, _) = live.wait_change(seen, Some(timeout));
                Ok((changes, live.status()))
            }
            None => Ok((seen.saturating_add(1), self.status(id)?)),
        }
    }

    /// How much of the log of a run that has not ended is kept in the end.
    pub fn log_bounds(&self, id: RunId) -> Option<LogBounds> {
        self.0.dispatch.find(id).map(|live| live.log_bounds())
    }

    /// Lines of a run's log with a `seq` greater than `after`, at most `limit`.
    pub fn logs(&self, id: RunId, after: u64, limit: u32) -> Result<Vec<LogLine>> {
        match self.0.dispatch.find(id) {
            Some(live) => Ok(live.logs(after, limit)),
            None => self.0.storage.run(id).and_then(|_| self.0.storage.logs(id, after, limit)),
        }
    }

    /// Metric points of a run with a `seq` greater than `after`, at most `limit`.
    pub fn metrics(&self, id: RunId, after: u64, limit: u32) -> Result<Vec<MetricPoint>> {
        match self.0.dispatch.find(id) {
            Some(live) => Ok(live.metrics(after, limit)),
            None => self.0.storage.run(id).and_then(|_| self.0.storage.metrics(id, after, limit)),
        }
    }

    /// Results of a run, each instance's and merged.
    pub fn results(&self, id: RunId) -> Result<RunResults> {
        let status = self.status(id)?;
        let instances = match self.0.dispatch.find(id) {
            Some(live) => live.results(),
            None => self.0.storage.results(id)?,
        };
        let versions = self.0.storage.components(Versions::All)?;
        let component = versions.iter().find(|c| c.name == status.run.component && c.sha256 == status.run.sha256);
        let procs = component.map(Catalog::declared).transpose()?.unwrap_or_default();
        let proc = procs.iter().find(|proc| proc.name == status.run.proc);
        // Of a run that failed, what some instances have said is not what all say.
        let state = status.run.state;
        let proc = proc.filter(|_| !state.is_final() || state == RunState::Complete);
        let merged = proc.map(|proc| results::merge(proc, &instances)).unwrap_or_default();
        Ok(RunResults { instances, merged })
    }
}
