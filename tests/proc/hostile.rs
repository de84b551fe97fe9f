//! Each guest that fails gets its message, and the next proc runs as if nothing
//! had been.

use std::time::{Duration, Instant};

use quern::base::{Error, ErrorCode};
use quern::device::KillSwitch;
use quern::proc::LogLevel;

use super::fixture::{hostile, works_normally};
use crate::support::instance::Trial;

fn trial(proc: &str) -> Trial {
    Trial::new(hostile(), proc)
}

#[test]
fn a_returned_error_keeps_its_kind_and_text() {
    let failed = trial("returns_error").run().result.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "proc `returns_error` returned an error (invalid-argument): the moon is in the wrong phase"
    );
    assert!(matches!(failed, Error::Proc { code: ErrorCode::InvalidArgument, .. }));
    works_normally();
}

#[test]
fn an_error_text_is_one_line_without_control_characters() {
    let text = trial("returns_error").param("message", "first\nsecond\u{1b}[2J").failure();
    assert_eq!(text, "proc `returns_error` returned an error (invalid-argument): first second\u{fffd}[2J");
}

#[test]
fn a_panic_is_told_with_its_text_and_place() {
    let trial = trial("panics");
    let text = trial.failure();
    let (begin, end) = ("proc `panics` stopped: panicked at tests/evil/hostile/src/lib.rs:", ": row 7 has no label");
    assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    let lines = trial.journal.lines.lock().unwrap();
    assert!(lines[0].0 == LogLevel::Error && lines[0].1.ends_with("row 7 has no label"));
    drop(lines);
    works_normally();
}

#[test]
fn a_division_by_zero_is_told() {
    let text = trial("divides_by_zero").failure();
    assert!(text.ends_with(": attempt to divide by zero"), "{text}");
    works_normally();
}

#[test]
fn an_endless_loop_ends_at_the_deadline() {
    let mut trial = trial("loops_forever");
    trial.kill = KillSwitch::with_deadline(100);
    let begun = Instant::now();
    let failed = trial.run().result.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(2000), "{:?}", begun.elapsed());
    let Error::Limit { limit: "deadline_ms", requested, allowed: 100, .. } = failed else { panic!("{failed}") };
    assert!((100..2000).contains(&requested), "{requested}");
    works_normally();
}

#[test]
fn an_endless_loop_ends_when_it_is_killed() {
    let trial = trial("loops_forever");
    let kill = trial.kill.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        kill.kill("ada".to_owned());
    });
    assert_eq!(trial.failure(), "the run was killed by ada");
    killer.join().unwrap();
    works_normally();
}

#[test]
fn device_work_ends_when_it_is_killed() {
    let trial = trial("computes_forever");
    let kill = trial.kill.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        kill.kill(None);
    });
    let begun = Instant::now();
    assert_eq!(trial.failure(), "the run was killed");
    assert!(begun.elapsed() < Duration::from_millis(2000), "{:?}", begun.elapsed());
    killer.join().unwrap();
    works_normally();
}

#[test]
fn a_shape_mismatch_names_both_shapes() {
    let text = trial("shape_mismatch").failure();
    assert!(text.contains("[2, 3]") && text.contains("[4, 5]"), "{text}");
    works_normally();
}

#[test]
fn a_wrong_type_is_a_type_mismatch() {
    let failed = trial("writes_wrong_type").run().result.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "proc `writes_wrong_type` returned an error (type-mismatch): column `n` is int64, the tensor is float32 [3]"
    );
    works_normally();
}

#[test]
fn a_failure_after_rows_were_written_is_a_failure() {
    let text = trial("writes_then_fails").failure();
    assert_eq!(text, "proc `writes_then_fails` returned an error (invalid-argument): changed its mind after 1000 rows");
    works_normally();
}

#[test]
fn endless_recursion_exhausts_the_stack_and_nothing_else() {
    let text = trial("recurses").failure();
    let begin = "limit `stack_bytes`: 524289 bytes asked, 524288 bytes allowed; it is exhausted in `";
    let end = "` and the same for all procs; is a recursion endless?";
    assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    works_normally();
}

#[test]
fn a_memory_bomb_meets_the_limit_by_name() {
    let trial = trial("allocates_forever").limit("guest_memory_bytes", 32 << 20);
    let outcome = trial.run();
    let failed = outcome.result.unwrap_err();
    let Error::Limit { limit: "guest_memory_bytes", requested, allowed: 33_554_432, .. } = failed else {
        panic!("{failed}")
    };
    assert!(requested > 32 << 20);
    assert!((30 << 20..=32 << 20).contains(&outcome.receipt.peak_guest_bytes));
    works_normally();
}

#[test]
fn a_handle_bomb_meets_the_limit_by_name() {
    let text = trial("hoards_handles").limit("handles", 500).limit("program_ops", 100_000).failure();
    assert_eq!(
        text,
        "proc `hoards_handles` returned an error (quota-exceeded): limit `handles`: \
         501 handles asked, 500 handles allowed; raise it for one run with --limit handles=N"
    );
    works_normally();
}

#[test]
fn filling_the_device_meets_the_limit_by_name() {
    let failed = trial("fills_the_device").limit("device_bytes", 1 << 30).run().result.unwrap_err();
    let text = failed.to_string();
    assert!(
        text.starts_with("proc `fills_the_device` returned an error (quota-exceeded): limit `device_bytes`: "),
        "{text}"
    );
    assert!(text.ends_with(" 1073741824 bytes allowed; raise it for one run with --limit device_bytes=N"), "{text}");
    works_normally();
}

#[test]
fn too_many_rows_meet_the_limit_by_name() {
    let text = trial("writes").limit("output_bytes", 1000).failure();
    assert_eq!(
        text,
        "proc `writes` returned an error (quota-exceeded): limit `output_bytes`: \
         8000 bytes asked, 1000 bytes allowed; raise it for one run with --limit output_bytes=N"
    );
    works_normally();
}

#[test]
fn every_line_of_a_log_reaches_the_observer() {
    let trial = trial("talks_too_much").param("lines", "500");
    trial.run().result.unwrap();
    let lines = trial.journal.lines.lock().unwrap();
    assert_eq!((lines.len(), &lines[499]), (500, &(LogLevel::Info, "line 499".to_owned())));
}
