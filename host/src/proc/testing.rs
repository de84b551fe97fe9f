//! Tests of a proc's crate, built into its component: which there are, and one
//! of them executed in a sandbox of its own. What a test can do lies behind
//! [`TestTables`], which whoever executes runs implements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compile::unusable;
use super::engine::{Component, Engine};
use super::interfaces::TestKit;
use super::sandbox::{self, Phase, State};
use super::{LogLevel, text, trap};
use crate::base::{Column, Error, Limits, Result};
use crate::device::KillSwitch;
use crate::table::{ColumnCopy, RawColumn};

/// The tables and runs of one test.
pub trait TestTables: Send + Sync {
    /// Makes a table; no shards make it replicated.
    fn create_table(&self, name: &str, columns: Vec<Column>, rows: &[RawColumn<'_>], shards: u32) -> Result<()>;

    /// The columns of a table.
    fn fields(&self, table: &str) -> Result<Vec<Column>>;

    /// All rows of a column: how many, and their buffers.
    fn read(&self, table: &str, column: &str) -> Result<(u64, ColumnCopy)>;

    /// Executes a proc until it ends; the run's number.
    fn execute(&self, run: TestRun) -> Result<u64>;

    /// Why a run did not complete.
    fn failure(&self, run: u64) -> Result<Option<String>>;

    /// Results of a run that are text, by name.
    fn results(&self, run: u64) -> Result<Vec<(String, String)>>;

    /// Results of a run that are bytes, by name.
    fn binary_results(&self, run: u64) -> Result<Vec<(String, Vec<u8>)>>;

    /// What each instance set as the result of that name: instance, text.
    fn instance_results(&self, run: u64, name: &str) -> Result<Vec<(u32, String)>>;

    /// Metric points of a run: name, step, value.
    fn metrics(&self, run: u64) -> Result<Vec<(String, u64, f64)>>;

    /// Log lines of a run: level, text.
    fn logs(&self, run: u64) -> Result<Vec<(String, String)>>;

    /// Checkpoints of a run, oldest first: instance, name, size in bytes.
    fn checkpoints(&self, run: u64) -> Result<Vec<(u32, String, u64)>>;
}

/// What a test asks to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The proc.
    pub proc: String,
    /// Tables, each with the columns that the proc may see; all when empty.
    pub inputs: Vec<(String, Vec<String>)>,
    /// Tables to append to.
    pub outputs: Vec<String>,
    /// Parameters by name.
    pub params: Vec<(String, String)>,
    /// Parameters of type `binary` by name.
    pub binary_params: Vec<(String, Vec<u8>)>,
    /// `seed`, `resume` and limits by name.
    pub options: Vec<(String, String)>,
}

/// What a test does: the data of its store.
pub(super) struct Test {
    pub(super) tables: Arc<dyn TestTables>,
    pub(super) log: Vec<(LogLevel, String)>,
}

/// How a test ended.
#[derive(Debug)]
pub struct TestOutcome {
    /// An error is a failure.
    pub result: Result<()>,
    /// What the test said.
    pub log: Vec<(LogLevel, String)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a component that should have tests is refused.
pub(super) const NO_TESTS: &str = "it has no tests; write them with `tests!` of quern-udf";

/// The data of a test's store.
fn state(tables: Arc<dyn TestTables>, limits: &Limits) -> State {
    State::new(Phase::Test(Test { tables, log: Vec::new() }), limits.clone())
}

/// A component that has tests.
pub struct TestComponent(Arc<Component>);

impl TestComponent {
    /// Refuses a component without tests.
    pub fn new(component: Arc<Component>) -> Result<Self> {
        match component.has_tests() {
            true => Ok(Self(component)),
            false => Err(unusable(NO_TESTS)),
        }
    }

    /// The names of its tests, in the order they were written.
    pub fn names(&self, tables: Arc<dyn TestTables>, limits: &Limits) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let kill = KillSwitch::with_deadline(limits.deadline_ms);
        let outcome = self.call("names", state(tables, limits), kill, |kit, store| {
            names = kit.quern_udf_tests().call_names(store)?;
            Ok(Ok(()))
        });
        outcome.result.map(|()| names)
    }

    /// Executes one test on the calling thread, at most until `kill` says so.
    pub fn run(&self, test: &str, tables: Arc<dyn TestTables>, limits: &Limits, kill: KillSwitch) -> TestOutcome {
        self.call(test, state(tables, limits), kill, |kit, store| {
            let returned = kit.quern_udf_tests().call_run(&mut *store, test)?;
            let limits = &store.data().limits;
            Ok(returned.map_err(|error| Error::Proc {
                proc: test.to_owned(),
                code: error.code.into(),
                message: text::one_line(&error.message, limits),
            }))
        })
    }

    fn call(
        &self,
        what: &str,
        state: State,
        kill: KillSwitch,
        work: impl FnOnce(&TestKit, &mut wasmtime::Store<State>) -> wasmtime::Result<Result<()>>,
    ) -> TestOutcome {
        let begun = Instant::now();
        let failed = |error| TestOutcome { result: Err(error), log: Vec::new(), elapsed: begun.elapsed() };
        let engine = match Engine::get() {
            Ok(engine) => engine,
            Err(error) => return failed(error),
        };
        let _ticking = engine.ticking();
        let switch = kill.clone();
        let mut store = sandbox::store(engine, state, move || switch.check());
        let instance = self.0.pre().instance_pre().instantiate(&mut store);
        let kit = instance.and_then(|instance| TestKit::new(&mut store, &instance));
        let result = kit
            .and_then(|kit| work(&kit, &mut store))
            .unwrap_or_else(|error| Err(trap::explain(error, store.data_mut(), what, kill.check().err())));
        match store.into_data().phase {
            Phase::Test(test) => TestOutcome { result, log: test.log, elapsed: begun.elapsed() },
            _ => failed(Error::Internal("a test ended in another phase than it began".into())),
        }
    }
}
