//! Whatever operation fails, and whether or not the machine goes down with it:
//! a commit is all there or not at all.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use quern::base::{Error, Result, RunId, Sharding, SnapshotId};
use quern::storage::{AppendTo, RunState, Storage};

use super::faults::{Faults, Mode};
use super::records::run_record;
use super::sample::{all, append, counted, numbers, open, schema};

/// Two tables with rows in files and in the catalog, and a run that waits.
fn prepare(folder: &Path, files: &Faults) -> Storage {
    let schema = schema(&[("id", "int64")]);
    let storage = Storage::open(folder, Arc::new(files.clone())).unwrap();
    let mut write = storage.begin();
    for name in ["t", "u"] {
        write.create_table(name, &schema, Sharding::Random, 2).unwrap();
        write.append(name, AppendTo::Shard(0), [Ok(counted(&schema, 0..100))]).unwrap();
    }
    write.create_table("w", &schema, Sharding::Random, 1).unwrap();
    write.append("w", AppendTo::Deal, [Ok(counted(&schema, 0..10_001))]).unwrap();
    write.commit().unwrap();
    append(&storage, "u", AppendTo::Deal, &counted(&schema, 100..110));
    assert_eq!(storage.create_run(&run_record("train")).unwrap(), RunId(1));
    storage
}

/// A commit that does everything at once.
fn change(storage: &Storage) -> Result<SnapshotId> {
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 100..3000))])?;
    write.append("t", AppendTo::Shard(1), [Ok(counted(&schema, 3000..3010))])?;
    write.delete_rows("t", &[1, 2])?;
    write.delete_rows("u", &[100, 3])?;
    write.append("u", AppendTo::Deal, [Ok(counted(&schema, 200..210))])?;
    write.create_table("v", &schema, Sharding::Key(vec!["id".into()]), 3)?;
    write.append("v", AppendTo::Deal, [Ok(counted(&schema, 0..30_000))])?;
    write.delete_rows("w", &(0..5000).collect::<Vec<u64>>())?;
    let mut run = run_record("train");
    (run.id, run.state) = (RunId(1), RunState::Complete);
    write.put_run(run);
    write.commit()
}

/// Whether the change is there; panics when a part of it is.
fn changed(storage: &Storage) -> bool {
    let (t, u) = (numbers(&all(storage, "t"), 0), numbers(&all(storage, "u"), 0));
    let complete = storage.run(RunId(1)).unwrap().state == RunState::Complete;
    let v = storage.snapshot().unwrap().table("v").is_ok();
    assert_eq!(all(storage, "w").num_rows(), if complete { 5001 } else { 10_001 });
    if complete {
        assert!(v);
        let mut ids = numbers(&all(storage, "v"), 0);
        ids.sort_unstable();
        assert_eq!(ids, (0..30_000).collect::<Vec<i64>>());
        assert_eq!(t, [0].into_iter().chain(3..3010).collect::<Vec<i64>>());
        assert_eq!(u, (0..3).chain(4..100).chain(101..110).chain(200..210).collect::<Vec<i64>>());
    } else {
        assert!(!v);
        assert_eq!(t, (0..100).collect::<Vec<i64>>());
        assert_eq!(u, (0..110).collect::<Vec<i64>>());
    }
    complete
}

/// Number of data files in a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(
            |path| if path.is_dir() { files(&path) } else { usize::from(path.to_string_lossy().ends_with(".parquet")) },
        )
        .sum()
}

#[test]
fn a_failure_at_any_operation_leaves_all_or_nothing() {
    for mode in [Mode::Once, Mode::Dead] {
        let mut failures = 0;
        for at in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let disk = Faults::new(None, mode);
            let storage = prepare(folder.path(), &disk);
            let before = files(folder.path());
            disk.arm(at);
            let outcome = change(&storage);
            if !disk.fired() {
                assert!(outcome.is_ok());
                break;
            }
            failures += 1;
            // The storage that saw the failure agrees with one opened after a power cut.
            assert!(outcome.is_err(), "operation {at}");
            assert!(!changed(&storage));
            drop(storage);
            disk.power_cut();
            let storage = open(folder.path());
            assert!(!changed(&storage));
            storage.sweep_orphans(Duration::ZERO).unwrap();
            assert_eq!(files(folder.path()), before, "operation {at}");
            change(&storage).unwrap();
            assert!(changed(&storage));
        }
        assert!(failures > 20, "{failures}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faults::new(None, Mode::Dead);
    let storage = prepare(folder.path(), &disk);
    change(&storage).unwrap();
    // The next change is under way when the power fails.
    disk.arm(5);
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    let lost = write.append("v", AppendTo::Deal, [Ok(counted(&schema, 0..50_000))]);
    assert!(lost.is_err());
    drop(write);
    drop(storage);
    disk.power_cut();
    assert!(changed(&open(folder.path())));
}

#[test]
fn rows_are_not_lost_when_moving_them_fails() {
    for at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let disk = Faults::new(None, Mode::Dead);
        let storage = prepare(folder.path(), &disk);
        disk.arm(at);
        let outcome = storage.flush_inlined("u");
        drop(storage);
        disk.power_cut();
        let storage = open(folder.path());
        assert!(!changed(&storage));
        if !disk.fired() {
            assert_eq!(outcome.unwrap(), 10);
            break;
        }
        assert!(outcome.is_err());
        assert_eq!(storage.flush_inlined("u").unwrap(), 10);
        assert!(!changed(&storage));
    }
}

#[test]
fn opening_can_fail_anywhere_and_succeed_later() {
    for at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let disk = Faults::new(Some(at), Mode::Dead);
        let outcome = Storage::open(&folder.path().join("a/b"), Arc::new(disk.clone()));
        if !disk.fired() {
            assert!(outcome.is_ok());
            break;
        }
        assert!(outcome.is_err());
        let storage = open(&folder.path().join("a/b"));
        assert_eq!(storage.snapshot().unwrap().tables().count(), 0);
    }
}

/// The folder that the child of the next test commits to.
const CHILD: &str = "QUERN_TEST_COMMITS_TO";

/// Rows of each of the child's commits, half of them to each table.
const CHILD_ROWS: i64 = 2000;

#[test]
fn commits_that_were_acknowledged_survive_a_kill() {
    if let Some(folder) = std::env::var_os(CHILD) {
        commit_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let mut write = open(folder.path()).begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.create_table("u", &schema, Sharding::Random, 2).unwrap();
    write.commit().unwrap();
    for kill_after in [1, 4, 9] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::failures::commits_that_were_acknowledged_survive_a_kill", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let last =
            lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<i64>().ok()).nth(kill_after).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let storage = open(folder.path());
        let [t, u] = ["t", "u"].map(|name| all(&storage, name).num_rows() as i64);
        assert_eq!(t, u);
        assert_eq!(t % (CHILD_ROWS / 2), 0);
        assert!(t >= (last + 1) * CHILD_ROWS / 2, "{t} rows after commit {last}");
        storage.sweep_orphans(Duration::ZERO).unwrap();
        assert_eq!(all(&storage, "u").num_rows() as i64, u);
    }
}

/// Commits to both tables again and again, and says so each time.
fn commit_for_ever(folder: &Path) -> ! {
    let storage = open(folder);
    let schema = schema(&[("id", "int64")]);
    let half = CHILD_ROWS / 2;
    let start = all(&storage, "t").num_rows() as i64 / half;
    for n in start.. {
        let mut write = storage.begin();
        write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, n * half..(n + 1) * half))]).unwrap();
        write.append("u", AppendTo::Deal, [Ok(counted(&schema, 0..half))]).unwrap();
        write.commit().unwrap();
        println!("\ncommitted {n}");
    }
    unreachable!("the parent ends this process")
}

#[test]
fn a_dropped_or_failed_change_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faults::new(None, Mode::Once);
    let storage = prepare(folder.path(), &disk);
    let before = files(folder.path());
    let mut write = storage.begin();
    write.append("t", AppendTo::Shard(1), [Ok(counted(&schema(&[("id", "int64")]), 0..9))]).unwrap();
    assert_eq!(files(folder.path()), before + 1);
    drop(write);
    assert_eq!(files(folder.path()), before);
    // An append that fails leaves nothing, while the rest of the change goes on.
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    let torn = [Ok(counted(&schema, 0..20_000)), Err(Error::Invalid("the source broke".into()))];
    assert_eq!(write.append("t", AppendTo::Deal, torn).unwrap_err().to_string(), "the source broke");
    assert_eq!(write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..0))]).unwrap(), 0);
    write.commit().unwrap();
    assert_eq!(files(folder.path()), before);
    assert!(!changed(&storage));
}
