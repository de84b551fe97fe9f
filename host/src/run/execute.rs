//! A run from the moment it leaves the queue to its end, on a thread of its own:
//! 1. fix the snapshot and check the request against it,
//! 2. start the instances as places come free,
//! 3. gather their manifests; the first failure ends the others,
//! 4. commit all outputs with the record, or the record alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::access;
use super::backend::{Descriptor, InputShard, InstanceLink, Made, Manifest, OutputRows};
use super::commit;
use super::dispatch::Start;
use super::failures::Failures;
use super::live::{InstanceObserver, Live};
use super::plan::{Destination, RunPlan};
use super::runs::Inner;
use super::submit::check_instances;
use crate::base::{Error, Result};
use crate::device::{KillSwitch, Quota};
use crate::proc::Task;

/// What a run waits for.
enum Event {
    Ended(Box<Manifest>),
    Killed,
}

/// Executes a run that got a place, which is given back.
pub(super) fn execute(inner: &Arc<Inner>, live: &Arc<Live>) {
    let Some(kill) = live.begin() else {
        inner.release(live);
        return;
    };
    let done = catch_unwind(AssertUnwindSafe(|| run(inner, live, &kill)));
    let outcome = done.unwrap_or_else(|_| Err(Error::Internal(format!("run {} made the host fail", live.id))));
    if let Err(error) = outcome {
        commit::record_failure(inner, live, &error);
    }
}

fn run(inner: &Arc<Inner>, live: &Arc<Live>, kill: &KillSwitch) -> Result<()> {
    let place = Place { inner, live };
    let plan = plan(inner, live, kill)?;
    // From here on the first instance has it, and its end gives it back.
    std::mem::forget(place);
    let (sender, events) = channel();
    let on_kill = sender.clone();
    // Who listens no more has ended, and needs no waking.
    let subscription = kill.subscribe(move || drop(on_kill.send(Event::Killed)));
    let quota = Quota::new(live.limits.device_bytes);
    let instances = Instances { inner, live, plan: &plan, kill, quota, sender };
    instances.start_all();
    let made = gather(&instances, &events);
    drop(subscription);
    let made = made?;
    live.gathered();
    commit::commit(inner, live, &plan, made)
}

/// The place of a run whose instances have not started; given back whatever happens.
struct Place<'a> {
    inner: &'a Arc<Inner>,
    live: &'a Live,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inner.release(self.live);
    }
}

fn plan(inner: &Inner, live: &Arc<Live>, kill: &KillSwitch) -> Result<RunPlan> {
    let snapshot = inner.storage.snapshot()?;
    let plan = RunPlan::make(&live.resolved.proc, &live.submission, &snapshot)?;
    access::check_begun(inner, live, &plan)?;
    if let Some(resumed) = live.submission.request.resume {
        check_instances(&inner.storage, resumed, plan.instances)?;
    }
    let record = live.plan(snapshot.id, plan.instances);
    let mut write = inner.storage.begin();
    write.put_run(record);
    write.commit_later(live.warns("that the run has begun could not be stored"))?;
    inner.backend.prepare(&live.resolved.component, &live.limits, kill)?;
    Ok(plan)
}

/// What is needed to start the instances of a run, again where that is asked for.
struct Instances<'a> {
    inner: &'a Arc<Inner>,
    live: &'a Arc<Live>,
    plan: &'a RunPlan,
    kill: &'a KillSwitch,
    quota: Quota,
    sender: Sender<Event>,
}

impl Instances<'_> {
    /// Starts the first instance at the place of the run; the others queue for theirs.
    fn start_all(&self) {
        for instance in 0..self.plan.instances {
            match instance {
                0 => self.inner.launch(self.prepared(instance)),
                _ => self.inner.dispatch.wait(self.prepared(instance)),
            }
        }
        self.inner.pump();
    }

    /// Lets an instance that failed queue for a place once more.
    fn start_again(&self, instance: u32, why: &str) {
        self.live.instance_again(instance, why);
        self.inner.dispatch.wait(self.prepared(instance));
        self.inner.pump();
    }

    fn prepared(&self, instance: u32) -> Start {
        let events = self.sender.clone();
        Start {
            live: Arc::clone(self.live),
            descriptor: descriptor(self.live, self.plan, instance),
            link: InstanceLink {
                kill: self.kill.clone(),
                quota: self.quota.clone(),
                observer: Arc::new(InstanceObserver { live: Arc::clone(self.live), instance }),
            },
            // The run listens until every instance it started has ended.
            done: Box::new(move |manifest| drop(events.send(Event::Ended(Box::new(manifest))))),
        }
    }
}

fn descriptor(live: &Live, plan: &RunPlan, instance: u32) -> Descriptor {
    let inputs = plan.inputs.iter().map(|input| InputShard {
        name: input.name.clone(),
        table: Arc::clone(&input.table),
        shards: input.share.of(instance),
        columns: input.columns.clone(),
    });
    let outputs = plan.outputs.iter().map(|output| OutputRows {
        name: output.name.clone(),
        schema: output.schema.clone(),
        table: match &output.destination {
            Destination::Existing(table) => Some(table.id),
            Destination::New { .. } => None,
        },
        stays: commit::goes_to_one_shard(plan, output, instance),
    });
    Descriptor {
        component: live.resolved.component.clone(),
        proc: live.resolved.proc.name.clone(),
        task: Task {
            run: live.id,
            instance,
            instances: plan.instances,
            seed: live.submission.request.seed.unwrap_or_default(),
            params: plan.params.clone(),
            limits: live.limits.clone(),
        },
        resume: live.submission.request.resume,
        snapshot: Arc::clone(&plan.snapshot),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
    }
}

/// What all instances made, by number; why the run failed otherwise, once all have ended.
fn gather(instances: &Instances<'_>, events: &Receiver<Event>) -> Result<Vec<Made>> {
    let Instances { inner, live, plan, kill, .. } = instances;
    let mut running = plan.instances as usize;
    let mut made: Vec<Option<Made>> = (0..plan.instances).map(|_| None).collect();
    let mut failures = Failures::new(live);
    while running > 0 {
        let stopping = failures.stop() || kill.is_thrown();
        if stopping {
            running -= inner.dispatch.withdraw(live.id);
            if let Err(killed) = kill.check() {
                failures.killed(killed);
            }
            if running == 0 {
                break;
            }
        }
        // The deadline wakes nobody; after it only instances that end are waited for.
        let patience = kill.remaining().filter(|_| !stopping).unwrap_or(Duration::MAX);
        match events.recv_timeout(patience) {
            Ok(Event::Ended(manifest)) => {
                inner.release(live);
                let instance = manifest.instance;
                if let Err(error) = &manifest.made
                    && !stopping
                    && let Some(why) = failures.again(instance, error)
                {
                    instances.start_again(instance, &why);
                    continue;
                }
                running -= 1;
                live.instance_ended(instance, manifest.made.as_ref().map(drop), &manifest.receipt);
                match (manifest.made, made.get_mut(instance as usize)) {
                    (Ok(rows), Some(slot)) => *slot = Some(rows),
                    (Ok(_), None) => failures.add(instance, Error::Internal("an instance that nobody started".into())),
                    (Err(error), _) => {
                        failures.add(instance, error);
                        if failures.stop() {
                            kill.kill(format!("instance {instance} of its run, which failed"));
                        }
                    }
                }
            }
            Ok(Event::Killed) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal(format!("an instance of run {} ended without a word", live.id)));
            }
        }
    }
    failures.into_result().map(|()| made.into_iter().flatten().collect())
}
