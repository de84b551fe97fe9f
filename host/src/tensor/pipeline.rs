//! A session's programs on their way: executed in order, by another thread of the
//! [`Team`](super::team::Team) if one is free, while the session records the next.
//!
//! At most [`IN_FLIGHT`] programs are unfinished. Only those that take no further
//! memory go to another thread, so that the run's quota is used in the same order
//! each time. A session that waits helps to compute. After a failure values are
//! unknown, so every later call answers with the same error.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::{Engine, Job, Means, Ran, Work};
use super::executor::Executor;
use super::session::Settings;
use super::team::{Lease, Team};
use crate::base::{Error, Result};
use crate::device::Owner;

/// Programs that are executed or wait for it at most.
const IN_FLIGHT: usize = 2;

/// The way of one session's programs.
pub(crate) struct Pipeline {
    belt: Arc<Belt>,
    executor: Arc<Executor>,
    engine: Engine,
}

/// What the session and the executing thread share.
struct Belt {
    means: Means,
    state: Mutex<State>,
    /// Programs not finished; changed with `state` locked.
    in_flight: AtomicUsize,
    /// There is a failure; so that looking costs no lock.
    failed: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    /// A thread executes what waits.
    driven: bool,
    failure: Option<Error>,
    used: Used,
}

/// What executing took so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) time: Duration,
    pub(crate) programs: u64,
    pub(crate) replays: u64,
}

impl Pipeline {
    pub(crate) fn new(executor: &Arc<Executor>, settings: &Settings, owner: Owner) -> Self {
        let engine = Engine::new(executor, settings, owner);
        let belt = Belt {
            means: engine.means().clone(),
            state: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        };
        Self { belt: Arc::new(belt), executor: executor.clone(), engine }
    }

    /// Executes `job` on this thread, after those before it.
    pub(crate) fn run(&mut self, job: Job) -> Result<()> {
        self.wait()?;
        let work = self.engine.prepare(job, || ());
        self.run_here(work)
    }

    /// Executes `job` on another thread, after those before it; on this one when
    /// no other is free.
    pub(crate) fn send(&mut self, job: Job) -> Result<()> {
        let (belt, team) = (&self.belt, &self.executor.team);
        let work = self.engine.prepare(job, || wait_until(team, || belt.in_flight() == 0));
        if work.takes_memory() {
            self.wait()?;
            return self.run_here(work);
        }
        wait_until(team, || belt.in_flight() < IN_FLIGHT);
        self.check()?;
        let mut state = belt.state();
        if !state.driven {
            let Some(lease) = team.lease() else {
                drop(state);
                return self.run_here(work);
            };
            state.driven = true;
            let (belt, executor) = (belt.clone(), self.executor.clone());
            team.send(Box::new(move || belt.drive(lease, &executor.team)));
        }
        belt.in_flight.fetch_add(1, Ordering::AcqRel);
        state.waiting.push_back(work);
        Ok(())
    }

    /// Executes `work` on this thread; nothing is on its way.
    fn run_here(&self, work: Work) -> Result<()> {
        let lease = self.executor.team.lease();
        let ran = self.belt.execute(work, lease.as_ref());
        self.belt.note(&mut self.belt.state(), ran);
        self.check()
    }

    /// Waits until nothing is on its way.
    pub(crate) fn wait(&self) -> Result<()> {
        wait_until(&self.executor.team, || self.belt.in_flight() == 0);
        self.check()
    }

    /// The failure, if there was one.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.belt.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.belt.state().failure.as_ref().map_or(Ok(()), |failure| Err(repeat(failure)))
    }

    /// From now on every call answers with this error.
    pub(crate) fn fail(&self, error: &Error) {
        self.belt.fail(&mut self.belt.state(), repeat(error));
    }

    /// Waits, and gives the memory of all plans back.
    pub(crate) fn forget_plans(&mut self) -> Result<()> {
        self.wait()?;
        self.engine.forget_plans();
        Ok(())
    }

    /// Bytes of scalars copied to a GPU, and of what checks found copied from it.
    pub(crate) fn moved_bytes(&self) -> (u64, u64) {
        self.engine.means().moved_bytes()
    }

    /// Time spent waiting for kernels to be compiled.
    pub(crate) fn compile_time(&self) -> Duration {
        self.engine.means().compile_time()
    }

    /// What was used by programs that have ended.
    pub(crate) fn used(&self) -> Used {
        self.belt.state().used
    }
}

impl Drop for Pipeline {
    /// When a session has ended, nothing of it is executed any more.
    fn drop(&mut self) {
        let left = {
            let mut state = self.belt.state();
            let left = std::mem::take(&mut state.waiting);
            self.belt.in_flight.fetch_sub(left.len(), Ordering::AcqRel);
            left
        };
        drop(left);
        wait_until(&self.executor.team, || self.belt.in_flight() == 0);
    }
}

impl Belt {
    /// Executes what waits until nothing does. The helpers are free before anybody
    /// sees that nothing is on its way.
    fn drive(&self, lease: Lease, team: &Team) {
        loop {
            let next = self.state().waiting.pop_front();
            let ran = next.map(|work| self.execute(work, Some(&lease)));
            let mut state = self.state();
            let ended = usize::from(ran.is_some());
            if let Some(ran) = ran {
                self.note(&mut state, ran);
            }
            if state.waiting.is_empty() {
                state.driven = false;
                drop(lease);
                self.in_flight.fetch_sub(ended, Ordering::AcqRel);
                drop(state);
                return team.nudge();
            }
            self.in_flight.fetch_sub(ended, Ordering::AcqRel);
            drop(state);
            team.nudge();
        }
    }

    fn execute(&self, work: Work, lease: Option<&Lease>) -> Ran {
        let ran = catch_unwind(AssertUnwindSafe(|| work.run(&self.means, lease)));
        ran.unwrap_or_else(|_| {
            let result = Err(Error::Internal("a tensor operation panicked".to_owned()));
            Ran { result, time: Duration::ZERO, replayed: false }
        })
    }

    fn note(&self, state: &mut State, ran: Ran) {
        state.used.time += ran.time;
        match ran.result {
            Ok(()) => {
                state.used.programs += 1;
                state.used.replays += u64::from(ran.replayed);
            }
            Err(error) => self.fail(state, error),
        }
    }

    fn fail(&self, state: &mut State, error: Error) {
        self.in_flight.fetch_sub(state.waiting.len(), Ordering::AcqRel);
        state.waiting.clear();
        if state.failure.is_none() {
            state.failure = Some(error);
            self.failed.store(true, Ordering::Release);
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Helps until `done`.
fn wait_until(team: &Team, done: impl Fn() -> bool) {
    if !done() {
        team.help_until(done);
    }
}

/// An error once more, as far as it can be copied.
fn repeat(error: &Error) -> Error {
    match error {
        Error::Killed { by } => Error::Killed { by: by.clone() },
        Error::OutOfRange(message) => Error::OutOfRange(message.clone()),
        Error::Limit { limit, requested, allowed, unit, hint } => {
            Error::Limit { limit, requested: *requested, allowed: *allowed, unit, hint: hint.clone() }
        }
        Error::OutOfMemory { device, requested, allowed, free } => {
            Error::OutOfMemory { device: device.clone(), requested: *requested, allowed: *allowed, free: *free }
        }
        Error::DeviceLost { device, reason } => Error::DeviceLost { device: device.clone(), reason: reason.clone() },
        Error::Unsupported(message) => Error::Unsupported(message.clone()),
        other => Error::Internal(other.chain()),
    }
}
