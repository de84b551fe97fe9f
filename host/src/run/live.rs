//! One run while it is queued or running: its state, what it says, who waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::history::History;
use super::request::Submission;
use super::results::Value;
use crate::base::{Error, Limits, Result, RunId, now_us};
use crate::catalog::Resolved;
use crate::device::KillSwitch;
use crate::proc::{LogLevel, Observer, Receipt};
use crate::storage::{InstanceRecord, LogLine, MetricPoint, RunRecord, RunState, Write};

/// A run and how its instances stand, live or as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStatus {
    /// The run.
    pub run: RunRecord,
    /// Its instances by number; none while it is queued.
    pub instances: Vec<InstanceRecord>,
}

/// How much of a run's log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    /// Lines of all instances, from the limit `log_lines`.
    pub lines: u64,
    /// Bytes of their texts, from the limit `log_bytes`.
    pub bytes: u64,
}

/// A run that has not ended.
pub(super) struct Live {
    pub(super) id: RunId,
    pub(super) submission: Submission,
    pub(super) resolved: Resolved,
    /// `component.proc`.
    pub(super) proc: String,
    /// The folder's limits, changed for the proc, changed for the run.
    pub(super) limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    record: RunRecord,
    instances: Vec<Instance>,
    history: History,
    /// None while the run is queued.
    kill: Option<KillSwitch>,
    phase: Phase,
    /// Counts changes, for those who follow.
    changes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Queued,
    Running,
    /// Nothing stops it any more.
    Committing,
    /// Its final record is known: stored, or kept in memory where storage refused it.
    Ended,
}

#[derive(Clone, Debug)]
struct Instance {
    state: RunState,
    message: Option<String>,
    receipt: Receipt,
}

impl Live {
    pub(super) fn new(record: RunRecord, submission: Submission, resolved: Resolved, limits: Limits) -> Arc<Self> {
        let history = History::new(record.id, &limits);
        let id = record.id;
        let state = State { record, instances: Vec::new(), history, kill: None, phase: Phase::Queued, changes: 1 };
        let proc = format!("{}.{}", resolved.component.name, resolved.proc.name);
        Arc::new(Self { id, submission, resolved, proc, limits, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Leaves the queue; none when the run was killed there. The deadline counts from now.
    pub(super) fn begin(&self) -> Option<KillSwitch> {
        self.change(|state| {
            if state.phase != Phase::Queued {
                return None;
            }
            let kill = KillSwitch::with_deadline(self.limits.deadline_ms);
            state.phase = Phase::Running;
            state.record.state = RunState::Running;
            state.record.started_us = Some(now_us());
            state.kill = Some(kill.clone());
            Some(kill)
        })
    }

    /// Notes what the run reads and how many instances it has.
    pub(super) fn plan(&self, snapshot: crate::base::SnapshotId, instances: u32) -> RunRecord {
        self.change(|state| {
            state.record.snapshot = Some(snapshot);
            state.record.instances = instances;
            let queued = Instance { state: RunState::Queued, message: None, receipt: Receipt::default() };
            state.instances = vec![queued; instances as usize];
            state.history.has_instances(instances);
            state.record.clone()
        })
    }

    /// What becomes of an error that shows only later and does not end the run: its
    /// warning and a line of its log.
    pub(super) fn warns(self: &Arc<Self>, what: &'static str) -> impl FnOnce(Error) + Send + 'static {
        let live = Arc::clone(self);
        move |error| live.warn(&format!("{what}: {}", error.chain()))
    }

    /// Adds what the host has to say to the run's record and to its log.
    pub(super) fn warn(&self, text: &str) {
        self.change(|state| {
            let told = state.record.warning.take().map(|told| format!("{told}; {text}"));
            state.record.warning = Some(told.unwrap_or_else(|| text.to_owned()));
            state.history.log(0, LogLevel::Warn, text);
        });
    }

    /// Notes that an instance has a thread.
    pub(super) fn instance_began(&self, shard: u32) {
        self.change(|state| {
            if let Some(instance) = state.instances.get_mut(shard as usize) {
                instance.state = RunState::Running;
            }
        });
    }

    /// Notes that an instance starts anew: what it set and reported is forgotten.
    pub(super) fn instance_again(&self, shard: u32, why: &str) {
        self.change(|state| {
            if let Some(instance) = state.instances.get_mut(shard as usize) {
                instance.state = RunState::Queued;
            }
            state.history.forget(shard);
            state.history.log(shard, LogLevel::Warn, why);
        });
    }

    /// Notes how an instance ended.
    pub(super) fn instance_ended(&self, shard: u32, outcome: Result<(), &Error>, receipt: &Receipt) {
        self.change(|state| {
            if let Some(instance) = state.instances.get_mut(shard as usize) {
                instance.state = outcome.map_or_else(final_state, |()| RunState::Complete);
                instance.message = outcome.err().map(Error::chain);
                instance.receipt = receipt.clone();
            }
        });
    }

    /// How the run stands, without its instances.
    pub(super) fn record(&self) -> RunRecord {
        self.state().record.clone()
    }

    /// Whether the run should end, except while nothing stops it any more.
    pub(super) fn check(&self) -> Result<()> {
        let state = self.state();
        match &state.kill {
            Some(kill) if state.phase == Phase::Running => kill.check(),
            _ => Ok(()),
        }
    }

    /// Notes that all instances have completed.
    pub(super) fn gathered(&self) {
        self.change(|state| state.record.committing_us = Some(now_us()));
    }

    /// The point after which the run can no longer be killed.
    pub(super) fn begin_commit(&self) -> Result<()> {
        self.change(|state| {
            match &state.kill {
                Some(kill) => kill.check()?,
                None => return Err(Error::Internal("a run that commits before it began".into())),
            }
            state.phase = Phase::Committing;
            Ok(())
        })
    }

    /// How the run is to end, as it is to be stored; nobody sees it before [`Live::end`].
    pub(super) fn conclude(&self, outcome: Result<(), &Error>) -> RunStatus {
        let mut state = self.state();
        state.history.note_dropped();
        let mut run = state.record.clone();
        run.state = outcome.map_or_else(final_state, |()| RunState::Complete);
        run.error = outcome.err().map(Error::chain);
        run.finished_us = Some(now_us());
        let mut instances = state.instance_records(self.id);
        instances.iter_mut().filter(|i| !i.state.is_final()).for_each(|i| i.state = run.state);
        RunStatus { run, instances }
    }

    /// Adds everything that outlives the run to `write`.
    pub(super) fn store(&self, concluded: &RunStatus, write: &mut Write) {
        write.put_run(concluded.run.clone());
        concluded.instances.iter().for_each(|instance| write.put_instance(instance.clone()));
        let state = self.state();
        write.put_logs(state.history.logs(0, u32::MAX));
        write.put_metrics(state.history.metrics(0, u32::MAX));
        write.put_results(state.history.results());
    }

    /// Shows how the run ended, which is stored by now, and wakes who waits.
    pub(super) fn end(&self, concluded: RunStatus) {
        self.change(|state| {
            state.record = concluded.run;
            for (instance, concluded) in state.instances.iter_mut().zip(concluded.instances) {
                instance.state = concluded.state;
            }
            state.phase = Phase::Ended;
        });
    }

    /// Kills the run; true when it was still queued, so that the caller has to
    /// end it. An error when it is past stopping.
    pub(super) fn kill(&self, by: Option<String>) -> Result<bool> {
        self.change(|state| match (state.phase, &state.kill) {
            (Phase::Running, Some(kill)) => {
                kill.kill(by);
                Ok(false)
            }
            (Phase::Queued, _) => {
                state.phase = Phase::Committing;
                Ok(true)
            }
            (Phase::Ended, _) => {
                Err(Error::Invalid(format!("run {} has ended already: {}", self.id, state.record.state)))
            }
            _ => Err(Error::Invalid(format!("run {} is ending and can no longer be killed", self.id))),
        })
    }

    /// The run as it stands.
    pub(super) fn status(&self) -> RunStatus {
        let state = self.state();
        RunStatus { run: state.record.clone(), instances: state.instance_records(self.id) }
    }

    /// Log lines after `after`.
    pub(super) fn logs(&self, after: u64, limit: u32) -> Vec<LogLine> {
        self.state().history.logs(after, limit)
    }

    /// How much of the log is kept, over all instances.
    pub(super) fn log_bounds(&self) -> LogBounds {
        let instances = (self.state().instances.len() as u64).max(1);
        LogBounds {
            lines: self.limits.log_lines.saturating_mul(instances),
            bytes: self.limits.log_bytes.saturating_mul(instances),
        }
    }

    /// Metric points after `after`.
    pub(super) fn metrics(&self, after: u64, limit: u32) -> Vec<MetricPoint> {
        self.state().history.metrics(after, limit)
    }

    /// Results so far.
    pub(super) fn results(&self) -> Vec<crate::storage::ResultRecord> {
        self.state().history.results()
    }

    /// Whether its final record is known, stored or not.
    pub(super) fn has_ended(&self) -> bool {
        self.state().phase == Phase::Ended
    }

    /// The user's tag.
    pub(super) fn tag(&self) -> Option<&str> {
        self.submission.request.tag.as_deref()
    }

    /// Waits until there were more than `seen` changes, the run has ended, or
    /// `timeout` has passed. The number of changes, and whether it has ended.
    pub(super) fn wait_change(&self, seen: u64, timeout: Option<Duration>) -> (u64, bool) {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        while state.changes <= seen && state.phase != Phase::Ended {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => break,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        (state.changes, state.phase == Phase::Ended)
    }

    /// Waits until the run has ended or `timeout` has passed; whether it has ended.
    pub(super) fn wait_end(&self, timeout: Option<Duration>) -> bool {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        while state.phase != Phase::Ended {
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => break,
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.phase == Phase::Ended
    }

    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let done = work(&mut state);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
        done
    }

    /// A panic of another thread leaves a state that is still worth reading.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn instance_records(&self, run: RunId) -> Vec<InstanceRecord> {
        let record = |(shard, instance): (u32, &Instance)| {
            let (status, fraction) = self.history.status_of(shard);
            let results = self.history.results_of(shard).iter().cloned();
            let results: serde_json::Map<_, _> = results.map(|(name, value)| (name, value.to_json())).collect();
            InstanceRecord {
                run,
                shard,
                state: instance.state,
                status,
                fraction,
                message: instance.message.clone(),
                results: serde_json::Value::from(results).to_string(),
                receipt: serde_json::to_string(&instance.receipt).unwrap_or_default(),
            }
        };
        (0..).zip(&self.instances).map(record).collect()
    }
}

/// The state of what ended with this error: killed by a person or the deadline, or failed.
fn final_state(error: &Error) -> RunState {
    match error {
        Error::Killed { .. } | Error::Limit { limit: "deadline_ms", .. } => RunState::Killed,
        _ => RunState::Error,
    }
}

/// Tells a run what one of its instances says.
pub(super) struct InstanceObserver {
    pub(super) live: Arc<Live>,
    pub(super) instance: u32,
}

impl Observer for InstanceObserver {
    fn status(&self, message: &str, fraction: Option<f32>) {
        self.live.change(|state| state.history.status(self.instance, message, fraction));
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.live.change(|state| state.history.log(self.instance, level, message));
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        self.live.change(|state| state.history.metric(self.instance, name, step, value));
    }

    fn result(&self, name: &str, value: &str) {
        self.live.change(|state| state.history.result(self.instance, name, Value::Text(value.to_owned())));
    }

    fn binary_result(&self, name: &str, value: &[u8]) {
        self.live.change(|state| state.history.result(self.instance, name, Value::Bytes(value.into())));
    }
}
