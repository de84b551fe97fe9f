//! Small files become one: the same rows, in the same order, at every snapshot.

use std::path::Path;
use std::time::{Duration, Instant};

use quern::base::{Sharding, SnapshotId};
use quern::storage::{AppendTo, ScanOptions, Snapshot, Storage};

use super::duckdb;
use super::sample::{all, append, counted, create, numbers, open, read, row_ids, rows, schema};

/// A table of eight commits, each of 10 rows that were moved to a file. Nothing
/// is merged in the background before the next append.
fn eight_files(folder: &Path) -> (Storage, Vec<SnapshotId>) {
    let storage = open(folder);
    let schema = schema(&[("id", "int64")]);
    create(&storage, "t", &schema, Sharding::Random, 2);
    let commits = (0..8).map(|n| {
        let mut write = storage.begin();
        write.append("t", AppendTo::Deal, [Ok(counted(&schema, n * 10..n * 10 + 10))]).unwrap();
        let commit = write.commit().unwrap();
        assert_eq!(storage.flush_inlined("t").unwrap(), 10);
        commit
    });
    let commits = commits.collect();
    (storage, commits)
}

fn ids_at(storage: &Storage, snapshot: &Snapshot) -> Vec<i64> {
    let scan = storage.scan(snapshot, &snapshot.table("t").unwrap(), None, None).unwrap();
    scan.flat_map(|batch| numbers(&batch.unwrap(), 0)).collect()
}

/// Number of data files of table `t` on the disk.
fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("data/main/t")).unwrap().count()
}

#[test]
fn eight_small_files_become_one_and_every_snapshot_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, commits) = eight_files(folder.path());
    let before = storage.snapshot().unwrap();
    let table = before.table("t").unwrap();
    // A scan that was begun goes on with the files it was told of.
    let mut begun = storage.scan(&before, &table, None, None).unwrap();
    let first = numbers(&begun.next().unwrap().unwrap(), 0);
    assert_eq!(storage.merge_files("t").unwrap(), 8);
    assert_eq!(storage.merge_files("t").unwrap(), 0);
    let merged = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!((table.file_count, merged.file_count, merged.rows), (8, 1, 80));
    assert!(merged.file_bytes < table.file_bytes);
    // Devices keep what they have loaded.
    assert!(merged.extends(&table) && merged.version > table.version);
    assert_eq!(numbers(&all(&storage, "t"), 0), (0..80).collect::<Vec<i64>>());
    assert_eq!(row_ids(&storage, "t"), (0..80).collect::<Vec<u64>>());
    let shard = read(&storage, "t", &ScanOptions { shard: Some(1), ..ScanOptions::default() });
    assert_eq!(numbers(&shard, 0), (0..80).filter(|id| id % 2 == 1).collect::<Vec<i64>>());
    assert_eq!(storage.remove_replaced(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(storage.remove_replaced(Duration::ZERO).unwrap(), 0, "a scan may still open them");
    let rest: Vec<i64> = begun.flat_map(|batch| numbers(&batch.unwrap(), 0)).collect();
    assert_eq!([first, rest].concat(), (0..80).collect::<Vec<i64>>());
    assert_eq!(files(folder.path()), 9);
    assert_eq!(storage.remove_replaced(Duration::ZERO).unwrap(), 8);
    assert_eq!(files(folder.path()), 1);
    assert_eq!(storage.sweep_orphans(Duration::ZERO).unwrap(), 0);
    // A state that was read before finds the rows where they are now.
    assert_eq!(ids_at(&storage, &before), (0..80).collect::<Vec<i64>>());
    for (rows, commit) in (10..).step_by(10).zip(&commits) {
        let old = storage.snapshot_at(*commit).unwrap();
        assert_eq!(ids_at(&storage, &old), (0..rows).collect::<Vec<i64>>());
        let text = format!("SELECT count(*), sum(id) FROM t AT (VERSION => {commit})");
        let found = duckdb::select(folder.path(), &text).remove(0);
        assert_eq!((found[0].as_i64(), found[1].as_i64()), (Some(rows), Some(rows * (rows - 1) / 2)));
    }
}

#[test]
fn files_of_a_shard_are_merged_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64")]);
    create(&storage, "t", &schema, Sharding::Random, 2);
    for n in 0..8 {
        append(&storage, "t", AppendTo::Shard(1), &counted(&schema, n * 10..n * 10 + 10));
    }
    let begun = Instant::now();
    while storage.snapshot().unwrap().table("t").unwrap().file_count > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    let shard = |shard| read(&storage, "t", &ScanOptions { shard: Some(shard), ..ScanOptions::default() });
    assert_eq!((shard(0).num_rows(), numbers(&shard(1), 0)), (0, (0..80).collect()));
    duckdb::assert_same(&storage, folder.path(), "t");
}

#[test]
fn files_of_other_shards_or_with_deleted_rows_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, _) = eight_files(folder.path());
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    write.delete_rows("t", &[34]).unwrap();
    write.commit().unwrap();
    for n in 0..8 {
        append(&storage, "t", AppendTo::Shard(n % 2), &counted(&schema, 80..81));
    }
    assert_eq!(storage.merge_files("t").unwrap(), 0);
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().file_count, 16);
}

#[test]
fn files_are_not_merged_across_rows_in_the_catalog_so_that_the_order_of_rows_stays() {
    for is_deleted in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let storage = open(folder.path());
        let schema = schema(&[("id", "int64")]);
        create(&storage, "t", &schema, Sharding::Random, 1);
        for n in 0..20 {
            // One row of fifteen waits in the catalog.
            let to = if n == 5 { AppendTo::Deal } else { AppendTo::Shard(0) };
            append(&storage, "t", to, &counted(&schema, n..n + 1));
        }
        let before = storage.snapshot().unwrap();
        assert_eq!(before.table("t").unwrap().inlined_rows, 1);
        if is_deleted {
            let mut write = storage.begin();
            write.delete_rows("t", &[5]).unwrap();
            write.commit().unwrap();
        }
        // The thread in the background may have been quicker.
        storage.merge_files("t").unwrap();
        assert_eq!(ids_at(&storage, &before), (0..20).collect::<Vec<i64>>());
        let now: Vec<u64> = (0..20).filter(|id| !is_deleted || *id != 5).collect();
        assert_eq!(row_ids(&storage, "t"), now);
        storage.flush_inlined("t").unwrap();
        storage.merge_files("t").unwrap();
        assert_eq!(row_ids(&storage, "t"), now);
        assert_eq!(ids_at(&storage, &before), (0..20).collect::<Vec<i64>>());
        let files = storage.snapshot().unwrap().table("t").unwrap().file_count;
        assert!(files <= 13, "{files} files: eight of the fourteen after it are merged at least");
        duckdb::assert_same(&storage, folder.path(), "t");
    }
}

#[test]
fn a_file_is_copied_a_few_times_at_most_however_many_commits_follow() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64"), ("data", "tensor(float32,[4096])")]);
    create(&storage, "t", &schema, Sharding::Replicated, 1);
    for seed in 0..96 {
        append(&storage, "t", AppendTo::Shard(0), &rows(&schema, 8, seed));
        storage.merge_files("t").unwrap();
    }
    let table = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!(table.rows, 96 * 8);
    assert!(table.file_count < 16, "{} files", table.file_count);
    // Files that were replaced are still there.
    let entries = std::fs::read_dir(folder.path().join("data/main/t")).unwrap();
    let written: u64 = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(written < table.file_bytes * 4, "{written} bytes were written for {}", table.file_bytes);
}

#[test]
fn duckdb_goes_on_with_what_was_merged() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64"), ("name", "utf8?"), ("image", "tensor(uint8,[2,2])?")]);
    create(&storage, "t", &schema, Sharding::Key(vec!["id".into()]), 2);
    for seed in 0..8 {
        append(&storage, "t", AppendTo::Deal, &rows(&schema, 20, seed));
        storage.flush_inlined("t").unwrap();
    }
    let before = storage.snapshot().unwrap();
    assert_eq!(storage.merge_files("t").unwrap(), 8);
    duckdb::assert_same(&storage, folder.path(), "t");
    let mut write = storage.begin();
    write.delete_rows("t", &[0, 25, 159]).unwrap();
    write.commit().unwrap();
    duckdb::assert_same(&storage, folder.path(), "t");
    duckdb::duckdb(
        folder.path(),
        "rw",
        &[
            "DELETE FROM t WHERE rowid IN (1, 99)",
            "UPDATE t SET name = 'changed' WHERE rowid = 100",
            "CALL ducklake_merge_adjacent_files('quern')",
            "CALL ducklake_rewrite_data_files('quern', 't', delete_threshold => 0)",
        ],
    );
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().rows, 155);
    duckdb::assert_same(&storage, folder.path(), "t");
    assert_eq!(ids_at(&storage, &before).len(), 160);
}
