//! A sequence of calls across the boundary, spelled by bytes and executed in both
//! ways: the entry of the fuzzer and of `proc::sequences`.

use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use quern::base::Limits;
use quern::proc::{Component, Engine, inspect};
use quern::table::TableView;
use quern::tensor::Mode;

use super::components::component;
use super::database::Database;
use super::instance::Trial;

/// Time for one sequence.
const DEADLINE_MS: u64 = 5_000;

/// What all sequences share.
struct Shared {
    component: Arc<Component>,
    spec: quern::catalog::ProcSpec,
    digits: TableView,
    _database: Database,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let bytes = component("tests/evil/caller");
        let engine = Engine::get().unwrap();
        let found = inspect(engine, "caller", bytes, &Limits::default(), None).unwrap();
        let database = Database::new();
        Shared {
            component: engine.compile(bytes, &Limits::default(), None).unwrap(),
            spec: found.procs.into_iter().next().unwrap(),
            digits: database.digits(),
            _database: database,
        }
    })
}

/// Executes the calls that `data` spells in both ways and compares all that can
/// be seen of them.
pub(crate) fn sequence(data: &[u8]) {
    let (planned, unplanned) = (executed(data, Mode::Planned), executed(data, Mode::Unplanned));
    // How far a sequence comes until its deadline depends on the machine.
    let late = |error: &Option<String>| error.as_ref().is_some_and(|text| text.contains("`deadline_ms`"));
    if late(&planned.1) || late(&unplanned.1) {
        println!("took {DEADLINE_MS} ms: {}", hex(data));
        return;
    }
    assert_eq!(planned, unplanned, "{}", hex(data));
}

/// Result, error and rows of the sequence.
fn executed(data: &[u8], mode: Mode) -> (Vec<(String, String)>, Option<String>, Vec<RecordBatch>) {
    let shared = shared();
    let mut trial = Trial::of(shared.component.clone(), shared.spec.clone());
    trial = trial.input("digits", shared.digits.clone()).limit("device_bytes", 8 << 20).limit("output_bytes", 1 << 20);
    trial = trial.limit("deadline_ms", DEADLINE_MS);
    trial.mode = mode;
    trial.binary_params = vec![("program".to_owned(), data.into())];
    let mut outcome = trial.run();
    let rows = outcome.outputs.remove(0).1.into_batches().unwrap();
    let error = outcome.result.err().map(|error| comparable(&error.chain()));
    assert!(!error.as_ref().is_some_and(|e| e.contains("internal fault")), "{error:?}: {}", hex(data));
    let results = trial.results().into_iter().map(|(name, text)| (name, comparable(&text)));
    (results.collect(), error, rows)
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
