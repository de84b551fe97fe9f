//! All tests of a component, one after the other, each with tables and runs of
//! its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::testing::{Workshop, remove_leftovers};
use crate::base::{Limits, Result};
use crate::catalog::NewComponent;
use crate::device::{Choice, KillSwitch};
use crate::proc::{CodeCache, LogLevel, TestOutcome, inspect_tests};
use crate::tensor::Executor;

/// Which tests to execute, and how.
#[derive(Clone, Debug)]
pub struct Suite {
    /// The component's name.
    pub name: String,
    /// Only tests whose name contains one of these; all when empty.
    pub filters: Vec<String>,
    /// Wall time of one test.
    pub deadline: Duration,
    /// The device for columns and tensors.
    pub device: Choice,
    /// Threads for tensor work; all that this process may use where absent.
    pub cores: Option<usize>,
}

/// How one test ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// What it said, by level.
    pub log: Vec<(LogLevel, String)>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// How all of them ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteReport {
    /// The tests in the order they were written.
    pub tests: Vec<TestReport>,
    /// Tests that the filters left out.
    pub filtered: usize,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

impl Suite {
    /// Executes the tests in `bytes`, a test build. `begun` is told of each test
    /// before it, `ended` after it.
    pub fn run(
        &self,
        bytes: &[u8],
        begun: &mut dyn FnMut(&str),
        ended: &mut dyn FnMut(&TestReport),
    ) -> Result<SuiteReport> {
        let clock = Instant::now();
        remove_leftovers();
        let (found, component) = inspect_tests(&self.name, bytes, &Limits::default(), CodeCache::of_user().as_ref())?;
        let executor = Executor::new(self.device.device(self.cores)?);
        let limits =
            Limits { deadline_ms: u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX), ..Limits::default() };
        let new = NewComponent { name: &self.name, procs: &found.procs, sha256: &found.sha256, bytes };
        let workshop = |kill: &KillSwitch| Workshop::new(&new, &executor, &limits, kill);
        let all = component.names(Arc::new(workshop(&KillSwitch::new())?), &limits)?;
        let chosen = |name: &&String| self.filters.is_empty() || self.filters.iter().any(|part| name.contains(part));
        let mut tests = Vec::new();
        for name in all.iter().filter(chosen) {
            begun(name);
            let kill = KillSwitch::with_deadline(limits.deadline_ms);
            let outcome = component.run(name, Arc::new(workshop(&kill)?), &limits, kill);
            let report = TestReport::new(name, outcome);
            ended(&report);
            tests.push(report);
        }
        let filtered = all.len() - tests.len();
        Ok(SuiteReport { tests, filtered, elapsed_ms: clock.elapsed().as_secs_f64() * 1e3 })
    }
}

impl TestReport {
    fn new(name: &str, outcome: TestOutcome) -> Self {
        let failure = outcome.result.err().map(|error| match error {
            // The test is named beside it.
            crate::base::Error::Proc { message, .. } => message,
            crate::base::Error::Trap { reason, .. } => reason,
            other => other.chain(),
        });
        Self { name: name.to_owned(), failure, log: outcome.log, elapsed_ms: outcome.elapsed.as_secs_f64() * 1e3 }
    }
}

impl SuiteReport {
    /// Tests that failed.
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| test.failure.is_some()).count()
    }
}
