//! Queue, kill, deadline, status, logs, and runs whose process ended.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use quern::base::{Limits, RunId, Sharding};
use quern::catalog::{Catalog, Declarations, Rights};
use quern::proc::LogLevel;
use quern::run::{KillTarget, Made, RunRequest, Runs};
use quern::storage::{Disk, RunFilter, RunRecord, RunState, Storage};

use super::fixture::{Folder, PATIENCE, declare_square, square};
use crate::support::create_run;

/// A proc without tables that does `work` in each run.
fn declare_work(declarations: &mut Declarations) {
    declarations.proc("work", "nondistributed", "").unwrap();
    declarations.param("work", "name", "string", Some(""), "").unwrap();
}

fn limited(places: u64) -> Folder {
    Folder::with_limits(&Limits { running_instances: places, ..Limits::default() })
}

/// A folder where `work` waits until it is killed.
fn waiting(places: u64) -> Folder {
    let folder = limited(places);
    folder.proc("works", declare_work, |instance| {
        instance.link.kill.sleep(Duration::from_secs(60))?;
        Ok(Made::default())
    });
    folder
}

fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn state(folder: &Folder, id: RunId) -> RunState {
    folder.runs.status(id).unwrap().run.state
}

#[test]
fn no_more_instances_execute_at_the_same_time_than_there_are_places() {
    let folder = limited(3);
    folder.proc("maths", declare_square, |instance| {
        instance.link.kill.sleep(Duration::from_millis(3))?;
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1], &[2], &[3], &[4], &[5], &[6], &[7]]);
    let runs: Vec<RunId> = (0..5)
        .map(|i| folder.runs.execute(RunRequest::new("square").input("t").output(format!("out{i}"))).unwrap())
        .collect();
    for id in runs {
        assert_eq!(folder.wait(id).run.error, None);
    }
    assert_eq!(*folder.scripts.running.lock().unwrap(), (0, 3));
    assert!((0..5).all(|i| folder.sorted(&format!("out{i}")) == [1, 4, 9, 16, 25, 36, 49]));
}

#[test]
fn runs_leave_the_queue_in_the_order_they_came() {
    let folder = limited(1);
    let (sender, receiver) = channel();
    folder.proc("works", declare_work, move |instance| {
        sender.send(instance.descriptor.task.run).unwrap();
        Ok(Made::default())
    });
    let runs: Vec<RunId> = (0..20).map(|_| folder.runs.execute(RunRequest::new("work")).unwrap()).collect();
    assert_eq!(runs, (1..=20).map(RunId).collect::<Vec<_>>());
    for id in &runs {
        folder.wait(*id);
    }
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), runs);
}

#[test]
fn a_killed_run_ends_at_once_whether_it_runs_or_waits() {
    let folder = waiting(1);
    let running = folder.runs.execute(RunRequest::new("work")).unwrap();
    let queued = folder.runs.execute(RunRequest::new("work")).unwrap();
    until(|| state(&folder, running) == RunState::Running);
    assert_eq!(state(&folder, queued), RunState::Queued);
    let begun = Instant::now();
    assert_eq!(folder.runs.kill(&KillTarget::Run(queued), Some("anna")).unwrap(), [queued]);
    assert_eq!(folder.runs.kill(&KillTarget::Run(running), None).unwrap(), [running]);
    let (queued, running) = (folder.wait(queued), folder.wait(running));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((queued.run.state, queued.run.error.as_deref()), (RunState::Killed, Some("the run was killed by anna")));
    assert_eq!((queued.run.started_us, queued.instances.len()), (None, 0));
    assert_eq!((running.run.state, running.run.error.as_deref()), (RunState::Killed, Some("the run was killed")));
    let again = folder.runs.kill(&KillTarget::Run(RunId(1)), None).unwrap_err();
    assert_eq!(again.to_string(), "run 1 has ended already: killed");
    assert_eq!(folder.runs.kill(&KillTarget::Run(RunId(9)), None).unwrap_err().to_string(), "no run `9`");
}

#[test]
fn a_kill_reaches_instances_that_still_wait_for_a_place() {
    let folder = limited(2);
    folder.proc("maths", declare_square, |instance| {
        instance.link.kill.sleep(Duration::from_secs(60))?;
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1], &[2], &[3], &[4], &[5]]);
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
    until(|| folder.scripts.running.lock().unwrap().0 == 2);
    let states: Vec<RunState> = folder.runs.status(id).unwrap().instances.iter().map(|i| i.state).collect();
    assert_eq!(states[..2], [RunState::Running; 2]);
    assert_eq!(states[2..], [RunState::Queued; 3]);
    folder.runs.kill(&KillTarget::Run(id), None).unwrap();
    let status = folder.wait(id);
    assert!(status.instances.iter().all(|instance| instance.state == RunState::Killed));
    assert!(!folder.has_table("out"));
    assert_eq!(folder.scripts.running.lock().unwrap().1, 2);
}

#[test]
fn runs_are_killed_by_tag_and_all_together() {
    let folder = waiting(2);
    let request = |tag: Option<&str>| RunRequest { tag: tag.map(str::to_owned), ..RunRequest::new("work") };
    let ids = [Some("sweep"), None, Some("sweep")].map(|tag| folder.runs.execute(request(tag)).unwrap());
    assert_eq!(folder.runs.kill(&KillTarget::Tag("sweep".into()), None).unwrap(), [ids[0], ids[2]]);
    assert_eq!(folder.wait(ids[2]).run.state, RunState::Killed);
    assert_eq!(folder.wait(ids[0]).run.state, RunState::Killed);
    assert!(!state(&folder, ids[1]).is_final());
    assert_eq!(folder.runs.kill(&KillTarget::All, None).unwrap(), [ids[1]]);
    assert_eq!(folder.wait(ids[1]).run.state, RunState::Killed);
    assert_eq!(folder.runs.kill(&KillTarget::All, None).unwrap(), []);
}

#[test]
fn the_deadline_counts_from_the_end_of_the_queue_and_kills() {
    let folder = waiting(1);
    let request = |deadline_ms| RunRequest::new("work").limit("deadline_ms", deadline_ms).unwrap();
    let first = folder.runs.execute(request(150)).unwrap();
    let second = folder.runs.execute(request(100)).unwrap();
    assert_eq!(folder.wait(first).run.state, RunState::Killed);
    let status = folder.wait(second);
    assert_eq!(status.run.state, RunState::Killed);
    let error = status.run.error.unwrap();
    assert!(error.starts_with("limit `deadline_ms`: 1"), "{error}");
    assert!(error.ends_with(" ms asked, 100 ms allowed; raise it for one run with --limit deadline_ms=N"), "{error}");
    let lasted_us = status.run.finished_us.unwrap() - status.run.started_us.unwrap();
    assert!((95_000..5_000_000).contains(&lasted_us), "{lasted_us} µs");
}

#[test]
fn what_instances_say_is_seen_while_they_run_and_kept_afterwards() {
    let folder = Folder::new();
    folder.proc("works", declare_work, |instance| {
        let says = &instance.link.observer;
        says.status("epoch 1 of 2", Some(0.5));
        says.log(LogLevel::Info, "first");
        says.log(LogLevel::Warn, "second");
        says.metric("loss", 1, 0.25);
        says.metric("loss", 2, f64::NAN);
        says.result("rows", "12");
        says.result("rows", "13");
        instance.link.kill.sleep(Duration::from_secs(60)).ok();
        says.log(LogLevel::Error, "third");
        Ok(Made::default())
    });
    let id = folder.runs.execute(RunRequest::new("work").param("name", "x")).unwrap();
    until(|| folder.runs.results(id).unwrap().instances.iter().any(|r| r.text.as_deref() == Some("13")));
    let live = folder.runs.status(id).unwrap();
    assert_eq!((live.run.state, live.run.params.as_str()), (RunState::Running, "{\"name\":\"x\"}"));
    assert_eq!((live.instances[0].status.as_str(), live.instances[0].fraction), ("epoch 1 of 2", Some(0.5)));
    assert_eq!(live.instances[0].results, "{\"rows\":\"13\"}");
    assert_eq!(folder.runs.logs(id, 0, 10).unwrap().len(), 2);
    assert_eq!(
        folder.runs.list(&RunFilter { state: Some(RunState::Running), ..RunFilter::default() }).unwrap()[0].id,
        id
    );
    folder.runs.kill(&KillTarget::Run(id), None).unwrap();
    let ended = folder.wait(id);
    assert_eq!(ended.run.state, RunState::Killed);
    let stored = folder.runs.status(id).unwrap();
    assert_eq!(stored, ended);
    let lines: Vec<_> = folder.runs.logs(id, 1, 10).unwrap().into_iter().map(|l| (l.seq, l.level, l.text)).collect();
    assert_eq!(lines, [(2, "warn".to_owned(), "second".to_owned()), (3, "error".to_owned(), "third".to_owned())]);
    let points: Vec<_> =
        folder.runs.metrics(id, 0, 10).unwrap().into_iter().map(|p| (p.seq, p.step, p.value)).collect();
    assert_eq!(points[0], (1, 1, 0.25));
    assert!(points[1].0 == 2 && points[1].2.is_nan());
    assert_eq!(folder.runs.results(id).unwrap().instances[0].text.as_deref(), Some("13"));
}

#[test]
fn a_flood_of_log_lines_keeps_the_last_ones_and_says_so() {
    let folder = Folder::new();
    folder.proc("works", declare_work, |instance| {
        (0..1000).for_each(|i| instance.link.observer.log(LogLevel::Info, &format!("line {i}")));
        Ok(Made::default())
    });
    let request = RunRequest::new("work").limit("log_lines", 10).unwrap();
    let id = folder.runs.execute(request).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    let lines = folder.runs.logs(id, 0, 100).unwrap();
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[8].text, "line 999");
    assert_eq!(lines[9].text, "990 earlier lines were dropped (limit log_lines 10)");
}

#[test]
fn followers_are_woken_by_each_change_and_by_the_end() {
    let folder = Folder::new();
    let (go, gate) = channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    folder.proc("works", declare_work, move |instance| {
        gate.lock().unwrap().recv().unwrap();
        instance.link.observer.status("half", Some(0.5));
        gate.lock().unwrap().recv().unwrap();
        Ok(Made::default())
    });
    let id = folder.runs.execute(RunRequest::new("work")).unwrap();
    until(|| folder.runs.status(id).unwrap().instances.iter().any(|i| i.state == RunState::Running));
    let (seen, _) = folder.runs.follow(id, 0, Duration::ZERO).unwrap();
    let (same, _) = folder.runs.follow(id, seen, Duration::from_millis(20)).unwrap();
    assert_eq!(same, seen);
    go.send(()).unwrap();
    let (seen, status) = folder.runs.follow(id, seen, Duration::from_secs(20)).unwrap();
    assert_eq!(status.instances[0].status, "half");
    go.send(()).unwrap();
    let mut next = (seen, status);
    while !next.1.run.state.is_final() {
        next = folder.runs.follow(id, next.0, Duration::from_secs(20)).unwrap();
    }
    assert_eq!(next.1.run.state, RunState::Complete);
}

#[test]
fn results_of_instances_are_merged_as_declared() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("count", "distributed", "").unwrap();
        declarations.input("count", "rows", "").unwrap();
        for reducer in ["sum", "min", "max", "mean", "concat", "first"] {
            declarations.reducer("count", reducer, reducer).unwrap();
        }
        declarations.reducer("count", "share", "mean").unwrap();
        declarations.reducer("count", "odd", "sum").unwrap();
    };
    folder.proc("counts", declare, |instance| {
        let (says, shard) = (&instance.link.observer, instance.descriptor.task.instance);
        for name in ["sum", "min", "max", "mean", "concat", "first"] {
            says.result(name, &(shard + 1).to_string());
        }
        says.result("share", if shard == 0 { "0.5" } else { "1" });
        says.result("odd", if shard == 0 { "1" } else { "many" });
        Ok(Made::default())
    });
    folder.table("t", Sharding::Random, &[&[1], &[2], &[3]]);
    let id = folder.runs.execute(RunRequest::new("count").input("t")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    let merged = folder.runs.results(id).unwrap().merged;
    let merged: Vec<(&str, &str)> = merged.iter().map(|(name, value)| (name.as_str(), value.text().unwrap())).collect();
    assert_eq!(
        merged[..6],
        [("sum", "6"), ("min", "1"), ("max", "3"), ("mean", "2"), ("concat", "123"), ("first", "1")]
    );
    assert_eq!(merged[6].0, "share");
    assert!(merged[6].1.starts_with("0.83333"));
    assert_eq!(merged.len(), 7);
}

#[test]
fn seeds_are_drawn_recorded_and_can_be_given() {
    let folder = Folder::new();
    let (sender, receiver) = channel();
    folder.proc("works", declare_work, move |instance| {
        sender.send(instance.descriptor.task.seed).unwrap();
        Ok(Made::default())
    });
    for seed in [None, None, Some(u64::MAX)] {
        let id = folder.runs.execute(RunRequest { seed, ..RunRequest::new("work") }).unwrap();
        assert_eq!(folder.wait(id).run.seed, receiver.recv().unwrap());
    }
    let seeds: Vec<u64> = folder.runs.list(&RunFilter::default()).unwrap().iter().map(|run| run.seed).collect();
    assert_eq!(seeds[0], u64::MAX);
    assert_ne!(seeds[1], seeds[2]);
}

#[test]
fn runs_that_their_process_left_have_failed_at_the_next_open() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Storage::open(folder.path(), Arc::new(Disk)).unwrap();
    let record = |state| RunRecord {
        id: RunId(0),
        proc: "train".into(),
        component: "mnist".into(),
        sha256: String::new(),
        tag: None,
        user: "owner".into(),
        state,
        params: "{}".into(),
        inputs: "[]".into(),
        outputs: "[]".into(),
        snapshot: None,
        seed: 1,
        submitted_us: 1,
        started_us: None,
        component_owner: "owner".to_owned(),
        resume: None,
        warning: None,
        committing_us: None,
        finished_us: None,
        error: None,
        instances: 0,
    };
    let states = [RunState::Queued, RunState::Running, RunState::Complete];
    let ids = {
        let storage = open();
        states.map(|state| create_run(&storage, &record(state)))
    };
    let storage = open();
    let catalog = Catalog::new(storage.clone());
    let idle = Folder::new();
    let runs = Runs::open(&storage, &catalog, idle.scripts.backend(), &Limits::default()).unwrap();
    for id in &ids[..2] {
        let run = runs.status(*id).unwrap().run;
        assert_eq!(run.state, RunState::Error);
        assert_eq!(
            run.error.as_deref(),
            Some("the process that executed it ended first; nothing was committed, execute it again")
        );
        assert!(run.finished_us.is_some());
    }
    assert_eq!(runs.status(ids[2]).unwrap().run.state, RunState::Complete);
}

#[test]
fn closing_kills_what_runs_and_waits_for_it() {
    let folder = waiting(2);
    let ids: Vec<RunId> = (0..5).map(|_| folder.runs.execute(RunRequest::new("work")).unwrap()).collect();
    assert!(folder.runs.close(PATIENCE.unwrap()));
    for id in ids {
        let run = folder.storage.run(id).unwrap();
        assert_eq!(
            (run.state, run.error.as_deref()),
            (RunState::Killed, Some("the run was killed by the end of its process"))
        );
    }
    assert_eq!(folder.scripts.running.lock().unwrap().0, 0);
}

#[test]
fn closing_does_not_wait_for_what_ignores_its_kill() {
    let folder = limited(1);
    let (begins, has_begun) = channel::<()>();
    folder.proc("works", declare_work, move |_| {
        begins.send(()).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        Ok(Made::default())
    });
    let ids = [(); 2].map(|()| folder.runs.execute(RunRequest::new("work")).unwrap());
    has_begun.recv().unwrap();
    let begun = Instant::now();
    assert!(!folder.runs.close(Duration::from_millis(200)));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(ids.map(|id| state(&folder, id)), [RunState::Running, RunState::Killed]);
    assert!(folder.runs.close(PATIENCE.unwrap()));
    assert_eq!(ids.map(|id| state(&folder, id)), [RunState::Killed; 2]);
}

#[test]
fn a_kill_tells_which_runs_have_ended_and_which_cannot_yet() {
    let folder = limited(1);
    let (begins, has_begun) = channel::<()>();
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    folder.proc("works", declare_work, move |_| {
        begins.send(()).unwrap();
        // As a device that is waited for: it sees no kill.
        let _ = wait.lock().unwrap().recv();
        Ok(Made::default())
    });
    let [running, queued] = [(); 2].map(|()| folder.runs.execute(RunRequest::new("work")).unwrap());
    // Before its work an instance still looks at its kill switch, so `running` is too early.
    has_begun.recv().unwrap();
    let kill = || folder.runs.kill_and_wait(&Rights::owner(), &KillTarget::All, None).unwrap();
    let told: std::collections::BTreeMap<RunId, bool> =
        kill().into_iter().map(|killed| (killed.run, killed.has_ended)).collect();
    assert_eq!(told, [(running, false), (queued, true)].into());
    assert_eq!(state(&folder, running), RunState::Running);
    go.send(()).unwrap();
    assert_eq!(folder.wait(running).run.state, RunState::Killed);
}
