//! A request becomes a queued run, when nothing speaks against it.

use super::live::Live;
use super::params;
use super::plan::RunPlan;
use super::request::{RunRequest, Submission};
use super::runs::Runs;
use crate::base::{Error, Limits, Result, RunId, now_us};
use crate::catalog::{OWNER, Resolved};
use crate::storage::{RunRecord, RunState, Storage};

impl Runs {
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
        params::resolve(&resolved.proc, request)?;
        Ok(resolved)
    }

    /// Checks a request and queues it. The answer comes before it executes.
    pub fn execute(&self, submission: impl Into<Submission>) -> Result<RunId> {
        let mut submission = submission.into();
        let resolved = self.check(&submission.request)?;
        self.check_room(1)?;
        let snapshot = self.0.storage.snapshot()?;
        let plan = RunPlan::make(&resolved.proc, &submission, &snapshot)?;
        let user = self.asked_by(&submission)?;
        let request = &mut submission.request;
        let setting = self.0.catalog.setting(&resolved.component.name, &resolved.proc.name)?;
        let limits = self.limits_with(&setting)?.with(&request.limits)?;
        params::check_size(&plan.params, &limits)?;
        if let Some(resumed) = request.resume {
            let seed = self.resumable(resumed, &resolved, plan.instances)?;
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
            user,
            state: RunState::Queued,
            params: params::to_json(&plan.params).to_string(),
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
            resume: request.resume,
            warning: None,
        };
        let mut write = self.0.storage.begin();
        write.create_run(record.clone());
        let live = Live::new(record, submission, resolved, limits);
        write.commit_later(live.warns("that the run is queued could not be stored"))?;
        self.0.dispatch.enqueue(&live, setting.max_concurrency);
        self.0.pump();
        Ok(id)
    }

    /// Whose run it will be. The folder's owner may write any name on its requests,
    /// but that of a user would put the run among that user's.
    fn asked_by(&self, submission: &Submission) -> Result<String> {
        if let Some(user) = &submission.on_behalf_of {
            return Ok(user.clone());
        }
        let label = submission.request.user.as_deref().unwrap_or(OWNER);
        let is_user = self.0.storage.users()?.iter().any(|user| user.name == label);
        Ok(if is_user { OWNER } else { label }.to_owned())
    }

    /// Refuses so many further runs where the queue has no room for them.
    pub(super) fn check_room(&self, runs: usize) -> Result<()> {
        let (asked, allowed) = ((self.0.dispatch.count() + runs) as u64, self.0.limits.queued_runs);
        if asked > allowed { Err(Limits::exceeded("queued_runs", asked, allowed)) } else { Ok(()) }
    }

    /// The seed of a run that can be resumed by one of this proc.
    fn resumable(&self, run: RunId, resolved: &Resolved, instances: u32) -> Result<u64> {
        let found = self.status(run)?.run;
        if (&found.proc, &found.component) != (&resolved.proc.name, &resolved.component.name) {
            return Err(Error::Invalid(format!(
                "run {run} executed proc `{}.{}`; only a run of that proc can resume it",
                found.component, found.proc
            )));
        }
        let owner = self.0.catalog.component_owner(&found.component)?;
        let owner_then = self.0.catalog.component_owner_then(&found)?;
        if owner != owner_then {
            return Err(Error::Denied(format!(
                "run {run} executed proc `{0}.{1}` of `{owner_then}`; today's component `{0}` is of `{owner}`, and is \
                 not handed what the other has kept",
                found.component, found.proc
            )));
        }
        if self.0.storage.handing(run)?.is_empty() {
            return Err(Error::Invalid(format!("run {run} has kept no checkpoint to resume from")));
        }
        check_instances(&self.0.storage, run, instances)?;
        Ok(found.seed)
    }
}

/// Refuses to hand checkpoints to instances that see other shards.
pub(super) fn check_instances(storage: &Storage, resumed: RunId, instances: u32) -> Result<()> {
    // One that never began hands on what it was handed itself.
    match storage.begun_in_chain(resumed)? {
        Some((run, then)) if then != instances => Err(Error::Invalid(format!(
            "run {run} had {then} instances and one that reads these inputs has {instances}: each goes on from the \
             checkpoint of its own shard, so the first input must have {then} shards"
        ))),
        _ => Ok(()),
    }
}

/// A seed short enough to be typed again.
fn draw_seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1 & u64::from(u32::MAX)
}
