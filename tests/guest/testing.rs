//! `quern proc test`: tests of procs, as their author types it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use quern::base::Limits;
use quern::proc::build::build_tests;
use quern::proc::{Engine, inspect};
use serde_json::Value;

use crate::support::components::component_of;
use crate::support::root;

fn test(folder: &Path, arguments: &[&str]) -> Output {
    let mut quern = Command::new(crate::support::quern_binary());
    quern.args(["proc", "test"]).arg(folder).args(arguments).env_remove("QUERN_DATA").output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = test(folder, &[&["--json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn sdk_guest() -> PathBuf {
    root().join("tests/guest/sdk")
}

#[test]
fn the_procs_that_come_with_quern_pass_their_tests() {
    for (folder, tests) in [("udfs/sum-of-squares", 3), ("udfs/mnist", 2)] {
        let done = json(&root().join(folder), &[]);
        assert_eq!((&done["passed"], &done["failed"]), (&tests.into(), &0.into()), "{folder}: {done}");
    }
}

#[test]
fn a_new_crate_passes_its_tests() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("line-up");
    quern::proc::template::create(&folder).unwrap();
    // What a test leaves whose process was killed goes with the next test.
    let left = std::env::temp_dir().join("quern-test-4294967295-0");
    std::fs::create_dir_all(left.join("data")).unwrap();
    let output = test(&folder, &["--color", "never"]);
    assert!(!left.exists());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("test low_becomes_0_and_high_becomes_1 ... ok ("), "{text}");
    assert!(text.contains("\ntest result: ok. 3 passed; 0 failed; 0 filtered out; finished in "), "{text}");
    assert!(!folder.join("line-up.wasm").exists() && !folder.join("quern-data").exists(), "nothing is left behind");
}

#[test]
fn tests_that_fail_are_told_with_their_reason_and_what_they_said() {
    let done = json(&sdk_guest(), &["--deadline", "2s"]);
    let of = |name: &str| {
        let tests = done["tests"].as_array().unwrap();
        tests.iter().find(|test| test["name"] == name).unwrap_or_else(|| panic!("{done}")).clone()
    };
    assert_eq!(of("passes")["failure"], Value::Null, "{done}");
    for passed in [
        "tables_of_other_tests_are_not_there",
        "a_run_that_stops_shows_what_it_kept_and_another_goes_on_from_there",
        "results_are_seen_merged_and_of_each_instance",
        "what_a_proc_was_not_given_is_said",
    ] {
        assert_eq!(of(passed)["failure"], Value::Null, "{done}");
    }
    let panicked = of("panics");
    let reason = panicked["failure"].as_str().unwrap();
    assert!(reason.starts_with("panicked at tests/guest/sdk/src/lib.rs:"), "{reason}");
    assert!(reason.contains("sums are checked"), "{reason}");
    assert_eq!(panicked["log"][0], serde_json::json!({ "level": "info", "text": "about to compare" }));
    let error = of("returns_an_error");
    assert_eq!(error["failure"], "no proc `no_such_proc` in component `sdk-check`");
    assert_eq!(
        of("touches_what_only_a_proc_has")["failure"],
        "`tensors.tensor.full` is not available in a test, which executes procs with `testing.execute`"
    );
    let late = of("never_ends");
    assert!(late["failure"].as_str().unwrap().starts_with("limit `deadline_ms`: "), "{late}");
    assert_eq!((&done["passed"], &done["failed"]), (&5.into(), &4.into()));
}

#[test]
fn a_filter_picks_tests_by_name_and_a_failure_is_the_exit_code() {
    let output = test(&sdk_guest(), &["--filter", "panics", "--filter", "passes", "--color", "never"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let starts: Vec<&str> = text.lines().take(2).map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(starts, ["test passes ... ok", "test panics ... FAILED"]);
    assert!(text.contains("\n---- panics ----\ninfo about to compare\npanicked at "), "{text}");
    assert!(text.contains("\ntest result: FAILED. 1 passed; 1 failed; 7 filtered out; "), "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().last(), Some("error: 1 test failed"));
}

#[test]
fn a_build_with_tests_is_refused_at_creation_and_one_without_has_none_to_execute() {
    let folder = root().join("udfs/sum-of-squares");
    let built = build_tests(&folder, &mut |_| {}).unwrap();
    let refused = inspect(Engine::get().unwrap(), "sums.wasm", &built.bytes, &Limits::default(), None);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "sums.wasm is not a usable component: it imports `quern:udf/testing@0.1.0`, which only tests have; \
         build it without its tests, with `quern proc build`"
    );
    // The build after a build with tests is the proc alone again.
    let imports = super::imports(&component_of(&folder));
    assert!(!imports.iter().any(|import| import.contains("testing")), "{imports:?}");
    let none = test(&root().join("tests/evil/hostile"), &[]);
    assert_eq!(none.status.code(), Some(1));
    let text = String::from_utf8(none.stderr).unwrap();
    assert!(text.ends_with("it has no tests; write them with `tests!` of quern-udf\n"), "{text}");
}
