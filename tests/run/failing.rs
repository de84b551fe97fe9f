//! Runs while the disk refuses, and kills that come too late.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quern::base::{Limits, RunId, Sharding};
use quern::catalog::Catalog;
use quern::run::{KillTarget, RunRequest, Runs};
use quern::storage::{CheckpointBounds, CheckpointRecord, Disk, RunFilter, RunState, Storage};

use super::fixture::{Folder, PATIENCE, declare_square, square};
use crate::support::guarded::Guarded;

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space")
}

/// A folder whose proc `square` calls `during` in its first instance.
fn folder(files: &Guarded, during: impl Fn() + Send + Sync + 'static) -> Folder {
    let folder = Folder::with_files(&Limits::default(), Arc::new(files.clone()));
    folder.proc("maths", declare_square, move |instance| {
        if instance.descriptor.task.instance == 0 {
            during();
        }
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1, 2], &[3]]);
    folder
}

fn request(output: &str) -> RunRequest {
    RunRequest::new("square").input("t").output(output)
}

#[test]
fn a_write_that_fails_fails_the_run_and_nothing_of_it_is_there() {
    let files = Guarded::new();
    let (armed, failed) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Vec::new())));
    let (arm, seen) = (Arc::clone(&armed), Arc::clone(&failed));
    let next = Arc::new(Mutex::new(0));
    let place = Arc::clone(&next);
    let folder = folder(&files, move || *arm.lock().unwrap() = Some(*place.lock().unwrap()));
    files.set(move |kind| {
        let mut left = armed.lock().unwrap();
        match left.as_mut() {
            Some(0) => {
                *left = None;
                seen.lock().unwrap().push(kind.to_owned());
                Err(full())
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    });
    for place in 0..100 {
        *next.lock().unwrap() = place;
        let output = format!("out{place}");
        let failures = failed.lock().unwrap().len();
        let id = folder.runs.execute(request(&output)).unwrap();
        let status = folder.wait(id);
        if failed.lock().unwrap().len() == failures {
            assert_eq!((status.run.state, folder.sorted(&output)), (RunState::Complete, vec![1, 4, 9]));
            let kinds = failed.lock().unwrap();
            assert!(
                ["create", "sync folder", "begin", "tables", "records", "commit"]
                    .iter()
                    .all(|k| kinds.iter().any(|f| f == k))
            );
            return;
        }
        if status.run.state == RunState::Complete {
            // Only the time of its end could not be noted, after its commit.
            assert_eq!(folder.sorted(&output), [1, 4, 9]);
            continue;
        }
        let error = status.run.error.unwrap();
        assert!(error.starts_with("the disk is full: "), "{error}");
        assert_eq!(status.run.state, RunState::Error);
        assert!(!folder.has_table(&output));
        assert_eq!(folder.storage.run(id).unwrap().state, RunState::Error);
    }
    panic!("the commit never got through");
}

#[test]
fn a_checkpoint_that_cannot_be_kept_leaves_no_file() {
    let files = Guarded::new();
    let folder = Folder::with_files(&Limits::default(), Arc::new(files.clone()));
    let record = CheckpointRecord {
        run: RunId(1),
        shard: 0,
        name: "a".to_owned(),
        file: String::new(),
        sha256: String::new(),
        size_bytes: 3,
        created_us: 0,
    };
    let keep = || folder.storage.keep_checkpoint(&record, b"abc", CheckpointBounds { per_name: 2, bytes: 100 });
    let count = || std::fs::read_dir(folder.storage.folder().join("checkpoints")).unwrap().count();
    keep().unwrap();
    for failing in ["sync folder", "begin", "records", "commit"] {
        files.set(move |kind| if kind == failing { Err(full()) } else { Ok(()) });
        let error = keep().unwrap_err().to_string();
        assert!(error.starts_with("the disk is full: "), "{failing}: {error}");
        assert_eq!(count(), 1, "{failing}");
    }
    files.set(|_| Ok(()));
    keep().unwrap();
    assert_eq!((count(), folder.storage.checkpoints(None).unwrap().len()), (2, 2));
}

#[test]
fn runs_whose_end_cannot_be_stored_take_no_room_in_the_queue() {
    let files = Guarded::new();
    let breaking = files.clone();
    let limits = Limits { queued_runs: 1, ..Limits::default() };
    let folder = Folder::with_files(&limits, Arc::new(files.clone()));
    folder.proc("maths", declare_square, move |instance| {
        breaking.set(|_| Err(full()));
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1]]);
    let id = folder.runs.execute(request("out")).unwrap();
    assert_eq!(folder.wait(id).run.state, RunState::Error);
    files.set(|_| Ok(()));
    let next = folder.runs.execute(request("out")).unwrap();
    assert_eq!(next, RunId(2));
    folder.wait(next);
}

#[test]
fn a_failure_that_cannot_be_stored_is_told_now_and_known_at_the_next_open() {
    let files = Guarded::new();
    let breaking = files.clone();
    let folder = folder(&files, move || breaking.set(|_| Err(full())));
    let id = folder.runs.execute(request("out")).unwrap();
    let told = folder.wait(id);
    let error = told.run.error.clone().unwrap();
    assert_eq!(told.run.state, RunState::Error);
    assert!(
        error.contains("what was committed before is safe; this could not be stored: the disk is full: "),
        "{error}"
    );
    assert_eq!(folder.runs.status(id).unwrap().run, told.run);
    assert_eq!(folder.runs.list(&RunFilter::default()).unwrap()[0], told.run);
    assert_eq!(folder.runs.active(), 0);
    assert!(folder.runs.close(PATIENCE.unwrap()));

    let storage = Storage::open(folder.storage.folder(), Arc::new(Disk)).unwrap();
    assert_eq!(storage.run(id).unwrap().state, RunState::Running);
    let runs =
        Runs::open(&storage, &Catalog::new(storage.clone()), folder.scripts.backend(), &Limits::default()).unwrap();
    assert_eq!(runs.status(id).unwrap().run.state, RunState::Error);
    assert!(storage.snapshot().unwrap().table("out").is_err());
}

#[test]
fn a_kill_during_the_commit_comes_too_late() {
    let files = Guarded::new();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let runs: Arc<OnceLock<Runs>> = Arc::default();
    let (inside, said, killing) = (files.clone(), Arc::clone(&answers), Arc::clone(&runs));
    let folder = folder(&files, move || {
        let (said, killing) = (Arc::clone(&said), Arc::clone(&killing));
        inside.set(move |kind| {
            if kind == "commit" {
                let answer = killing.get().unwrap().kill(&KillTarget::Run(RunId(1)), None);
                said.lock().unwrap().push(answer.unwrap_err().to_string());
            }
            Ok(())
        });
    });
    runs.set(folder.runs.clone()).ok().unwrap();
    let id = folder.runs.execute(request("out")).unwrap();
    let status = folder.wait(id);
    assert_eq!((status.run.state, status.run.error), (RunState::Complete, None));
    // The second commit notes when the first was done.
    assert_eq!(*answers.lock().unwrap(), ["run 1 is ending and can no longer be killed"; 2]);
    assert_eq!(folder.sorted("out"), [1, 4, 9]);
}

#[test]
fn the_time_of_a_commit_includes_its_transaction() {
    let files = Guarded::new();
    let slow = files.clone();
    let folder = folder(&files, move || {
        slow.set(|kind| {
            if kind == "commit" {
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(())
        });
    });
    let id = folder.runs.execute(request("out")).unwrap();
    let told = folder.wait(id).run;
    assert!(told.finished_us.unwrap() - told.committing_us.unwrap() >= 200_000, "{told:?}");
    assert_eq!(folder.storage.run(id).unwrap(), told, "the same is stored");
}

#[test]
fn a_record_that_nobody_waited_for_and_that_was_lost_is_a_line_of_the_run_s_log() {
    let files = Guarded::new();
    let (go, began) = channel::<()>();
    let began = Mutex::new(began);
    let folder = folder(&files, move || began.lock().unwrap().recv().unwrap());
    let (entered, inside) = channel();
    let (release, released) = channel::<()>();
    let failing = AtomicBool::new(false);
    let holding = AtomicBool::new(true);
    let appending = folder.storage.clone();
    files.set(move |kind| match kind {
        // The commit of somebody else is held while the run is handed in, and its
        // record is lost by whoever commits it then.
        "commit" if holding.swap(false, Ordering::SeqCst) => {
            entered.send(()).unwrap();
            failing.store(true, Ordering::SeqCst);
            released.recv().map_err(io::Error::other)
        }
        "begin" if failing.swap(false, Ordering::SeqCst) => Err(full()),
        _ => Ok(()),
    });
    let id = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut write = appending.begin();
            write.truncate("t").unwrap();
            write.commit().unwrap();
        });
        inside.recv().unwrap();
        let id = folder.runs.execute(request("out")).unwrap();
        release.send(()).unwrap();
        id
    });
    go.send(()).unwrap();
    assert_eq!(folder.wait(id).run.state, RunState::Complete);
    let lines = folder.runs.logs(id, 0, 10).unwrap();
    let lost = "that the run is queued could not be stored: the disk is full: ";
    let first = &lines[0];
    assert!(first.level == "warn" && first.text.starts_with(lost), "{lines:?}");
    assert_eq!(folder.storage.logs(id, 0, 10).unwrap(), lines);
    let told = folder.storage.run(id).unwrap().warning.unwrap_or_default();
    assert!(told.starts_with(&first.text), "`run show` tells it too: {told}");
    // Its number is not given again.
    assert_eq!(folder.storage.next_run(), RunId(2));
}

#[test]
fn many_queued_runs_are_killed_by_one_commit() {
    let files = Guarded::new();
    let limits = Limits { running_instances: 1, ..Limits::default() };
    let folder = Folder::with_files(&limits, Arc::new(files.clone()));
    folder.proc("maths", declare_square, |instance| {
        instance.link.kill.sleep(Duration::from_secs(60))?;
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1]]);
    let ids: Vec<RunId> = (0..500).map(|_| folder.runs.execute(request("out")).unwrap()).collect();
    let commits = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&commits);
    files.set(move |kind| {
        *counted.lock().unwrap() += usize::from(kind == "commit");
        Ok(())
    });
    assert_eq!(folder.runs.kill(&KillTarget::All, Some("a test")).unwrap(), ids);
    let commits = *commits.lock().unwrap();
    assert!(commits <= 5, "{commits} commits");
    for id in &ids {
        let run = folder.wait(*id).run;
        assert_eq!((run.state, run.error.as_deref()), (RunState::Killed, Some("the run was killed by a test")));
        assert_eq!(folder.storage.run(*id).unwrap().state, RunState::Killed);
    }
    assert_eq!(folder.runs.active(), 0);
}
