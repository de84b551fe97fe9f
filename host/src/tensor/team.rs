//! Threads that compute together.
//!
//! Each operation of a program cuts its work into numbered chunks; the thread that
//! executes the program takes them one after another, and helpers that happen to
//! be awake take some too. Nobody ever waits for a helper that has not begun, so a
//! busy machine costs speed and nothing else. Which chunks there are depends on
//! shapes only: results have the same bits with any number of threads. One session
//! at a time has the helpers, by a [`Lease`]; others compute alone meanwhile.
//!
//! A whole program can be handed over as an *errand*: a helper executes it while
//! the session's thread records the next one. A session that waits for its errand
//! helps meanwhile, so as many threads compute as there are cores, never more.
//!
//! Handing over work costs a fraction of a microsecond because helpers spin
//! shortly before they sleep; that is why this is not a general thread pool.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::{Error, Limits, Result};
use crate::device::{KillSwitch, coarse_ms, lower_priority};

/// How long a helper looks for work before it sleeps.
const SPIN: Duration = Duration::from_micros(150);

/// Turns of the spinning loop between two looks at the clock.
const SPINS_PER_LOOK: u32 = 64;

/// Chunks handed over at once.
const MAX_CHUNKS: usize = 1 << 24;

/// The work of one operation: a function of the chunk's number.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Something to execute on whichever thread of the team is free first.
type Errand = Box<dyn FnOnce() + Send>;

/// Helper threads, idle or at work for one session.
pub(crate) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<std::thread::JoinHandle<()>>,
}

/// The right to use the helpers, until it is dropped.
pub(crate) struct Lease(Arc<Shared>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leased.store(false, Ordering::Release);
    }
}

/// What helpers see.
struct Shared {
    /// Chunks in the upper half, the next unclaimed one in the lower.
    ticket: AtomicU64,
    /// Chunks finished of the present work.
    done: AtomicU32,
    /// A chunk panicked.
    panicked: AtomicBool,
    /// Written only while no chunk is unfinished, read only by holders of one.
    work: UnsafeCell<Option<Work<'static>>>,
    leased: AtomicBool,
    errand: Mutex<Option<Errand>>,
    /// There is an errand; so that looking for one costs no lock.
    has_errand: AtomicBool,
    sleeping: AtomicU32,
    closing: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `work` is the only field that is not; its comment says why it is sound.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `cores` threads, the caller's included.
    pub(crate) fn new(cores: usize) -> Self {
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(0),
            done: AtomicU32::new(0),
            panicked: AtomicBool::new(false),
            work: UnsafeCell::new(None),
            leased: AtomicBool::new(false),
            errand: Mutex::new(None),
            has_errand: AtomicBool::new(false),
            sleeping: AtomicU32::new(0),
            closing: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let helper = |i| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("quern-tensor-{i}")).spawn(move || shared.serve()).ok()
        };
        Self { helpers: (1..cores).filter_map(helper).collect(), shared }
    }

    /// The helpers, if there are any and nobody has them.
    pub(crate) fn lease(&self) -> Option<Lease> {
        let free = !self.helpers.is_empty() && !self.shared.leased.swap(true, Ordering::Acquire);
        free.then(|| Lease(self.shared.clone()))
    }

    /// Lets a helper execute `errand`, or whoever waits for it, if that is sooner.
    /// Only the holder of the lease may have one, and one at a time.
    pub(crate) fn send(&self, errand: Errand) {
        *self.shared.errand.lock().unwrap_or_else(PoisonError::into_inner) = Some(errand);
        self.shared.has_errand.store(true, Ordering::SeqCst);
        self.shared.nudge();
    }

    /// Helps until `done`, which must be followed by [`Self::nudge`].
    pub(crate) fn help_until(&self, done: impl Fn() -> bool) {
        self.shared.help_until(done);
    }

    /// Tells those who wait to look again.
    pub(crate) fn nudge(&self) {
        self.shared.nudge();
    }
}

impl Lease {
    /// Executes `work(0)` … `work(chunks − 1)`, each once, in any order.
    fn run(&self, chunks: usize, work: Work) -> Result<()> {
        // SAFETY: only the lifetime changes. The reference is used by holders of
        // unfinished chunks, and this function does not return before all have
        // finished.
        let work: Work<'static> = unsafe { std::mem::transmute(work) };
        let shared = &*self.0;
        // SAFETY: no chunk is unfinished here, so nobody reads it.
        unsafe { *shared.work.get() = Some(work) };
        shared.done.store(0, Ordering::Relaxed);
        shared.ticket.store((chunks as u64) << 32, Ordering::SeqCst);
        shared.nudge();
        while shared.work_once() {}
        let mut spins = 0u32;
        while (shared.done.load(Ordering::Acquire) as usize) < chunks {
            pause(&mut spins);
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            return Err(Error::Internal("a tensor operation panicked".to_owned()));
        }
        Ok(())
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.nudge();
        for helper in self.helpers.drain(..) {
            // The last errand may hold what holds the team. A helper that panicked
            // has nothing left to clean up.
            if helper.thread().id() != std::thread::current().id() {
                let _ = helper.join();
            }
        }
    }
}

impl Shared {
    /// Claims and executes one chunk; false when there is none.
    fn work_once(&self) -> bool {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        let chunk = loop {
            let next = ticket & u64::from(u32::MAX);
            if next >= ticket >> 32 {
                return false;
            }
            match self.ticket.compare_exchange_weak(ticket, ticket + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break next as usize,
                Err(now) => ticket = now,
            }
        };
        // SAFETY: this thread holds an unfinished chunk, so the work stays.
        if let Some(work) = unsafe { *self.work.get() }
            && catch_unwind(AssertUnwindSafe(|| work(chunk))).is_err()
        {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
        true
    }

    /// Executes an errand if there is one.
    fn run_errand(&self) -> bool {
        if !self.has_errand.load(Ordering::SeqCst) {
            return false;
        }
        let errand = {
            let mut waiting = self.errand.lock().unwrap_or_else(PoisonError::into_inner);
            self.has_errand.store(false, Ordering::SeqCst);
            waiting.take()
        };
        errand.map(|errand| errand()).is_some()
    }

    /// Takes chunks and errands until `done`; sleeps when there are none for long.
    fn help_until(&self, done: impl Fn() -> bool) {
        loop {
            let mut since = Instant::now();
            let mut spins = 0u32;
            loop {
                if done() {
                    return;
                }
                if self.work_once() || self.run_errand() {
                    since = Instant::now();
                    spins = 0;
                }
                pause(&mut spins);
                if spins.is_multiple_of(SPINS_PER_LOOK) && since.elapsed() >= SPIN {
                    break;
                }
            }
            let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.sleeping.fetch_add(1, Ordering::SeqCst);
            let ticket = self.ticket.load(Ordering::SeqCst);
            let nothing = ticket & u64::from(u32::MAX) >= ticket >> 32;
            if nothing && !self.has_errand.load(Ordering::SeqCst) && !done() {
                drop(self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner));
            }
            self.sleeping.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// A helper's life.
    fn serve(&self) {
        lower_priority();
        self.help_until(|| self.closing.load(Ordering::SeqCst));
    }

    /// Wakes those who sleep.
    fn nudge(&self) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

/// Waits for a moment; lets other processes run when it takes long.
fn pause(spins: &mut u32) {
    *spins = spins.wrapping_add(1);
    if (*spins).is_multiple_of(128) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// The threads one program may use, and what ends it early.
pub(crate) struct Lanes<'a> {
    team: Option<&'a Lease>,
    kill: &'a KillSwitch,
    allowance: Allowance,
    /// Microseconds that a GPU measured for this program.
    measured_us: AtomicU64,
}

/// Device time that is left to a run.
#[derive(Clone, Copy)]
pub(crate) enum Allowance {
    /// Of threads, which are at work all the time: until then by the clock of [`coarse_ms`].
    Until {
        /// When it ends.
        until_ms: u64,
        /// The limit.
        allowed_ms: u64,
    },
    /// Of a GPU, which measures what it does.
    Measured {
        /// By programs before this one.
        spent_ms: u64,
        /// The limit.
        allowed_ms: u64,
    },
}

impl Allowance {
    /// What is left from now on of `allowed_ms`, for threads.
    pub(crate) fn new(spent_ms: u64, allowed_ms: u64) -> Self {
        Self::Until { until_ms: coarse_ms().saturating_add(allowed_ms.saturating_sub(spent_ms)), allowed_ms }
    }

    /// The milliseconds used when they are too many, and the limit.
    fn excess(&self, measured_ms: u64) -> Option<(u64, u64)> {
        match *self {
            Self::Until { until_ms, allowed_ms } => {
                let over_ms = coarse_ms().checked_sub(until_ms)?;
                Some((allowed_ms.saturating_add(over_ms.max(1)), allowed_ms))
            }
            Self::Measured { spent_ms, allowed_ms } => {
                let used_ms = spent_ms.saturating_add(measured_ms);
                (used_ms >= allowed_ms).then_some((used_ms.max(allowed_ms.saturating_add(1)), allowed_ms))
            }
        }
    }
}

impl<'a> Lanes<'a> {
    /// The caller's thread, and the helpers if the caller has them.
    pub(crate) fn new(team: Option<&'a Lease>, kill: &'a KillSwitch, allowance: Allowance) -> Self {
        Self { team, kill, allowance, measured_us: AtomicU64::new(0) }
    }

    /// Counts time that a GPU measured.
    pub(crate) fn spend(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.measured_us.fetch_add(time_us, Ordering::Relaxed);
    }

    /// The time that a GPU measured for this program.
    pub(crate) fn measured(&self) -> Duration {
        Duration::from_micros(self.measured_us.load(Ordering::Relaxed))
    }

    /// Executes `work` for every chunk. Each should take well under 5 ms, since
    /// the kill switch is looked at between them.
    pub(crate) fn run(&self, chunks: usize, work: &(dyn Fn(usize) + Sync)) -> Result<()> {
        self.check()?;
        match self.team {
            Some(team) if chunks > 1 => {
                let guarded = |chunk| {
                    if !self.killed() {
                        work(chunk);
                    }
                };
                for start in (0..chunks).step_by(MAX_CHUNKS) {
                    team.run((chunks - start).min(MAX_CHUNKS), &|chunk| guarded(start + chunk))?;
                }
            }
            _ => {
                for chunk in 0..chunks {
                    if chunk > 0 && self.killed() {
                        break;
                    }
                    work(chunk);
                }
            }
        }
        self.check()
    }

    /// Cuts `[0, len)` into ranges of at most `per_chunk` and executes `work` on
    /// each as `(start, len)`.
    pub(crate) fn split(&self, len: usize, per_chunk: usize, work: &(dyn Fn(usize, usize) + Sync)) -> Result<()> {
        let per_chunk = per_chunk.max(1);
        self.run(len.div_ceil(per_chunk), &|chunk| {
            let start = chunk * per_chunk;
            work(start, per_chunk.min(len - start));
        })
    }

    /// The error, if the program should end.
    pub(crate) fn check(&self) -> Result<()> {
        self.kill.check()?;
        self.excess()
            .map_or(Ok(()), |(used_ms, allowed_ms)| Err(Limits::exceeded("device_time_ms", used_ms, allowed_ms)))
    }

    /// Whether the program should end; for long loops inside a chunk.
    pub(crate) fn killed(&self) -> bool {
        self.kill.is_thrown() || self.excess().is_some()
    }

    fn excess(&self) -> Option<(u64, u64)> {
        self.allowance.excess(self.measured_us.load(Ordering::Relaxed) / 1000)
    }
}
