//! What belongs to one guest: the data of its store, the memory it may have,
//! and the clock that stops it.

use std::sync::Arc;

use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::engine::{Engine, Guard};
use super::instance::Run;
use super::job::LogLevel;
use super::testing::{Test, TestTables};
use super::text;
use crate::base::{Error, Limits, Result};
use crate::catalog::Declarations;

/// Handles that wasmtime counts and we do not: borrows during calls.
const SPARE_HANDLES: usize = 4096;

/// The data of a store.
pub(super) struct State {
    /// What the guest is doing.
    pub(super) phase: Phase,
    /// Its memory.
    pub(super) meter: Meter,
    /// What it may use.
    pub(super) limits: Limits,
    /// Calls into the host.
    pub(super) host_calls: u64,
    /// The last line that it logged as an error: the text of a panic.
    pub(super) last_error: Option<String>,
    /// Why the first declaration that was refused was.
    pub(super) refused: Option<String>,
}

/// A function that was called where it is not available, which stops the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("`{}` is not available in `describe`, where only `declare` and `job.log` are", .0.replace('_', "-"))]
    InDescribe(&'static str),
    #[error("`{}` is not available in a test, which executes procs with `testing.execute`", .0.replace('_', "-"))]
    InTest(&'static str),
    #[error("`{0}` is available only in a test")]
    OutsideTests(&'static str),
}

/// What the guest is doing.
pub(super) enum Phase {
    /// `describe`: it says what it offers.
    Describe(Declarations),
    /// `run`: it executes a proc.
    Run(Box<Run>),
    /// `tests`: it tests its procs.
    Test(Test),
}

impl State {
    /// Before the guest exists.
    pub(super) fn new(phase: Phase, limits: Limits) -> Self {
        let meter = Meter::new(&limits);
        Self { phase, meter, limits, host_calls: 0, last_error: None, refused: None }
    }

    /// The run, for a function that is named as in `wit/`; `describe` has none.
    #[inline]
    pub(super) fn run(&mut self, function: &'static str) -> Result<&mut Run, Unavailable> {
        self.host_calls += 1;
        match &mut self.phase {
            Phase::Run(run) => Ok(run),
            Phase::Describe(_) => Err(Unavailable::InDescribe(function)),
            Phase::Test(_) => Err(Unavailable::InTest(function)),
        }
    }

    /// The tables and runs of a test; nobody else has them.
    pub(super) fn test_tables(&mut self, function: &'static str) -> Result<Arc<dyn TestTables>, Unavailable> {
        self.host_calls += 1;
        match &self.phase {
            Phase::Test(test) => Ok(Arc::clone(&test.tables)),
            Phase::Run(_) | Phase::Describe(_) => Err(Unavailable::OutsideTests(function)),
        }
    }

    /// The declarations; a run has none.
    pub(super) fn declarations(&mut self) -> Result<&mut Declarations> {
        self.host_calls += 1;
        match &mut self.phase {
            Phase::Describe(declarations) => Ok(declarations),
            Phase::Run(_) | Phase::Test(_) => Err(Error::Denied("`declare` is available only in `describe`".into())),
        }
    }

    /// Takes a line of the log.
    pub(super) fn log(&mut self, level: LogLevel, message: &str) {
        self.host_calls += 1;
        let message = text::bounded(message, &self.limits);
        if level == LogLevel::Error {
            self.last_error = Some(text::one_line(&message, &self.limits));
            self.meter.denied = None;
        }
        match &mut self.phase {
            Phase::Run(run) => run.observer.log(level, &message),
            Phase::Test(test) if (test.log.len() as u64) < self.limits.log_lines => test.log.push((level, message)),
            Phase::Test(_) | Phase::Describe(_) => {}
        }
    }
}

/// Makes a store for a guest. `stop` is asked at every tick whether it has to end.
pub(super) fn store(
    engine: &Engine,
    state: State,
    stop: impl Fn() -> Result<()> + Send + Sync + 'static,
) -> Store<State> {
    let call_bytes = usize::try_from(state.limits.call_bytes).unwrap_or(usize::MAX);
    let handles = usize::try_from(state.limits.handles).unwrap_or(usize::MAX).saturating_add(SPARE_HANDLES);
    let mut store = Store::new(engine.wasmtime(), state);
    if engine.guard() == Guard::Off {
        return store;
    }
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(call_bytes);
    store.set_max_component_handles(handles);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        stop()?;
        Ok(UpdateDeadline::Continue(1))
    });
    store
}

/// Counts the memory of a guest, all its memories together, and its tables.
pub(super) struct Meter {
    memory: Budget,
    elements: Budget,
    /// Most bytes of memory at one time.
    pub(super) peak_bytes: u64,
    /// Why the last growth was refused; forgotten when the guest logs an error,
    /// since it then went on.
    pub(super) denied: Option<Error>,
}

/// What a guest may use of one thing.
struct Budget {
    limit: &'static str,
    used: u64,
    allowed: u64,
}

impl Budget {
    fn new(limit: &'static str, allowed: u64) -> Self {
        Self { limit, used: 0, allowed }
    }

    /// Counts a growth, which wasmtime refuses beyond `maximum` itself.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<()> {
        let grown = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if grown > self.allowed {
            return Err(Limits::exceeded(self.limit, grown, self.allowed));
        }
        if maximum.is_none_or(|maximum| desired <= maximum) {
            self.used = grown;
        }
        Ok(())
    }
}

impl Meter {
    fn new(limits: &Limits) -> Self {
        Self {
            memory: Budget::new("guest_memory_bytes", limits.guest_memory_bytes),
            elements: Budget::new("table_elements", limits.table_elements),
            peak_bytes: 0,
            denied: None,
        }
    }

    /// Whether something grows; why not is kept.
    fn answer(&mut self, grown: Result<()>) -> wasmtime::Result<bool> {
        self.peak_bytes = self.peak_bytes.max(self.memory.used);
        let has_grown = grown.is_ok();
        self.denied = grown.err().or(self.denied.take());
        Ok(has_grown)
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory.grow(current, desired, maximum);
        self.answer(grown)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.elements.grow(current, desired, maximum);
        self.answer(grown)
    }
}
