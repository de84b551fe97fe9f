//! Many runs of one proc that differ in parameters, under one tag.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{RunRequest, Submission};
use super::runs::{Inner, Runs};
use crate::base::{Error, Result, RunId};
use crate::storage::{RunFilter, RunRecord, RunState};

/// The name that stands for a run's seed, where the proc has no such parameter.
const SEED: &str = "seed";

/// Runs of one proc.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// What all have in common; its tag is that of all.
    pub request: RunRequest,
    /// The parameters of each run, beside the common ones.
    pub points: Vec<Vec<(String, String)>>,
}

/// How the runs of a sweep stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepStatus {
    /// Their tag.
    pub tag: String,
    /// The number of the first.
    pub first: RunId,
    /// All runs.
    pub runs: u64,
    /// Waiting or executing.
    pub open: u64,
    /// Outputs are committed.
    pub complete: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Killed.
    pub killed: u64,
    /// Models that they saved.
    pub models: u64,
    /// Why runs failed, each reason once, at most ten.
    pub errors: Vec<String>,
}

/// Reasons that are shown.
const MAX_ERRORS: usize = 10;

impl Runs {
    /// Queues all runs of a sweep by `execute`, which takes one request. Either all
    /// are queued, or none has begun: those that were queued before one was refused
    /// are killed, and their records say so.
    pub fn sweep(&self, sweep: Sweep, execute: impl Fn(Submission) -> Result<RunId>) -> Result<SweepStatus> {
        let Sweep { request, points } = sweep;
        let tag = request.tag.clone().unwrap_or_else(|| format!("sweep-{}", short_id()));
        let has_seed = self.proc_of(&request)?.proc.params.iter().any(|param| param.name == SEED);
        let mut requests = Vec::with_capacity(points.len());
        for point in points {
            let mut one = RunRequest { tag: Some(tag.clone()), ..request.clone() };
            for (name, value) in point {
                if name == SEED && !has_seed {
                    let seed = value.parse().map_err(|_| {
                        Error::TypeMismatch(format!("seed takes a whole number, not `{}`", value.escape_debug()))
                    })?;
                    one.seed = Some(seed);
                } else {
                    one.params.push((name, value));
                }
            }
            self.check(&one)?;
            requests.push(one);
        }
        self.check_room(requests.len())?;
        let hold = SweepHold { inner: &self.0, sweep: self.0.dispatch.hold_sweep() };
        let mut queued = Vec::with_capacity(requests.len());
        let count = requests.len();
        for request in requests {
            match execute(Submission { sweep: Some(hold.sweep), ..request.into() }) {
                Ok(id) => queued.push(id),
                Err(error) if queued.is_empty() => return Err(error),
                Err(error) => return Err(self.take_back(&queued, count, &error)),
            }
        }
        drop(hold);
        let first = queued.first().ok_or_else(|| Error::Invalid("a sweep without a single run".into()))?;
        self.sweep_status(&tag, *first)
    }

    /// Ends the runs of a sweep that could not be queued whole, none of which has
    /// begun, because the one after them met `error`.
    fn take_back(&self, queued: &[RunId], count: usize, error: &Error) -> Error {
        let next = queued.len() + 1;
        let why = format!("its sweep: run {next} of {count} could not be queued");
        // One that somebody killed in the meantime has ended as well.
        let live = queued.iter().filter_map(|id| self.0.dispatch.find(*id)).collect();
        self.kill_all(live, Some(&why));
        Error::Invalid(format!(
            "run {next} of the {count} of the sweep was refused: {}; those queued before it were killed before they began",
            error.chain()
        ))
    }

    /// How the runs of a sweep stand: those of its proc, its user and its tag, which
    /// others may use too, whose numbers are `first` or above.
    pub fn sweep_status(&self, tag: &str, first: RunId) -> Result<SweepStatus> {
        let begun = self.status(first)?.run;
        if begun.tag.as_deref() != Some(tag) {
            return Err(Error::Invalid(format!("run {first} has no tag `{tag}`")));
        }
        let is_of_it = |run: &RunRecord| {
            run.id >= first && (&run.user, &run.component, &run.proc) == (&begun.user, &begun.component, &begun.proc)
        };
        let filter = RunFilter { tag: Some(tag.to_owned()), ..RunFilter::default() };
        let mut status = SweepStatus { tag: tag.to_owned(), first, ..SweepStatus::default() };
        let mut reasons = BTreeSet::new();
        for run in self.list(&filter)?.into_iter().rev().filter(is_of_it) {
            status.runs += 1;
            match run.state {
                RunState::Queued | RunState::Running => status.open += 1,
                RunState::Complete => status.complete += 1,
                RunState::Killed => status.killed += 1,
                RunState::Error => {
                    status.failed += 1;
                    let reason = run.error.unwrap_or_default();
                    if reasons.len() < MAX_ERRORS && reasons.insert(reason.clone()) {
                        status.errors.push(format!("run {}: {reason}", run.id));
                    }
                }
            }
        }
        status.models = self.storage().models_of(tag, first)?;
        Ok(status)
    }

    /// Waits until the runs of a sweep have ended, at most for `timeout`.
    pub fn wait_sweep(&self, tag: &str, first: RunId, timeout: Duration) -> Result<SweepStatus> {
        if let Some(open) = self.open_run(tag, first) {
            self.wait(open, Some(timeout))?;
        }
        self.sweep_status(tag, first)
    }
}

/// Lets the runs of a sweep begin when it is dropped.
struct SweepHold<'a> {
    inner: &'a Arc<Inner>,
    sweep: u64,
}

impl Drop for SweepHold<'_> {
    fn drop(&mut self) {
        self.inner.dispatch.release_sweep(self.sweep);
        self.inner.pump();
    }
}

/// Eight hexadecimal digits.
fn short_id() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    id.get(..8).unwrap_or_default().to_owned()
}
