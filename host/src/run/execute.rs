//! A run from the moment it leaves the queue to its end, on a thread of its own:
//! 1. fix the snapshot and check the request against it,
//! 2. start the instances as places come free,
//! 3. gather their manifests; the first failure ends the others,
//! 4. commit all outputs with the record, or the record alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::backend::{Contact, Descriptor, InputShard, Made, Manifest};
use super::commit;
use super::dispatch::Start;
use super::live::{Live, Voice};
use super::plan::Plan;
use super::runs::Inner;
use crate::base::{Error, Result};
use crate::device::{KillSwitch, Quota};

/// What a run waits for.
enum Event {
    Ended(Box<Manifest>),
    Killed,
}

/// Executes a run that got a place, which is given back.
pub(super) fn execute(inner: &Arc<Inner>, live: &Arc<Live>) {
    let Some(kill) = live.begin() else {
        inner.release();
        return;
    };
    let done = catch_unwind(AssertUnwindSafe(|| run(inner, live, &kill)));
    let outcome = done.unwrap_or_else(|_| Err(Error::Internal(format!("run {} made the host fail", live.id))));
    if let Err(error) = outcome {
        commit::record_failure(inner, live, &error);
    }
}

fn run(inner: &Arc<Inner>, live: &Arc<Live>, kill: &KillSwitch) -> Result<()> {
    let planned = plan(inner, live);
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            inner.release();
            return Err(error);
        }
    };
    let (sender, events) = channel();
    let on_kill = sender.clone();
    // Who listens no more has ended, and needs no waking.
    let subscription = kill.subscribe(move || drop(on_kill.send(Event::Killed)));
    start(inner, live, &plan, (kill, &sender));
    drop(sender);
    let made = gather(inner, live, plan.instances, (kill, &events));
    drop(subscription);
    commit::commit(inner, live, &plan, &made?)
}

fn plan(inner: &Inner, live: &Live) -> Result<Plan> {
    let snapshot = inner.storage.snapshot()?;
    let plan = Plan::make(&live.resolved.proc, &live.request, &snapshot)?;
    let record = live.plan(snapshot.id, plan.instances);
    let mut write = inner.storage.begin();
    write.put_run(record);
    write.commit_later()?;
    inner.backend.prepare(&live.resolved.component, &live.limits)?;
    Ok(plan)
}

/// Starts the first instance at the place of the run; the others queue for theirs.
fn start(inner: &Arc<Inner>, live: &Arc<Live>, plan: &Plan, (kill, events): (&KillSwitch, &Sender<Event>)) {
    let quota = Quota::new(live.limits.device_bytes);
    for shard in 0..plan.instances {
        let events = events.clone();
        let start = Start {
            live: Arc::clone(live),
            descriptor: descriptor(live, plan, shard),
            contact: Contact {
                kill: kill.clone(),
                quota: quota.clone(),
                observer: Arc::new(Voice { live: Arc::clone(live), shard }),
            },
            // The run listens until every instance it started has ended.
            done: Box::new(move |manifest| drop(events.send(Event::Ended(Box::new(manifest))))),
        };
        if shard == 0 { inner.launch(start) } else { inner.dispatch.wait(start) }
    }
    inner.pump();
}

fn descriptor(live: &Live, plan: &Plan, shard: u32) -> Descriptor {
    let inputs = plan.inputs.iter().map(|input| InputShard {
        name: input.name.clone(),
        snapshot: Arc::clone(&plan.snapshot),
        table: Arc::clone(&input.table),
        shards: input.share.of(shard),
        columns: input.columns.clone(),
    });
    Descriptor {
        run: live.id,
        component: live.resolved.component.clone(),
        proc: live.resolved.proc.name.clone(),
        shard,
        shards: plan.instances,
        seed: live.request.seed.unwrap_or_default(),
        params: plan.params.texts.clone(),
        binary_params: plan.params.binary.clone(),
        resume: live.request.resume,
        inputs: inputs.collect(),
        outputs: plan.outputs.iter().map(|output| (output.name.clone(), output.schema.clone())).collect(),
        limits: live.limits.clone(),
    }
}

/// What all instances made, by number; the first error otherwise, once all have ended.
fn gather(
    inner: &Arc<Inner>,
    live: &Live,
    instances: u32,
    (kill, events): (&KillSwitch, &Receiver<Event>),
) -> Result<Vec<Made>> {
    let mut running = instances as usize;
    let mut made: Vec<Option<Made>> = (0..instances).map(|_| None).collect();
    let mut failure = None;
    while running > 0 {
        let stopping = failure.is_some() || kill.is_thrown();
        if stopping {
            running -= inner.dispatch.withdraw(live.id);
            failure = failure.or_else(|| kill.check().err());
            if running == 0 {
                break;
            }
        }
        // The deadline wakes nobody; after it only instances that end are waited for.
        let patience = kill.remaining().filter(|_| !stopping).unwrap_or(Duration::MAX);
        match events.recv_timeout(patience) {
            Ok(Event::Ended(manifest)) => {
                inner.release();
                running -= 1;
                live.instance_ended(manifest.shard, manifest.made.as_ref().map(drop), &manifest.receipt);
                match (manifest.made, made.get_mut(manifest.shard as usize)) {
                    (Ok(rows), Some(slot)) => *slot = Some(rows),
                    (Ok(_), None) => failure = Some(Error::Internal("an instance that nobody started".into())),
                    (Err(error), _) if failure.is_none() => {
                        kill.kill(format!("instance {} of its run, which failed", manifest.shard));
                        failure = Some(error);
                    }
                    (Err(_), _) => {}
                }
            }
            Ok(Event::Killed) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal(format!("an instance of run {} ended without a word", live.id)));
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(made.into_iter().flatten().collect()),
    }
}
