//! Runs are ended: one, those with a tag, or all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commit;
use super::live::Live;
use super::runs::Runs;
use crate::base::{Error, Result, RunId};
use crate::catalog::Rights;

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

/// A run that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Killed {
    /// The run.
    pub run: RunId,
    /// Whether it has ended; else it does so when what it waits for allows it.
    pub has_ended: bool,
}

/// How long who kills runs waits for their end: mostly milliseconds, but a device
/// or a disk that is slow is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Runs {
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

    /// As [`kill_as`](Self::kill_as), and waits a moment until they have ended; tells
    /// which have.
    pub fn kill_and_wait(&self, rights: &Rights, target: &KillTarget, by: Option<&str>) -> Result<Vec<Killed>> {
        let killed = self.kill_as(rights, target, by)?;
        let started = Instant::now();
        let waited = |run| self.wait_end(run, PATIENCE.saturating_sub(started.elapsed()));
        Ok(killed.into_iter().map(|run| Killed { run, has_ended: waited(run) }).collect())
    }

    /// Ends runs, of which those that are ending anyway are left alone. Answers which.
    pub(super) fn kill_all(&self, mut runs: Vec<Arc<Live>>, by: Option<&str>) -> Vec<RunId> {
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
