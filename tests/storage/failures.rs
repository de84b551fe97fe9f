//! Processes that are killed while they commit, and changes that come to nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quern::base::{Error, Sharding};
use quern::storage::AppendTo;

use super::sample::{all, counted, open, schema};

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

/// Number of data files in a folder.
fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let parquet = |path: &Path| usize::from(path.extension().is_some_and(|extension| extension == "parquet"));
    entries.map(|path| if path.is_dir() { files(&path) } else { parquet(&path) }).sum()
}

#[test]
fn a_dropped_or_failed_change_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..100))]).unwrap();
    write.commit().unwrap();
    let before = files(folder.path());
    let mut write = storage.begin();
    write.append("t", AppendTo::Shard(1), [Ok(counted(&schema, 0..9))]).unwrap();
    assert_eq!(files(folder.path()), before + 1);
    drop(write);
    assert_eq!(files(folder.path()), before);
    // An append that fails leaves nothing, while the rest of the change goes on.
    let mut write = storage.begin();
    let torn = [Ok(counted(&schema, 0..20_000)), Err(Error::Invalid("the source broke".into()))];
    assert_eq!(write.append("t", AppendTo::Deal, torn).unwrap_err().to_string(), "the source broke");
    assert_eq!(write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..0))]).unwrap(), 0);
    write.commit().unwrap();
    assert_eq!(files(folder.path()), before);
    assert_eq!(all(&storage, "t").num_rows(), 100);
}
