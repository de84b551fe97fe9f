//! Rows move from the catalog to files while others append and read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quern::base::Sharding;
use quern::storage::{AppendTo, RunRecord, ScanOptions, Storage, TableState};

use super::records::run_record;
use super::sample::{all, append, counted, create, numbers, open, read, schema};

/// The table once rows of it were moved to files, and nothing is due.
pub(super) fn after_moving(storage: &Storage, table: &str) -> Arc<TableState> {
    let begun = Instant::now();
    loop {
        let table = storage.snapshot().unwrap().table(table).unwrap();
        if table.file_count > 0 && table.inlined_rows < 64 << 10 {
            return table;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{} rows wait in the catalog", table.inlined_rows);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn rows_move_to_files_while_others_append_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    create(&storage, "t", &schema, Sharding::Random, 3);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (storage, schema) = (&storage, &schema);
                scope.spawn(move || {
                    for part in 0..6 {
                        let start = (writer * 6 + part) * 9000;
                        append(storage, "t", AppendTo::Deal, &counted(schema, start..start + 9000));
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut before: Vec<Vec<i64>> = vec![Vec::new(); 3];
            while !done.load(Ordering::Acquire) {
                let snapshot = storage.snapshot().unwrap();
                let table = snapshot.table("t").unwrap();
                assert_eq!(table.rows % 9000, 0);
                // What a shard held it holds, in the same order.
                for (shard, before) in (0..).zip(&mut before) {
                    let scan = storage.scan(&snapshot, &table, Some(shard), None).unwrap();
                    let now: Vec<i64> = scan.flat_map(|batch| numbers(&batch.unwrap(), 0)).collect();
                    assert!(now.starts_with(before), "shard {shard}");
                    *before = now;
                }
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        after_moving(&storage, "t");
        // Another program reads the same meanwhile.
        assert_eq!(super::duckdb::count(folder.path(), "t"), 24 * 9000);
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    let mut ids = numbers(&all(&storage, "t"), 0);
    ids.sort_unstable();
    assert_eq!(ids, (0..24 * 9000).collect::<Vec<i64>>());
    let shards = (0..3).map(|shard| {
        let options = ScanOptions { shard: Some(shard), ..ScanOptions::default() };
        read(&storage, "t", &options).num_rows()
    });
    assert_eq!(shards.sum::<usize>(), 24 * 9000);
}

#[test]
fn rows_that_were_truncated_do_not_count_as_waiting_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    write.append("t", AppendTo::Deal, [Ok(counted(&schema, 0..100))]).unwrap();
    write.commit().unwrap();
    let mut write = storage.begin();
    write.truncate("t").unwrap();
    write.commit().unwrap();
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 0..1));
    assert_eq!(storage.flush_older(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(storage.flush_older(Duration::ZERO).unwrap(), 1);
    super::duckdb::python(
        folder.path(),
        "import sqlite3; found = sqlite3.connect(folder + '/catalog.sqlite').execute('SELECT inlined_bytes FROM \
         quern_table').fetchall(); assert found == [(0,)], found",
    );
}

#[test]
fn what_is_handed_in_while_rows_are_moved_is_committed_after_that() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64")]);
    create(&storage, "t", &schema, Sharding::Random, 1);
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 0..5));
    // Another process keeps the one who moves them waiting for the catalog.
    let catalog = rusqlite::Connection::open(folder.path().join("catalog.sqlite")).unwrap();
    catalog.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| storage.flush_inlined("t").unwrap());
        std::thread::sleep(Duration::from_millis(200));
        let mut write = storage.begin();
        write.create_run(RunRecord { id: storage.next_run(), ..run_record("train") });
        write.commit_later(|error| panic!("{error}")).unwrap();
        catalog.execute_batch("COMMIT").unwrap();
        assert_eq!(moving.join().unwrap(), 5);
    });
    let runs: i64 = catalog.query_row("SELECT count(*) FROM quern_run", [], |row| row.get(0)).unwrap();
    assert_eq!(runs, 1);
}
