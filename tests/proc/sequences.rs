//! Arbitrary sequences of calls across the boundary: planned execution gives what
//! unplanned execution gives, to the bit and to the word, and nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use quern::base::Limits;
use quern::proc::{Component, Engine, inspect};
use quern::table::TableView;
use quern::tensor::Mode;

use super::database::Database;
use super::fixture::{Trial, guest};
use crate::support::repeats;

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
        let bytes = guest("tests/evil/caller");
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
/// be seen of them. The entry of the fuzzer.
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
    let results = outcome.results.into_iter().map(|(name, text)| (name, comparable(&text)));
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

/// Bytes that look random (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A sequence of up to 256 bytes; some repeat a part, so that programs come again.
    fn sequence(&mut self) -> Vec<u8> {
        let len = (self.next() % 128 + 1) as usize;
        let mut data: Vec<u8> = (0..len).map(|_| self.next() as u8).collect();
        if self.next().is_multiple_of(2) {
            // `step` between two turns of a loop.
            data.extend([60, 1]);
            data.extend_from_within(..);
        }
        data
    }
}

#[test]
fn arbitrary_sequences_of_calls_give_the_same_in_both_ways() {
    let mut noise = Noise(2026);
    for _ in 0..repeats(2_000, 500_000) {
        sequence(&noise.sequence());
    }
    // `make fuzz`: as many as the time allows, other ones each time unless a seed is given.
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seconds) = given("QUERN_FUZZ_SECONDS") {
        let begun = Instant::now();
        let seed = given("QUERN_FUZZ_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1);
        println!("seed {seed}");
        let mut noise = Noise(seed);
        let mut executions = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            sequence(&noise.sequence());
            executions += 2;
        }
        println!("{executions} executions in {seconds} s");
    }
}
