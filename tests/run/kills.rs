//! A kill or a deadline ends guests, calls of the host and tensor work soon.

use std::time::Duration;

use quern::catalog::Rights;
use quern::database::{Database, Options};
use quern::proc::ComponentRequest;
use quern::run::RunRequest;
use quern::storage::{RunFilter, RunState};

use crate::support::components::component;
use crate::support::latency::{End, ended, wait_of_many, waits};
use crate::support::repeats;

/// Longest wait that is asked for in `make soak`, where the machine is quiet.
const P99: Duration = Duration::from_millis(20);

fn database(folder: &tempfile::TempDir) -> Database {
    let database = Database::open(folder.path(), &Options { cores: Some(2), ..Options::default() }).unwrap();
    database.create(&ComponentRequest::new("evil"), component("tests/evil/hostile"), &Rights::owner()).unwrap();
    database
}

#[test]
fn a_run_ends_soon_after_its_kill_and_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let tries = u32::try_from(repeats(3, 200)).unwrap();
    let size = repeats(1024, 4096).to_string();
    for (what, request) in [
        ("guest code", RunRequest::new("loops_forever")),
        ("calls of the host", RunRequest::new("calls_forever")),
        ("small tensors", RunRequest::new("computes_forever").param("size", "100")),
        ("large products", RunRequest::new("computes_forever").param("size", size.as_str())),
    ] {
        for end in [End::Kill, End::Deadline] {
            let waits = waits(&database, &request, tries, end);
            println!(
                "{what}, {end:?}: median {:?}, p99 {:?}, longest {:?}",
                waits.median(),
                waits.p99(),
                waits.longest()
            );
            let allowed = if tries >= 200 { P99 } else { Duration::from_secs(2) };
            assert!(waits.p99() <= allowed, "{what}, {end:?}: {:?}", waits.p99());
        }
    }
}

#[test]
fn many_runs_end_soon_after_one_kill() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let waited = wait_of_many(&database, &RunRequest::new("loops_forever"), 64);
    println!("64 runs: {waited:?}");
    let allowed = if repeats(0, 1) == 1 { Duration::from_millis(200) } else { Duration::from_secs(10) };
    assert!(waited <= allowed, "{waited:?}");
}

#[test]
fn a_flood_of_lines_and_points_is_kept_within_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let request = RunRequest::new("shouts_forever").limit("log_lines", 50).unwrap();
    let request = request.limit("metric_points", 60).unwrap().limit("deadline_ms", 300).unwrap();
    let run = database.execute(request).unwrap();
    let status = ended(&database, run);
    assert_eq!(status.state, RunState::Killed);
    let lines = database.logs(run, 0, 1000).unwrap();
    assert!((50..=51).contains(&lines.len()), "{}", lines.len());
    let last = &lines.last().unwrap().text;
    assert!(last.ends_with(" earlier lines were dropped (limit log_lines 50)"), "{last}");
    // Names and texts that are SQL are texts, here and in the catalog.
    let run = database.execute(RunRequest::new("injects").output("kept")).unwrap();
    assert_eq!(ended(&database, run).error, None);
    let results = database.results(run).unwrap().instances;
    let sql = "'; DROP TABLE quern_run; --";
    assert!(results.iter().any(|r| r.name == sql && r.text.as_deref() == Some(sql)), "{results:?}");
    assert_eq!(database.runs(&RunFilter::default()).unwrap().len(), 2);
}
