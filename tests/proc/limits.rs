//! Limits on what a guest says and takes, each with its name in the message.

use quern::base::{LimitChanges, Limits};
use quern::proc::LogLevel;

use super::fixture::works_normally;
use crate::support::components::component;
use crate::support::instance::Trial;

fn trial(proc: &str) -> Trial {
    Trial::new(component("tests/proc/guest"), proc)
}

#[test]
fn a_guest_is_told_about_its_run() {
    let trial = trial("says").param("name", "ada");
    trial.run().result.unwrap();
    let results = trial.results();
    let results: Vec<(&str, &str)> = results.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        results,
        [("params", "greeting=hello name=ada"), ("missing", "None"), ("run", "7 0/1 1"), ("cancelled", "false")]
    );
}

#[test]
fn results_are_limited_in_number() {
    trial("many_results").param("count", "20").limit("results", 20).run().result.unwrap();
    assert_eq!(
        trial("many_results").param("count", "21").limit("results", 20).failure(),
        "proc `many_results` returned an error (quota-exceeded): limit `results`: \
         21 results asked, 20 results allowed; raise it for one run with --limit results=N"
    );
}

#[test]
fn results_are_limited_in_bytes() {
    // `r0` to `r9` with one digit each: 30 bytes; setting one again counts once.
    trial("many_results").param("count", "10").limit("results_bytes", 30).run().result.unwrap();
    assert_eq!(
        trial("many_results").param("count", "11").limit("results_bytes", 30).failure(),
        "proc `many_results` returned an error (quota-exceeded): limit `results_bytes`: \
         35 bytes asked, 30 bytes allowed; raise it for one run with --limit results_bytes=N"
    );
}

#[test]
fn limits_of_the_folder_are_none_of_a_run() {
    let mut changes = LimitChanges::new();
    let of_folders = ", --folder-limit does where the folder is opened";
    let of_folder = [("running_instances", of_folders), ("checkpoint_bytes", of_folders)];
    for (name, how) in of_folder.into_iter().chain([("component_bytes", ""), ("declared_bytes", "")]) {
        assert_eq!(
            changes.set(name, 1).unwrap_err().to_string(),
            format!("limit `{name}` holds for the whole folder; no run can change it{how}")
        );
    }
    assert_eq!(changes.set("handle", 1).unwrap_err().to_string(), "no limit `handle`; did you mean `handles`?");
    changes.set("handles", 5).unwrap();
    let limits = Limits::default().with(&changes).unwrap();
    assert_eq!(limits, Limits { handles: 5, ..Limits::default() });
}

#[test]
fn metric_points_beyond_the_limit_are_dropped_and_the_log_says_so() {
    let trial = trial("many_metrics").param("count", "30").limit("metric_points", 10);
    trial.run().result.unwrap();
    let points = trial.journal.metrics.lock().unwrap();
    assert_eq!((points.len(), &points[9]), (10, &("m".to_owned(), 9, 0.5)));
    assert_eq!(
        *trial.journal.lines.lock().unwrap(),
        [
            (LogLevel::Warn, "a metric point is dropped: metric name \"a\\u{1b}b\" has control characters".to_owned()),
            (
                LogLevel::Warn,
                "further metric points are dropped: limit `metric_points`: \
                 11 points asked, 10 points allowed; raise it for one run with --limit metric_points=N"
                    .to_owned()
            )
        ]
    );
}

#[test]
fn long_lines_are_cut_and_control_characters_replaced() {
    let trial = trial("big_line").param("bytes", "1000").limit("text_bytes", 100);
    trial.run().result.unwrap();
    let cut = format!("{}… (900 bytes more)", "x".repeat(100));
    assert_eq!(*trial.journal.lines.lock().unwrap(), [(LogLevel::Info, cut)]);
    assert_eq!(*trial.journal.status.lock().unwrap(), ("working\u{fffd} on \u{fffd}[2Jit".to_owned(), None));
}

#[test]
fn a_call_with_too_many_bytes_is_stopped_by_name() {
    let trial = trial("big_call").param("bytes", "2000000").limit("call_bytes", 1_000_000);
    assert_eq!(
        trial.failure(),
        "limit `call_bytes`: \
         1000001 bytes asked, 1000000 bytes allowed; raise it for one run with --limit call_bytes=N"
    );
    works_normally();
}

#[test]
fn a_name_of_a_megabyte_is_refused_without_repeating_it() {
    let text = trial("big_names").param("bytes", "1000000").failure();
    assert_eq!(
        text,
        "proc `big_names` returned an error (invalid-argument): result name has 1000000 bytes; names have 1 to 128 bytes"
    );
}

#[test]
fn a_guest_that_is_refused_memory_may_go_on() {
    let trial = trial("spares_memory");
    trial.run().result.unwrap();
    assert_eq!(trial.results(), [("refused".to_owned(), "true".to_owned())]);
}
