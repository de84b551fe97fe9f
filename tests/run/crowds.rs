//! Many runs at once: how quickly they are done, who waits, what is answered meanwhile.

use std::time::{Duration, Instant};

use quern::base::{Limits, RunId, Sharding};
use quern::run::{KillTarget, RunRequest, Sweep};
use quern::storage::{RunFilter, RunState};

use super::database::Database;
use super::fixture::{Folder, declare_square, square};
use crate::support::{repeats, syncs_per_second};

#[test]
fn runs_that_are_submitted_together_are_done_together() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    let runs = repeats(200, 1000);
    database.run(RunRequest::new("empty"));
    let begun = Instant::now();
    let ids: Vec<RunId> = (0..runs).map(|_| database.runs.execute(RunRequest::new("empty")).unwrap()).collect();
    for id in &ids {
        assert_eq!(database.ended(*id).run.state, RunState::Complete);
    }
    let took = begun.elapsed();
    let syncs = syncs_per_second(database.folder());
    println!(
        "{runs} runs of an empty proc, submitted together: {took:.2?}, durable; the disk syncs {syncs:.0} times a second"
    );
    // Every final state was stored before it was told.
    for id in ids {
        assert_eq!(database.storage.run(id).unwrap().state, RunState::Complete);
    }
    assert!(took < Duration::from_secs(repeats(20, 2)), "{took:?}");
}

#[test]
fn runs_that_create_the_same_table_at_once_all_find_their_rows_in_it() {
    let database = Database::new(&[("squares", "udfs/sum-of-squares")]);
    database.points("points", 2, 10);
    for round in 0..repeats(20, 200) {
        let output = format!("squares_{round}");
        let request = || RunRequest::new("sum_of_squares").input("points").output(&output);
        let ids: Vec<RunId> = (0..8).map(|_| database.runs.execute(request()).unwrap()).collect();
        for id in ids {
            assert_eq!(database.ended(id).run.error, None);
        }
        assert_eq!(database.storage.snapshot().unwrap().table(&output).unwrap().rows, 80);
    }
}

#[test]
fn a_long_history_does_not_slow_the_list_of_runs() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    let first = database.run(RunRequest::new("empty")).run;
    let list = || {
        let begun = Instant::now();
        let filter = RunFilter { limit: Some(20), ..RunFilter::default() };
        assert!(database.runs.list(&filter).unwrap().len() <= 20);
        begun.elapsed()
    };
    let best = || (0..50).map(|_| list()).min().unwrap();
    let before = best();
    let runs = repeats(2000, 10_000);
    let mut write = database.storage.begin();
    for id in 0..runs {
        write.put_run(quern::storage::RunRecord { id: RunId(100 + id), ..first.clone() });
    }
    write.commit().unwrap();
    let after = best();
    println!("the newest 20 runs of 1: {before:.1?}, of {runs}: {after:.1?}");
    assert!(after < before * 5 + Duration::from_millis(2), "{before:?} {after:?}");
}

#[test]
fn sixty_four_runs_at_once_all_end_and_status_is_answered_meanwhile() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.images("training", 2, 200);
    let request = |i: u64| {
        let request = RunRequest { seed: Some(i), ..RunRequest::new("train") };
        let request = request.input("training").output("models").param("epochs", "3").param("batch", "20");
        request.param("hidden", "32").param("checkpoint_every", "0")
    };
    let begun = Instant::now();
    let ids: Vec<RunId> = (0..64).map(|i| database.runs.execute(request(i)).unwrap()).collect();
    let mut longest = Duration::ZERO;
    while database.runs.active() > 0 {
        let asked = Instant::now();
        for id in ids.iter().step_by(9) {
            database.runs.status(*id).unwrap();
        }
        longest = longest.max(asked.elapsed() / 8);
        assert!(begun.elapsed() < Duration::from_secs(120), "they do not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    for id in &ids {
        assert_eq!(database.ended(*id).run.error, None);
    }
    let (took, models) = (begun.elapsed(), database.storage.models().unwrap().len());
    println!("64 trainings at once: {took:.2?}; the longest wait for a status: {longest:.2?}");
    assert_eq!(models, 64);
    assert!(longest < Duration::from_millis(repeats(200, 50)), "{longest:?}");
}

#[test]
fn a_sweep_is_one_tag_with_a_summary() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    let point = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let execute = |request| database.runs.execute(request);
    let request =
        RunRequest { tag: Some("sizes".into()), ..RunRequest::new("big_result") }.limit("results_bytes", 15).unwrap();
    let points = ["1", "2", "11", "12", "3"].map(|bytes| point("bytes", bytes)).to_vec();
    let started = database.runs.sweep(Sweep { request: request.clone(), points }, execute).unwrap();
    assert_eq!((started.tag.as_str(), started.first, started.runs), ("sizes", RunId(1), 5));
    let mut status = started;
    while status.open > 0 {
        status = database.runs.wait_sweep("sizes", RunId(1), Duration::from_secs(10)).unwrap();
    }
    assert_eq!((status.runs, status.complete, status.failed, status.killed, status.models), (5, 3, 2, 0, 0));
    assert_eq!(status.errors.len(), 2);
    assert!(
        status.errors.iter().any(|error| error.starts_with("run 3: ") && error.contains("16 bytes asked")),
        "{status:?}"
    );
    // Where the proc has no such parameter, `seed` is the run's.
    let started = database
        .runs
        .sweep(Sweep { request: RunRequest::new("empty"), points: vec![point("seed", "7")] }, execute)
        .unwrap();
    assert!(started.tag.starts_with("sweep-"), "{started:?}");
    assert_eq!(database.ended(started.first).run.seed, 7);
    // What one run would be refused for starts none.
    for (points, message) in [
        (
            vec![point("bytes", "1"), point("bytes", "x")],
            "parameter `bytes` takes a whole number, for example 10, not `x`",
        ),
        (vec![point("byte", "1")], "no parameter `byte` in proc `big_result`; did you mean `bytes`?"),
    ] {
        let request = RunRequest { tag: None, ..request.clone() };
        let error = database.runs.sweep(Sweep { request, points }, execute).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert_eq!(database.runs.list(&RunFilter::default()).unwrap().len(), 6);
    assert_eq!(database.runs.kill(&KillTarget::All, None).unwrap(), []);
}

#[test]
fn a_sweep_that_is_refused_midway_has_executed_nothing() {
    let folder = Folder::with_limits(&Limits { queued_runs: 4, ..Limits::default() });
    folder.proc("maths", declare_square, square);
    folder.table("t", Sharding::Random, &[&[1, 2, 3]]);
    let request = RunRequest { tag: Some("all".into()), ..RunRequest::new("square") }.input("t").output("out");
    let sweep = |runs: u64| Sweep {
        request: request.clone(),
        points: (1..=runs).map(|seed| vec![("seed".to_owned(), seed.to_string())]).collect(),
    };
    // There is room for four: nothing is queued of five.
    let error = folder.runs.sweep(sweep(5), |request| folder.runs.execute(request)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "limit `queued_runs`: 5 runs asked, 4 runs allowed; \
         it holds for the whole folder; raise it with --folder-limit queued_runs=N where the folder is opened"
    );
    assert_eq!(folder.runs.list(&RunFilter::default()).unwrap(), []);

    // The table goes away after the second: both had places, and did not begin.
    let error = folder
        .runs
        .sweep(sweep(4), |submission| {
            if submission.request.seed == Some(3) {
                std::thread::sleep(Duration::from_millis(50));
                let mut write = folder.storage.begin();
                write.drop_table("t")?;
                write.commit()?;
            }
            folder.runs.execute(submission)
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "run 3 of the 4 of the sweep was refused: no table `t`; \
         those queued before it were killed before they began"
    );
    let runs = folder.runs.list(&RunFilter::default()).unwrap();
    let ends: Vec<_> = runs.iter().map(|run| (run.id.0, run.state, run.started_us, run.error.as_deref())).collect();
    let why = Some("the run was killed by its sweep: run 3 of 4 could not be queued");
    assert_eq!(ends, [(2, RunState::Killed, None, why), (1, RunState::Killed, None, why)]);
    assert_eq!(folder.runs.active(), 0);
    assert!(folder.storage.snapshot().unwrap().table("out").is_err());

    // The next one begins as ever.
    folder.table("t", Sharding::Random, &[&[1, 2, 3]]);
    let started = folder.runs.sweep(sweep(2), |request| folder.runs.execute(request)).unwrap();
    assert_eq!((started.first, started.runs), (RunId(3), 2));
    for id in [3, 4] {
        assert_eq!(folder.wait(RunId(id)).run.error, None);
    }
    assert_eq!(folder.sorted("out"), [1, 1, 4, 4, 9, 9]);
}
