//! A sequence of calls across the boundary, spelled by bytes and executed in both
//! ways: the entry of the fuzzer and of `proc::sequences`.

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use quern::base::Limits;
use quern::catalog::ProcSpec;
use quern::device::Device;
use quern::proc::{Component, Engine, InstanceOutcome, ModelCache, inspect};
use quern::table::TableView;
use quern::tensor::{Executor, Mode};

use super::components::component;
use super::database::Database;
use super::instance::Trial;

/// Time for one sequence.
const DEADLINE_MS: u64 = 5_000;

/// How often a sequence is executed as runs are. The first time each program is
/// executed plainly where it is seen first and prepared where it comes again; the
/// second time all are replayed.
const PASSES: usize = 2;

/// The component whose proc makes the calls, and that proc.
struct Caller {
    component: Arc<Component>,
    call: ProcSpec,
    save: ProcSpec,
}

fn caller() -> &'static Caller {
    static CALLER: OnceLock<Caller> = OnceLock::new();
    CALLER.get_or_init(|| {
        let bytes = component("tests/evil/caller");
        let engine = Engine::get().unwrap();
        let mut procs = inspect(engine, "caller", bytes, &Limits::default(), None).unwrap().procs.into_iter();
        let [call, save] = ["call", "save"].map(|name| procs.find(|proc| proc.name == name).unwrap());
        Caller { component: engine.compile(bytes, &Limits::default(), None).unwrap(), call, save }
    })
}

/// What sequences work on. Nothing is left when it is dropped.
pub(crate) struct Sequences {
    executor: Arc<Executor>,
    digits: TableView,
    /// A table of models.
    earlier: TableView,
    _database: Database,
}

impl Sequences {
    pub(crate) fn new() -> Self {
        let device = Device::cpu(2, 4 << 30);
        let mut saved = Trial::of(caller().component.clone(), caller().save.clone()).run();
        assert!(saved.result.is_ok(), "{:?}", saved.result);
        let database = Database::on(&device);
        let earlier = database.commit("earlier", saved.outputs.remove(0).1);
        Self { executor: Executor::new(device), digits: database.digits(), earlier, _database: database }
    }

    /// Executes the calls that `data` spells unplanned and then [`PASSES`] times
    /// planned, and compares all that can be seen of them.
    pub(crate) fn compare(&self, data: &[u8]) {
        // How far a sequence comes until its deadline depends on the machine.
        let late = |seen: &Seen| seen.error.as_ref().is_some_and(|text| text.contains("`deadline_ms`"));
        let unplanned = self.seen(data, Mode::Unplanned);
        for pass in 1..=PASSES {
            let planned = self.seen(data, Mode::Planned);
            if late(&planned) || late(&unplanned) {
                println!("took {DEADLINE_MS} ms: {}", hex(data));
                return;
            }
            assert_eq!(planned, unplanned, "pass {pass} of {}", hex(data));
        }
    }

    fn seen(&self, data: &[u8], mode: Mode) -> Seen {
        let mut trial = Trial::of(caller().component.clone(), caller().call.clone());
        trial = trial.input("digits", self.digits.clone()).input("earlier", self.earlier.clone());
        trial = trial.limit("device_bytes", 8 << 20).limit("output_bytes", 1 << 20).limit("deadline_ms", DEADLINE_MS);
        trial.mode = mode;
        trial.executor = self.executor.clone();
        trial.models = Arc::new(ModelCache::new(self.executor.device().clone(), 1 << 28));
        trial.binary_params = vec![("program".to_owned(), data.into())];
        let outcome = trial.run();
        let seen = Seen::of(&trial, outcome);
        assert!(!seen.error.as_ref().is_some_and(|e| e.contains("internal fault")), "{:?}: {}", seen.error, hex(data));
        seen
    }
}

/// All that can be seen of an instance.
#[derive(Debug, PartialEq)]
struct Seen {
    error: Option<String>,
    results: Vec<(String, String)>,
    binary_results: Vec<(String, Vec<u8>)>,
    rows: Vec<RecordBatch>,
    /// Output, name and checksum of each.
    models: Vec<(String, String, String)>,
    /// Name and checksum of each.
    checkpoints: Vec<(String, String)>,
    /// Status, log and metrics: the words that were given.
    said: String,
}

impl Seen {
    fn of(trial: &Trial, mut outcome: InstanceOutcome) -> Self {
        let journal = &trial.journal;
        let (status, lines) = (journal.status.lock().unwrap(), journal.lines.lock().unwrap());
        let metrics = journal.metrics.lock().unwrap();
        let checkpoints = journal.checkpoints.lock().unwrap();
        Self {
            error: outcome.result.err().map(|error| comparable(&error.chain())),
            results: trial.results().into_iter().map(|(name, text)| (name, comparable(&text))).collect(),
            binary_results: journal.binary_results.lock().unwrap().clone(),
            rows: outcome.outputs.remove(0).1.into_batches().unwrap(),
            models: outcome.saved_models.into_iter().map(|saved| (saved.output, saved.name, saved.sha256)).collect(),
            checkpoints: checkpoints.iter().map(|(name, _, sha256)| (name.clone(), sha256.clone())).collect(),
            said: format!("{status:?} {lines:?} {metrics:?}"),
        }
    }
}

/// A text without how much of the device was used before, which depends on the
/// way of execution.
fn comparable(text: &str) -> String {
    const QUOTA: &str = "limit `device_bytes`";
    text.split_once(QUOTA).map_or_else(|| text.to_owned(), |(before, _)| format!("{before}{QUOTA}"))
}

fn hex(data: &[u8]) -> String {
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}
