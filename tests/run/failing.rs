//! Runs while the disk refuses, and kills that come too late.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use quern::base::{Limits, RunId, Sharding};
use quern::catalog::Catalog;
use quern::run::{Request, Runs, Target};
use quern::storage::{CheckpointBounds, CheckpointRecord, Disk, FileLayer, NewFile, RunFilter, RunState, Storage};

use super::fixture::{Folder, declare_square, square};

/// Asked before each write, with its kind.
type Guard = dyn Fn(&str) -> io::Result<()> + Send;

/// The disk behind a guard.
#[derive(Clone)]
struct Guarded(Arc<Mutex<Box<Guard>>>);

impl Guarded {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::new(|_| Ok(())))))
    }

    fn set(&self, guard: impl Fn(&str) -> io::Result<()> + Send + 'static) {
        *self.0.lock().unwrap() = Box::new(guard);
    }

    fn ask(&self, kind: &str) -> io::Result<()> {
        self.0.lock().unwrap()(kind)
    }
}

impl FileLayer for Guarded {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.ask("create")?;
        Disk.create(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.ask("make folder")?;
        Disk.make_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.ask("sync folder")?;
        Disk.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn step(&self, name: &'static str) -> io::Result<()> {
        self.ask(name)
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space")
}

/// A folder whose proc `square` calls `during` in its first instance.
fn folder(files: &Guarded, during: impl Fn() + Send + Sync + 'static) -> Folder {
    let folder = Folder::with_files(&Limits::default(), Arc::new(files.clone()));
    folder.proc("maths", declare_square, move |instance| {
        if instance.descriptor.shard == 0 {
            during();
        }
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1, 2], &[3]]);
    folder
}

fn request(output: &str) -> Request {
    Request::new("square").input("t").output(output)
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
    folder.runs.close();

    let storage = Storage::open(folder.storage.folder(), Arc::new(Disk)).unwrap();
    assert_eq!(storage.run(id).unwrap().state, RunState::Running);
    let scripts = Arc::new(folder.scripts.clone());
    let runs = Runs::open(&storage, &Catalog::new(storage.clone()), scripts, &Limits::default()).unwrap();
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
                let answer = killing.get().unwrap().kill(&Target::Run(RunId(1)), None);
                said.lock().unwrap().push(answer.unwrap_err().to_string());
            }
            Ok(())
        });
    });
    runs.set(folder.runs.clone()).ok().unwrap();
    let id = folder.runs.execute(request("out")).unwrap();
    let status = folder.wait(id);
    assert_eq!((status.run.state, status.run.error), (RunState::Complete, None));
    assert_eq!(*answers.lock().unwrap(), ["run 1 is ending and can no longer be killed"]);
    assert_eq!(folder.sorted("out"), [1, 4, 9]);
}
