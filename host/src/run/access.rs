//! What a user who is not the folder's owner may execute and see. What is
//! allowed is decided by [`Rights`]; here is what a request asks for.

use super::live::Live;
use super::plan::{Destination, RunPlan};
use super::request::Submission;
use super::runs::{Inner, Runs};
use crate::base::Result;
use crate::catalog::{Catalog, Privilege, Rights};
use crate::storage::{ComponentRecord, Snapshot, StartupRecord};

/// Checks that the user may execute the proc, read its inputs, write its outputs
/// and look at the runs whose checkpoints it is handed, and puts the user's name on it.
pub fn check_request(
    rights: &Rights,
    catalog: &Catalog,
    runs: &Runs,
    snapshot: &Snapshot,
    submission: &mut Submission,
) -> Result<()> {
    let Some(user) = rights.user() else { return Ok(()) };
    let request = &submission.request;
    let found = catalog.resolve(&request.proc)?;
    let (component, proc) = (&found.component.name, &found.proc.name);
    rights.function(Privilege::Execute, component, Some(proc))?;
    let allowed = runs.limits_of(component, proc)?;
    rights.raise_limits(component, Some(proc), &allowed, request.limits.entries())?;
    // What a query reads is checked when it is planned.
    for input in request.inputs.iter().filter(|input| input.query.is_none()) {
        rights.table(Privilege::Select, &input.table)?;
    }
    // Outputs that are not there are created, and are the user's own.
    for output in request.outputs.iter().filter(|output| snapshot.table(output).is_ok()) {
        rights.table(Privilege::Insert, output)?;
    }
    if let Some(resumed) = request.resume {
        rights.run(&runs.status(resumed)?.run)?;
        // What it was handed itself is handed on.
        for handing in runs.0.storage.handing(resumed)? {
            rights.run(&runs.status(handing)?.run)?;
        }
    }
    submission.request.user = Some(user.to_owned());
    submission.on_behalf_of = Some(user.to_owned());
    Ok(())
}

/// Checks again what the user of a run may do, now that it leaves the queue and
/// its tables are fixed.
pub(super) fn check_begun(inner: &Inner, live: &Live, plan: &RunPlan) -> Result<()> {
    let Some(user) = live.submission.on_behalf_of.as_deref() else { return Ok(()) };
    let rights = Rights::of(&inner.storage, Some(user))?;
    let (component, proc) = (&live.resolved.component, &live.resolved.proc);
    let is_kept = |kept: &ComponentRecord| kept.name == component.name && kept.sha256 == component.sha256;
    // One that was dropped took its grants with it; its runs go on.
    if inner.catalog.versions()?.iter().any(is_kept) {
        rights.function(Privilege::Execute, &component.name, Some(&proc.name))?;
    }
    let now = inner.storage.snapshot()?;
    // Rows of filters and queries were read when the run was queued.
    let stored = &live.submission.stored_inputs;
    for (_, input) in plan.inputs.iter().enumerate().filter(|(place, _)| !stored.contains_key(place)) {
        rights.table_state(Privilege::Select, &input.table, &now)?;
    }
    for output in &plan.outputs {
        if let Destination::Existing(table) = &output.destination {
            rights.table_state(Privilege::Insert, table, &now)?;
        }
    }
    Ok(())
}

/// Whether the user may look at a request for start-up: it is its own.
pub fn may_see_startup(rights: &Rights, startup: &StartupRecord) -> bool {
    rights.is_of(&startup.user, startup.created_us)
}

/// Checks that the user may cancel a request for start-up: it is its own.
pub fn check_startup(rights: &Rights, runs: &Runs, id: u64) -> Result<()> {
    match runs.startups()?.iter().find(|startup| startup.id == id) {
        Some(startup) if !may_see_startup(rights, startup) => rights.folder("cancel what others execute at start-up"),
        _ => Ok(()),
    }
}
