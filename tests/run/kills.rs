//! A kill or a deadline ends guests, calls of the host and tensor work soon.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use quern::database::{Database, Options};
use quern::proc::Creation;
use quern::run::Request;

use super::database::component;
use super::latency::{End, wait_of_many, waits};
use crate::support::repeats;

/// Longest wait that is asked for in `make soak`, where the machine is quiet.
const P99: Duration = Duration::from_millis(20);

fn database(folder: &tempfile::TempDir) -> Database {
    let database = Database::open(folder.path(), &Options { cores: Some(2) }).unwrap();
    database.create(&Creation::new("evil"), &component("tests/evil/hostile")).unwrap();
    database
}

#[test]
fn a_run_ends_soon_after_its_kill_and_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let database = database(&folder);
    let tries = u32::try_from(repeats(3, 200)).unwrap();
    let size = repeats(1024, 4096).to_string();
    for (what, request) in [
        ("guest code", Request::new("loops_forever")),
        ("calls of the host", Request::new("calls_forever")),
        ("small tensors", Request::new("computes_forever").param("size", "100")),
        ("large products", Request::new("computes_forever").param("size", size.as_str())),
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
    let waited = wait_of_many(&database, &Request::new("loops_forever"), 64);
    println!("64 runs: {waited:?}");
    let allowed = if repeats(0, 1) == 1 { Duration::from_millis(200) } else { Duration::from_secs(10) };
    assert!(waited <= allowed, "{waited:?}");
}
