//! What surrounds runs costs little: temporary tables of many runs go in one commit,
//! and requests for start-up disturb neither each other nor the machine.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use quern::base::{Error, Result, RunId, Sharding};
use quern::catalog::Rights;
use quern::run::{InputRef, KillTarget, RunRequest, Submission, Sweep, TEMPORARY};
use quern::storage::RunState;

use super::fixture::{Folder, declare_square, input, made, square};

/// A run of `square` whose input is a table of its own, as those of filters are.
fn submission(folder: &Folder, number: u64) -> Submission {
    let table = format!("{TEMPORARY}{number:032x}");
    folder.table(&table, Sharding::Random, &[&[2, 3]]);
    let mut submission = Submission::from(RunRequest::new("square").input("t").output("o"));
    submission.request.tag = Some("many".to_owned());
    submission.stored_inputs.insert(0, table);
    submission
}

fn snapshot(folder: &Folder) -> u64 {
    folder.storage.snapshot().unwrap().id.0
}

fn temporary_tables(folder: &Folder) -> usize {
    folder.storage.snapshot().unwrap().tables().filter(|table| table.name.starts_with(TEMPORARY)).count()
}

#[test]
fn the_tables_of_queued_runs_that_are_killed_go_in_one_commit() {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1]]);
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    folder.proc("square", declare_square, move |instance| {
        wait.lock().unwrap().recv().unwrap();
        Ok(made(instance, &input(instance, 0)))
    });
    folder.catalog.set_max_concurrency("square", "square", Some(1)).unwrap();
    let first = folder.runs.execute(RunRequest::new("square").input("t").output("o")).unwrap();
    for number in 0..20 {
        folder.runs.execute(submission(&folder, number)).unwrap();
    }
    let before = snapshot(&folder);
    assert_eq!(folder.runs.kill(&KillTarget::Tag("many".to_owned()), None).unwrap().len(), 20);
    assert_eq!((snapshot(&folder) - before, temporary_tables(&folder)), (1, 0));
    go.send(()).unwrap();
    assert_eq!(folder.wait(first).run.state, RunState::Complete);
}

#[test]
fn the_table_of_a_run_that_completes_goes_with_its_outputs() {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1]]);
    folder.proc("square", declare_square, square);
    let submission = submission(&folder, 1);
    let before = snapshot(&folder);
    let run = folder.runs.execute(submission).unwrap();
    assert_eq!(folder.wait(run).run.state, RunState::Complete);
    assert_eq!((snapshot(&folder) - before, temporary_tables(&folder)), (1, 0));
    assert_eq!(folder.sorted("o"), [4, 9]);
}

#[test]
fn a_sweep_that_is_refused_midway_is_taken_back_in_one_commit() {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1]]);
    folder.proc("square", declare_square, square);
    let request = RunRequest::new("square").input("t").output("o");
    let points = (0..20).map(|seed| vec![("seed".to_owned(), seed.to_string())]).collect();
    let (asked, before) = (AtomicU64::new(0), AtomicU64::new(0));
    let refused = folder.runs.sweep(Sweep { request, points }, |mut one| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        if number == 15 {
            before.store(snapshot(&folder), Ordering::Relaxed);
            return Err(Error::Invalid("no room".to_owned()));
        }
        one.stored_inputs = submission(&folder, number).stored_inputs;
        folder.runs.execute(one)
    });
    assert_eq!(
        refused.unwrap_err().to_string(),
        "run 16 of the 20 of the sweep was refused: no room; those queued before it were killed before they began"
    );
    assert_eq!((snapshot(&folder) - before.load(Ordering::Relaxed), temporary_tables(&folder)), (1, 0));
}

#[test]
fn a_request_for_start_up_that_makes_the_host_panic_ends_alone() {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1]]);
    folder.proc("square", declare_square, square);
    for _ in 0..2 {
        folder.runs.add_startup(RunRequest::new("square").input("t").output("o"), &Rights::owner()).unwrap();
    }
    let execute = |request: RunRequest, _: &quern::device::KillSwitch| -> Result<RunId> {
        match folder.runs.startups()?.iter().all(|startup| startup.last_error.is_none()) {
            true => panic!("as the test wants it"),
            false => folder.runs.execute(request),
        }
    };
    folder.runs.start_up(&|| true, &execute).unwrap();
    let told: Vec<_> =
        folder.runs.startups().unwrap().into_iter().map(|startup| (startup.last_run, startup.last_error)).collect();
    let error = "internal fault: executing it ended in a panic, whose text the server has printed; please report it";
    assert_eq!(told, [(None, Some(error.to_owned())), (Some(RunId(1)), None)]);
}

#[test]
fn requests_for_start_up_that_read_rows_come_last_and_a_few_at_a_time() {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1]]);
    folder.proc("square", declare_square, square);
    let filtered = InputRef { table: "t".to_owned(), filter: Some("n > 0".to_owned()), ..InputRef::default() };
    let plain = RunRequest::new("square").input("t").output("o");
    for number in 0..11 {
        let inputs = if number == 5 { plain.inputs.clone() } else { vec![filtered.clone()] };
        folder.runs.add_startup(RunRequest { inputs, ..plain.clone() }, &Rights::owner()).unwrap();
    }
    let (running, most, order) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let execute = |request: RunRequest, _: &quern::device::KillSwitch| {
        order.lock().unwrap().push(request.inputs[0].filter.is_some());
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(RunId(1))
    };
    folder.runs.start_up(&|| true, &execute).unwrap();
    let order = order.into_inner().unwrap();
    assert_eq!((order.len(), order[0]), (11, false), "one that reads nothing first does not wait");
    assert!((2..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
}
