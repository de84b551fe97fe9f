//! Bounds per proc, instances that go on or are tried again, and what is said once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use quern::base::{Error, Limits, RunId, Sharding};
use quern::catalog::{Declarations, ProcChange, Rights};
use quern::proc::LogLevel;
use quern::run::{KillTarget, Made, OnFailure, RunRequest};
use quern::storage::RunState;

use super::fixture::{Folder, declare_square, square};
use crate::support::backend::UNREADY;

fn declare_idle(declarations: &mut Declarations) {
    declarations.proc("idle", "nondistributed", "").unwrap();
}

fn folder(
    shards: &[&[i64]],
    script: impl Fn(&super::fixture::Instance<'_>) -> quern::base::Result<Made> + Send + Sync + 'static,
) -> Folder {
    let folder = Folder::new();
    folder.proc("maths", declare_square, script);
    folder.table("t", Sharding::Random, shards);
    folder
}

#[test]
fn a_bound_of_a_proc_holds_over_all_its_runs_and_leaves_others_alone() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
    let folder = folder(&[&[1], &[2], &[3], &[4]], move |instance| {
        highest.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let slept = instance.link.kill.sleep(Duration::from_millis(5));
        counted.fetch_sub(1, Ordering::SeqCst);
        slept?;
        square(instance)
    });
    folder.proc("idles", declare_idle, |_| Ok(Made::default()));
    folder.catalog.set_max_concurrency("maths", "square", Some(2)).unwrap();
    let request = |i: usize| RunRequest::new("square").input("t").output(format!("out{i}"));
    let runs: Vec<RunId> = (0..5).map(|i| folder.runs.execute(request(i)).unwrap()).collect();
    // A proc without a bound passes those that wait for theirs.
    let idle = folder.runs.execute(RunRequest::new("idle")).unwrap();
    assert_eq!(folder.wait(idle).run.error, None);
    assert!(!folder.runs.status(runs[4]).unwrap().run.state.is_final());
    for (i, id) in runs.iter().enumerate() {
        assert_eq!(folder.wait(*id).run.error, None);
        assert_eq!(folder.sorted(&format!("out{i}")), [1, 4, 9, 16]);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[test]
fn a_bound_that_is_lifted_reaches_the_runs_that_wait() {
    let both = Arc::new(Barrier::new(2));
    let folder = folder(&[&[1]], move |instance| {
        // Each run waits for the other, so one by one they would never end.
        both.wait();
        square(instance)
    });
    folder.runs.alter_proc(&Rights::owner(), "maths", "square", &[ProcChange::MaxConcurrency(Some(1))]).unwrap();
    let request = |i: usize| RunRequest::new("square").input("t").output(format!("out{i}"));
    let runs: Vec<RunId> = (0..2).map(|i| folder.runs.execute(request(i)).unwrap()).collect();
    assert_eq!(folder.runs.status(runs[1]).unwrap().run.state, RunState::Queued);
    folder.runs.alter_proc(&Rights::owner(), "maths", "square", &[ProcChange::MaxConcurrency(None)]).unwrap();
    for id in runs {
        assert_eq!(folder.wait(id).run.error, None);
    }
}

#[test]
fn a_wait_ends_in_time_while_the_run_talks_without_a_pause() {
    let folder = folder(&[&[1]], |instance| {
        while !instance.link.kill.is_thrown() {
            instance.link.observer.metric("m", 1, 0.5);
        }
        square(instance)
    });
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
    let watched = folder.runs.clone();
    // Without an end of its own the wait would last until this kill.
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(5));
        drop(watched.kill(&KillTarget::All, None));
    });
    let status = folder.runs.wait(id, Some(Duration::from_millis(50))).unwrap();
    assert!(!status.run.state.is_final(), "{status:?}");
    folder.runs.kill(&KillTarget::All, None).unwrap();
    folder.wait(id);
    drop(killer);
}

#[test]
fn a_run_whose_component_makes_the_host_fail_gives_its_place_back() {
    let folder = folder_of_one_place();
    let id = folder.runs.execute(RunRequest::new("unready")).unwrap();
    let told = folder.wait(id).run.error.unwrap();
    assert_eq!(told, "internal fault: run 1 made the host fail; please report it");
    let id = folder.runs.execute(RunRequest::new("idle")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
}

/// Procs `unready`, whose preparation panics, and `idle`; one instance at a time.
fn folder_of_one_place() -> Folder {
    let folder = Folder::with_limits(&Limits { running_instances: 1, ..Limits::default() });
    folder.proc(UNREADY, |d| d.proc("unready", "nondistributed", "").unwrap(), |_| Ok(Made::default()));
    folder.proc("idles", declare_idle, |_| Ok(Made::default()));
    folder
}

#[test]
fn runs_that_wait_for_their_proc_are_killed_in_the_queue() {
    let folder = folder(&[&[1]], |instance| {
        instance.link.kill.sleep(Duration::from_secs(60))?;
        square(instance)
    });
    folder.catalog.set_max_concurrency("maths", "square", Some(1)).unwrap();
    let request = |i: usize| RunRequest::new("square").input("t").output(format!("out{i}"));
    let runs: Vec<RunId> = (0..3).map(|i| folder.runs.execute(request(i)).unwrap()).collect();
    assert_eq!(folder.runs.kill(&KillTarget::Run(runs[1]), None).unwrap(), [runs[1]]);
    assert_eq!(folder.wait(runs[1]).run.started_us, None);
    assert_eq!(folder.runs.kill(&KillTarget::All, None).unwrap(), [runs[0], runs[2]]);
    for id in runs {
        assert_eq!(folder.wait(id).run.state, RunState::Killed);
    }
}

#[test]
fn a_run_that_keeps_going_reports_every_error_and_commits_nothing() {
    let folder = folder(&[&[1], &[2], &[3], &[4]], |instance| match instance.descriptor.task.instance {
        1 => Err(Error::Invalid("no luck".into())),
        3 => Err(Error::Invalid("no light".into())),
        _ => {
            instance.link.kill.sleep(Duration::from_millis(30))?;
            square(instance)
        }
    });
    let request = RunRequest::new("square").input("t").output("out");
    let id = folder.runs.execute(RunRequest { on_failure: OnFailure::KeepGoing, ..request }).unwrap();
    let status = folder.wait(id);
    assert_eq!(status.run.state, RunState::Error);
    assert_eq!(status.run.error.as_deref(), Some("2 of 4 instances failed: instance 1: no luck; instance 3: no light"));
    let states: Vec<RunState> = status.instances.iter().map(|instance| instance.state).collect();
    assert_eq!(states, [RunState::Complete, RunState::Error, RunState::Complete, RunState::Error]);
    assert_eq!(status.instances[3].message.as_deref(), Some("no light"));
    assert!(!folder.has_table("out"));
}

#[test]
fn an_instance_is_tried_again_after_a_fault_of_the_host_and_counts_once() {
    let tries = Arc::new(Mutex::new([0; 3]));
    let counted = Arc::clone(&tries);
    let folder = folder(&[&[1], &[2], &[3]], move |instance| {
        let shard = instance.descriptor.task.instance;
        let says = &instance.link.observer;
        says.result(&format!("try{}", counted.lock().unwrap()[shard as usize]), "1");
        says.metric("loss", 1, 0.5);
        says.log(LogLevel::Info, "begins");
        let mut tries = counted.lock().unwrap();
        tries[shard as usize] += 1;
        match (shard, tries[shard as usize]) {
            (1, 1 | 2) => Err(Error::Internal("the host stumbled".into())),
            _ => square(instance),
        }
    });
    let request = RunRequest::new("square").input("t").output("out");
    let id = folder.runs.execute(RunRequest { retries: 2, ..request.clone() }).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(*tries.lock().unwrap(), [1, 3, 1]);
    assert_eq!(folder.rows("out"), [[1], [4], [9]]);
    let results = folder.runs.results(id).unwrap().instances;
    let results: Vec<(u32, &str)> = results.iter().map(|r| (r.shard, r.name.as_str())).collect();
    assert_eq!(results, [(0, "try0"), (1, "try2"), (2, "try0")]);
    assert_eq!(folder.runs.metrics(id, 0, 100).unwrap().len(), 3);
    let logs = folder.runs.logs(id, 0, 100).unwrap();
    let said: Vec<&str> = logs.iter().filter(|l| l.shard == 1).map(|l| l.text.as_str()).collect();
    let again = |n| format!("instance 1 is tried again ({n} of 2): internal error: the host stumbled");
    assert_eq!(said.len(), 5);
    assert!(
        said[1].contains("tried again (1 of 2)") && said[3].contains("tried again (2 of 2)"),
        "{said:?} {}",
        again(1)
    );

    *tries.lock().unwrap() = [0; 3];
    let id = folder.runs.execute(RunRequest { retries: 1, ..request }).unwrap();
    let status = folder.wait(id);
    assert_eq!(status.run.state, RunState::Error);
    assert!(status.run.error.unwrap().contains("the host stumbled"));
    assert_eq!(folder.rows("out"), [[1], [4], [9]]);
}

#[test]
fn what_a_proc_does_wrong_is_not_tried_again() {
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let folder = folder(&[&[1]], move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(Error::Trap { proc: "square".into(), reason: "panicked".into() })
    });
    let request = RunRequest { retries: 5, ..RunRequest::new("square") }.input("t").output("out");
    let id = folder.runs.execute(request).unwrap();
    assert_eq!(folder.wait(id).run.error.as_deref(), Some("proc `square` stopped: panicked"));
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[test]
fn lines_that_were_dropped_are_told_once_also_when_a_commit_is_made_again() {
    let barrier = Arc::new(Barrier::new(2));
    let folder = folder(&[&[1]], move |instance| {
        for _ in 0..5 {
            instance.link.observer.log(LogLevel::Info, "so it goes");
        }
        barrier.wait();
        square(instance)
    });
    let request = RunRequest::new("square").input("t").output("out").limit("log_lines", 2).unwrap();
    let runs = [0, 1].map(|_| folder.runs.execute(request.clone()).unwrap());
    for id in runs {
        assert_eq!(folder.wait(id).run.error, None);
        let lines = folder.runs.logs(id, 0, 100).unwrap();
        let told = lines.iter().filter(|line| line.text.contains("earlier lines were dropped")).count();
        assert_eq!((lines.len(), told), (2, 1), "{lines:?}");
    }
    assert_eq!(folder.sorted("out"), [1, 1]);
}
