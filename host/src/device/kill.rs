//! How a run is ended from outside: by a person, or by its deadline.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{Error, Limits, Result};

/// A switch that is thrown at most once. Clones are the same switch.
#[derive(Clone)]
pub struct KillSwitch(Arc<Inner>);

/// The shared state of a switch.
struct Inner {
    thrown: AtomicBool,
    /// By the clock of [`coarse_ms`].
    started_ms: u64,
    /// Milliseconds after `started`; `u64::MAX` while there is no deadline.
    deadline_ms: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is not needed to look at the switch.
#[derive(Default)]
struct State {
    by: Option<String>,
    subscribers: Vec<(u64, Box<dyn Fn() + Send>)>,
    next_subscriber: u64,
}

impl KillSwitch {
    /// A switch without a deadline.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            thrown: AtomicBool::new(false),
            started_ms: coarse_ms(),
            deadline_ms: AtomicU64::new(u64::MAX),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// A switch that throws itself `deadline_ms` milliseconds from now, as the
    /// limit of that name.
    pub fn with_deadline(deadline_ms: u64) -> Self {
        let switch = Self::new();
        switch.set_deadline(deadline_ms);
        switch
    }

    /// Sets the deadline `deadline_ms` milliseconds after the switch was made.
    pub fn set_deadline(&self, deadline_ms: u64) {
        self.0.deadline_ms.store(deadline_ms, Ordering::Relaxed);
    }

    /// Throws the switch; `by` says who asked. Only the first call counts.
    pub fn kill(&self, by: impl Into<Option<String>>) {
        let mut state = self.state();
        if self.0.thrown.load(Ordering::Relaxed) {
            return;
        }
        state.by = by.into();
        self.0.thrown.store(true, Ordering::Release);
        for (_, wake) in &state.subscribers {
            wake();
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Whether the run should end: killed, or past the deadline.
    pub fn is_thrown(&self) -> bool {
        self.0.thrown.load(Ordering::Relaxed) || self.elapsed_ms() >= self.0.deadline_ms.load(Ordering::Relaxed)
    }

    /// `Error::Killed` once killed, the limit `deadline_ms` once that has passed.
    pub fn check(&self) -> Result<()> {
        if self.0.thrown.load(Ordering::Acquire) {
            return Err(Error::Killed { by: self.state().by.clone() });
        }
        let (elapsed_ms, deadline_ms) = (self.elapsed_ms(), self.0.deadline_ms.load(Ordering::Relaxed));
        if elapsed_ms >= deadline_ms {
            // At the very millisecond of the deadline more than that is asked for.
            return Err(Limits::exceeded("deadline_ms", elapsed_ms.max(deadline_ms.saturating_add(1)), deadline_ms));
        }
        Ok(())
    }

    /// Time left before the deadline, if there is one.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline_ms = self.0.deadline_ms.load(Ordering::Relaxed);
        (deadline_ms != u64::MAX).then(|| Duration::from_millis(deadline_ms.saturating_sub(self.elapsed_ms())))
    }

    /// Sleeps for `time`, less when the switch is thrown meanwhile; the answer is
    /// that of [`Self::check`].
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let mut state = self.state();
        while !self.is_thrown() {
            let left = until.saturating_duration_since(Instant::now());
            let left = self.remaining().map_or(left, |remaining| left.min(remaining));
            if left.is_zero() {
                break;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.check()
    }

    /// Calls `wake` when the switch is thrown by [`Self::kill`] (at once when it
    /// is already), until the subscription is dropped. A deadline wakes nobody:
    /// wait no longer than [`Self::remaining`].
    pub fn subscribe(&self, wake: impl Fn() + Send + 'static) -> Subscription {
        let mut state = self.state();
        if self.0.thrown.load(Ordering::Relaxed) {
            wake();
        }
        let id = state.next_subscriber;
        state.next_subscriber += 1;
        state.subscribers.push((id, Box::new(wake)));
        Subscription { switch: self.clone(), id }
    }

    fn elapsed_ms(&self) -> u64 {
        coarse_ms().saturating_sub(self.0.started_ms)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for KillSwitch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for KillSwitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KillSwitch(thrown: {})", self.is_thrown())
    }
}

/// Milliseconds of a monotonic clock that is a few of them behind at most, and
/// much cheaper to read than the exact one: kernels look at it between all chunks.
pub fn coarse_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Keeps a waker registered; see [`KillSwitch::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    switch: KillSwitch,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.switch.state().subscribers.retain(|(id, _)| *id != self.id);
    }
}
