//! The runs of one folder: submit, look, wait, kill.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::backend::{Backend, Manifest, OnDone};
use super::commit;
use super::dispatch::{Dispatch, Next, Start};
use super::execute;
use super::history::now_us;
use super::live::{Live, LogBounds, RunStatus};
use super::plan::RunPlan;
use super::request::RunRequest;
use super::results::{self, Value};
use crate::base::{Error, Limits, Result, RunId};
use crate::catalog::{Catalog, OWNER, Privilege, ProcChange, Resolved, Rights};
use crate::device::KillSwitch;
use crate::storage::{
    LogLine, MetricPoint, ProcSetting, ResultRecord, RunFilter, RunRecord, RunState, Storage, Versions,
};

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
    limits: Limits,
}

/// Which runs to kill.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillTarget {
    /// This one.
    Run(RunId),
    /// All with this tag.
    Tag(String),
    /// All.
    All,
}

/// Results of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResults {
    /// Of each instance, by number and name.
    pub instances: Vec<ResultRecord>,
    /// Merged over the instances by the proc's reducers; nothing when the run failed.
    pub merged: Vec<(String, Value)>,
}

/// What the names of tables begin with that hold the rows of filters and queries
/// while a run reads them. Those that a crash left go when the folder is opened.
pub const TEMPORARY: &str = "quern_input_";

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
        let snapshot = storage.snapshot()?;
        drop_tables(storage, snapshot.tables().map(|table| table.name.as_str()).filter(|name| is_temporary(name)))?;
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

    /// The proc of a request.
    pub(super) fn proc_of(&self, request: &RunRequest) -> Result<Resolved> {
        self.0.catalog.resolve(&request.proc)
    }

    /// The proc of a request whose names, tag and parameters are right.
    pub(super) fn check(&self, request: &RunRequest) -> Result<Resolved> {
        let resolved = self.proc_of(request)?;
        if let Some(tag) = &request.tag {
            crate::base::check_name("tag", tag)?;
        }
        super::params::resolve(&resolved.proc, request)?;
        Ok(resolved)
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

    /// Checks a request and queues it. The answer comes before it executes.
    pub fn execute(&self, mut request: RunRequest) -> Result<RunId> {
        let resolved = self.check(&request)?;
        self.check_room(1)?;
        let snapshot = self.0.storage.snapshot()?;
        let plan = RunPlan::make(&resolved.proc, &request, &snapshot)?;
        let setting = self.0.catalog.setting(&resolved.component.name, &resolved.proc.name)?;
        let limits = self.limits_with(&setting)?.with(&request.limits)?;
        plan.params.check_size(&limits)?;
        if let Some(resumed) = request.resume {
            let seed = self.resumable(resumed, &resolved)?;
            request.seed = request.seed.or(Some(seed));
        }
        let seed = *request.seed.get_or_insert_with(draw_seed);
        let json = |value: serde_json::Result<String>| value.map_err(|e| Error::Internal(e.to_string()));
        let id = self.0.storage.next_run();
        let record = RunRecord {
            id,
            proc: resolved.proc.name.clone(),
            component: resolved.component.name.clone(),
            sha256: resolved.component.sha256.clone(),
            component_owner: self.0.catalog.component_owner(&resolved.component.name)?,
            tag: request.tag.clone(),
            user: self.asked_by(&request)?,
            state: RunState::Queued,
            params: plan.params.to_json().to_string(),
            inputs: json(serde_json::to_string(&request.inputs))?,
            outputs: json(serde_json::to_string(&request.outputs))?,
            snapshot: None,
            seed,
            submitted_us: now_us(),
            started_us: None,
            committing_us: None,
            finished_us: None,
            error: None,
            instances: 0,
        };
        let mut write = self.0.storage.begin();
        write.create_run(record.clone());
        let live = Live::new(record, request, resolved, limits);
        write.commit_later(live.warns("that the run is queued could not be stored"))?;
        self.0.dispatch.enqueue(&live, setting.max_concurrency);
        self.0.pump();
        Ok(id)
    }

    /// Whose run it will be. The folder's owner may write any name on its requests,
    /// but that of a user would put the run among that user's.
    fn asked_by(&self, request: &RunRequest) -> Result<String> {
        if let Some(user) = &request.on_behalf_of {
            return Ok(user.clone());
        }
        let label = request.user.as_deref().unwrap_or(OWNER);
        let is_user = self.0.storage.users()?.iter().any(|user| user.name == label);
        Ok(if is_user { OWNER } else { label }.to_owned())
    }

    /// The limits of a proc's runs that ask for no others.
    pub(super) fn limits_of(&self, component: &str, proc: &str) -> Result<Limits> {
        self.limits_with(&self.0.catalog.setting(component, proc)?)
    }

    fn limits_with(&self, setting: &ProcSetting) -> Result<Limits> {
        self.0.limits.with(&setting.limits)
    }

    /// Refuses so many further runs where the queue has no room for them.
    pub(super) fn check_room(&self, runs: usize) -> Result<()> {
        let (asked, allowed) = ((self.0.dispatch.count() + runs) as u64, self.0.limits.queued_runs);
        if asked > allowed { Err(Limits::exceeded("queued_runs", asked, allowed)) } else { Ok(()) }
    }

    /// The seed of a run that can be resumed by one of this proc.
    fn resumable(&self, run: RunId, resolved: &Resolved) -> Result<u64> {
        let found = self.status(run)?.run;
        if (&found.proc, &found.component) != (&resolved.proc.name, &resolved.component.name) {
            return Err(Error::Invalid(format!(
                "run {run} executed proc `{}.{}`; only a run of that proc can resume it",
                found.component, found.proc
            )));
        }
        let owner = self.0.catalog.component_owner(&found.component)?;
        if owner != found.component_owner {
            return Err(Error::Denied(format!(
                "run {run} executed proc `{0}.{1}` of `{2}`; today's component `{0}` is of `{owner}`, and is not handed \
                 what the other has kept",
                found.component, found.proc, found.component_owner
            )));
        }
        if self.0.storage.checkpoints(Some(run))?.is_empty() {
            return Err(Error::Invalid(format!("run {run} has kept no checkpoint to resume from")));
        }
        Ok(found.seed)
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

    /// Changes what is set for a proc, if the rights allow it; a bound holds at once,
    /// also for runs that wait.
    pub fn alter_proc(&self, rights: &Rights, component: &str, proc: &str, changes: &[ProcChange]) -> Result<()> {
        rights.function(Privilege::Admin, component, None)?;
        let folder = self.0.limits.entries();
        let limits = changes.iter().filter_map(|change| match change {
            ProcChange::Limit(name, Some(value)) => Some((name.as_str(), *value)),
            // What is set no more is that of the folder again.
            ProcChange::Limit(name, None) => {
                folder.iter().find(|(known, _)| known == name).map(|(n, v)| (n.as_str(), *v))
            }
            ProcChange::MaxConcurrency(_) => None,
        });
        rights.raise_limits(component, Some(proc), &self.limits_of(component, proc)?, limits)?;
        self.0.catalog.alter_proc(component, proc, changes)?;
        if changes.iter().any(|change| matches!(change, ProcChange::MaxConcurrency(_))) {
            let allowed = self.0.catalog.max_concurrency(component, proc)?;
            self.0.dispatch.bound(&format!("{component}.{proc}"), allowed);
            self.0.pump();
        }
        Ok(())
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

    /// As [`kill_as`](Self::kill_as), for the folder's owner.
    pub fn kill(&self, target: &KillTarget, by: Option<&str>) -> Result<Vec<RunId>> {
        self.kill_as(&Rights::owner(), target, by)
    }

    /// Ends runs, if the rights allow it for all of them; nothing of them is
    /// committed. Answers which. A single run that has ended, or is past the point
    /// where it can be stopped, is an error.
    pub fn kill_as(&self, rights: &Rights, target: &KillTarget, by: Option<&str>) -> Result<Vec<RunId>> {
        if let KillTarget::Run(id) = target {
            rights.run(&self.status(*id)?.run)?;
            let Some(live) = self.0.dispatch.find(*id) else {
                let run = self.0.storage.run(*id)?;
                return Err(Error::Invalid(format!("run {id} has ended already: {}", run.state)));
            };
            if live.kill(by.map(str::to_owned))? {
                self.end_queued(&[live], by);
            }
            return Ok(vec![*id]);
        }
        let mut chosen = self.0.dispatch.all();
        chosen.retain(|live| match target {
            KillTarget::Tag(tag) => live.tag() == Some(tag) && !live.has_ended(),
            _ => !live.has_ended(),
        });
        // What is queued from here on was not looked at, and is left alone.
        chosen.iter().try_for_each(|live| rights.run(&live.record()))?;
        Ok(self.kill_all(chosen, by))
    }

    /// Ends runs, of which those that are ending anyway are left alone. Answers which.
    fn kill_all(&self, mut runs: Vec<Arc<Live>>, by: Option<&str>) -> Vec<RunId> {
        let mut queued = Vec::new();
        // All are marked before the first is stored, so that none begins meanwhile.
        runs.retain(|live| match live.kill(by.map(str::to_owned)) {
            Ok(was_queued) => {
                queued.extend(was_queued.then(|| Arc::clone(live)));
                true
            }
            Err(_) => false,
        });
        self.end_queued(&queued, by);
        runs.into_iter().map(|live| live.id).collect()
    }

    /// Kills what runs and waits, at most for `patience`, until all have ended.
    /// Whether they have.
    pub fn close(&self, patience: Duration) -> bool {
        let until = Instant::now().checked_add(patience);
        loop {
            let mut live = self.0.dispatch.all();
            live.retain(|run| !run.has_ended());
            let Some(first) = live.first().cloned() else { return true };
            // One that is committing ends by itself.
            self.kill_all(live, Some("the end of its process"));
            let left = until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default();
            if !first.wait_end(Some(left.min(Duration::from_millis(100)))) && left.is_zero() {
                return false;
            }
        }
    }

    /// Ends runs that were killed in the queue.
    fn end_queued(&self, queued: &[Arc<Live>], by: Option<&str>) {
        self.0.dispatch.leave(&queued.iter().map(|live| live.id).collect());
        commit::record_failures(&self.0, queued, &Error::Killed { by: by.map(str::to_owned) });
    }
}

/// Whether a table was made for the inputs of a run.
fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(TEMPORARY);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn drop_tables<'a>(storage: &Storage, tables: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut write = storage.begin();
    let mut dropped = 0;
    for table in tables {
        write.drop_table(table)?;
        dropped += 1;
    }
    if dropped == 0 { Ok(()) } else { write.commit().map(drop) }
}

impl Inner {
    /// Drops the tables that only this run read. One that cannot be dropped now
    /// goes when the folder is opened again.
    pub(super) fn drop_inputs(&self, live: &Live) {
        drop(drop_tables(&self.storage, live.request.inputs.iter().filter_map(|input| input.stored.as_deref())));
    }

    /// Gives free places to those who wait.
    pub(super) fn pump(self: &Arc<Self>) {
        while let Some(next) = self.dispatch.next() {
            match next {
                Next::Instance(start) => self.launch(*start),
                Next::Run(live) => self.begin(live),
            }
        }
    }

    /// Takes the place of a run's instance back and gives it to the next.
    pub(super) fn release(self: &Arc<Self>, live: &Live) {
        self.dispatch.release(&live.proc);
        self.pump();
    }

    /// Starts an instance that has a place.
    pub(super) fn launch(&self, start: Start) {
        let Start { live, descriptor, link, done } = start;
        live.instance_began(descriptor.shard);
        let mut on_drop = ManifestOnDrop { shard: descriptor.shard, done: Some(done) };
        self.backend.start(descriptor, link, Box::new(move |manifest| on_drop.give(manifest)));
    }

    /// Lets a run that has a place begin, on a thread of its own.
    fn begin(self: &Arc<Self>, live: Arc<Live>) {
        let (this, run) = (Arc::clone(self), Arc::clone(&live));
        let thread = std::thread::Builder::new().name(format!("run {}", live.id));
        if let Err(e) = thread.spawn(move || execute::execute(&this, &run)) {
            commit::record_failure(self, &live, &Error::library("start a thread for a run", e));
            self.dispatch.release(&live.proc);
        }
    }
}

/// Tells a run that an instance has ended, whatever becomes of its thread.
struct ManifestOnDrop {
    shard: u32,
    done: Option<OnDone>,
}

impl ManifestOnDrop {
    fn give(&mut self, manifest: Manifest) {
        if let Some(done) = self.done.take() {
            done(manifest);
        }
    }
}

impl Drop for ManifestOnDrop {
    fn drop(&mut self) {
        let reason = "did not start, or ended without a word; the machine may be out of threads or memory";
        let error = Error::Internal(format!("instance {} {reason}", self.shard));
        self.give(Manifest::failed(self.shard, error));
    }
}

/// A seed short enough to be typed again.
fn draw_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX)
}
