//! Guests that ask for too much or do not stop: what they are told, and that
//! nothing of them is left.

use std::process::Command;
use std::time::{Duration, Instant};

use quern::base::Error;
use quern::device::KillSwitch;
use quern::proc::Engine;

use super::fixture::{hostile, works_normally};
use crate::support::components::component;
use crate::support::instance::{Trial, executor};

fn trial(proc: &str) -> Trial {
    Trial::new(hostile(), proc)
}

#[test]
fn results_and_models_without_end_meet_limits_by_name() {
    assert_eq!(
        trial("answers_forever").failure(),
        "proc `answers_forever` returned an error (quota-exceeded): limit `results_bytes`: \
         8400450 bytes asked, 8388608 bytes allowed; raise it for one run with --limit results_bytes=N"
    );
    assert_eq!(
        trial("saves_forever").limit("saved_models", 5).failure(),
        "proc `saves_forever` returned an error (quota-exceeded): limit `saved_models`: \
         6 models asked, 5 models allowed; raise it for one run with --limit saved_models=N"
    );
    works_normally();
}

#[test]
fn programs_that_never_repeat_are_executed_and_forgotten() {
    let outcome = trial("never_repeats").run();
    outcome.result.unwrap();
    assert!(outcome.receipt.programs >= 500, "{}", outcome.receipt.programs);
    assert!(executor().program_counts().0 <= 200_000);
    works_normally();
}

#[test]
fn tensor_work_without_end_meets_the_limit_of_device_time_by_name() {
    // One product of the first program takes longer.
    let outcome = trial("computes_forever").param("size", "4000").limit("device_time_ms", 100).run();
    let failed = outcome.result.unwrap_err();
    let Error::Limit { limit: "device_time_ms", requested, allowed: 100, .. } = failed else { panic!("{failed}") };
    assert!(requested > 100, "{requested}");
    // Also what the program took in which it was met.
    assert!(outcome.receipt.device_ms > 90.0, "{:?}", outcome.receipt);
    works_normally();
}

#[test]
fn shapes_that_are_far_too_large_meet_the_limit_by_name() {
    assert_eq!(
        trial("asks_for_too_much").failure(),
        "proc `asks_for_too_much` returned an error (quota-exceeded): limit `device_bytes`: \
         6871947672000 bytes asked, 4294967296 bytes allowed; raise it for one run with --limit device_bytes=N"
    );
    works_normally();
}

#[test]
fn a_panic_while_it_returns_is_told() {
    let text = trial("panics_in_drop").failure();
    let (begin, end) = ("proc `panics_in_drop` stopped: panicked at tests/evil/hostile/src/floods.rs:", ": dropped");
    assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    works_normally();
}

#[test]
fn a_guest_that_ignores_its_end_is_stopped() {
    let trial = trial("ignores_the_end");
    let kill = trial.kill.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        kill.kill("ada".to_owned());
    });
    let begun = Instant::now();
    assert_eq!(trial.failure(), "the run was killed by ada");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    killer.join().unwrap();
    works_normally();
}

#[test]
fn handles_that_are_not_the_guest_s_stop_it() {
    assert_eq!(
        trial("mixes_handles").failure(),
        "proc `mixes_handles` stopped: handle index 2 used with the wrong type, \
         expected guest-defined resource but found a different guest-defined resource"
    );
    assert_eq!(trial("uses_what_is_gone").failure(), "proc `uses_what_is_gone` stopped: unknown handle index 1");
    assert_eq!(trial("drops_twice").failure(), "proc `drops_twice` stopped: unknown handle index 1");
    works_normally();
}

#[test]
fn a_guest_sees_no_table_that_it_was_not_given() {
    let trial = Trial::new(component("tests/proc/guest"), "mistakes");
    trial.run().result.unwrap();
    assert_eq!(trial.results(), [("inputs".to_owned(), "not one".to_owned())]);
}

#[test]
fn names_and_texts_are_never_more_than_texts() {
    let trial = trial("injects");
    let outcome = trial.run();
    outcome.result.unwrap();
    let results = trial.results();
    let sql = "'; DROP TABLE quern_run; --".to_owned();
    assert_eq!(results[0], (sql.clone(), sql.clone()));
    assert_eq!(results[3], ("escapes".to_owned(), "\u{1b}[2J".to_owned()));
    assert_eq!(outcome.saved_models[0].name, sql);
}

/// Set for the second process of the next test.
const ALONE: &str = "QUERN_TEST_ALONE";

/// Procs that fail soon, each in another way.
const FAILING: [&str; 14] = [
    "returns_error",
    "panics",
    "divides_by_zero",
    "shape_mismatch",
    "writes_then_fails",
    "allocates_forever",
    "fills_the_device",
    "hoards_handles",
    "recurses",
    "answers_forever",
    "never_repeats",
    "panics_in_drop",
    "uses_what_is_gone",
    "shouts_forever",
];

#[test]
fn hostile_guests_leave_no_memory_behind() {
    if std::env::var_os(ALONE).is_none() {
        // Other tests of this process would be measured too.
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["proc::floods::hostile_guests_leave_no_memory_behind", "--exact", "--nocapture"]);
        let output = process.env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let round = || {
        for proc in FAILING {
            let mut trial = trial(proc).limit("device_bytes", 64 << 20).limit("guest_memory_bytes", 32 << 20);
            trial.kill = KillSwitch::with_deadline(if proc == "shouts_forever" { 30 } else { 10_000 });
            let outcome = trial.limit("handles", 1000).run();
            assert!(outcome.result.is_err() || proc == "never_repeats", "{proc}");
        }
    };
    (0..3).for_each(|_| round());
    let before = resident_bytes();
    (0..20).for_each(|_| round());
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB more after 20 rounds", grown >> 20);
    assert_eq!(Engine::get().unwrap().instances(), 0);
    works_normally();
}

/// Memory of this process that is in use, by the system.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
