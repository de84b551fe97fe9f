//! The folder itself: format, names, dropped tables, other programs' files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quern::base::{Error, Sharding};
use quern::storage::{AppendTo, Disk, FORMAT_VERSION, Storage};

use super::sample::{all, append, counted, numbers, open, schema};

/// Runs a statement of SQLite on the catalog of a folder that nobody has open.
fn sqlite(folder: &std::path::Path, script: &str) {
    super::duckdb::python(
        folder,
        &format!(
            "import sqlite3; c = sqlite3.connect(folder + '/catalog.sqlite'); c.executescript({script:?}); c.commit(); c.close()"
        ),
    );
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    sqlite(folder.path(), "update quern_format set version = 99");
    let before = std::fs::read(folder.path().join("catalog.sqlite")).unwrap();
    match Storage::open(folder.path(), Arc::new(Disk)).err().unwrap() {
        Error::Newer { found, supported, .. } => assert_eq!((found, supported), (99, FORMAT_VERSION)),
        other => panic!("{other}"),
    }
    assert_eq!(std::fs::read(folder.path().join("catalog.sqlite")).unwrap(), before);
}

#[test]
fn what_is_no_catalog_names_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.sqlite");
    std::fs::write(&path, b"this is not a database, but it is long enough to look at").unwrap();
    let error = Storage::open(folder.path(), Arc::new(Disk)).err().unwrap();
    assert!(matches!(&error, Error::Corrupt { what, .. } if what.ends_with("catalog.sqlite")), "{error}");
    std::fs::remove_file(&path).unwrap();
    sqlite(folder.path(), "create table somebody_elses(x)");
    let error = Storage::open(folder.path(), Arc::new(Disk)).err().unwrap();
    assert!(error.to_string().contains("it is not a catalog of Quern"), "{error}");
}

#[test]
fn a_damaged_or_missing_data_file_names_itself() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..20_000))]).unwrap();
    write.commit().unwrap();
    let file = std::fs::read_dir(folder.path().join("data/main/t")).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    let read = || {
        let snapshot = storage.snapshot().unwrap();
        let scan = storage.scan(&snapshot, &snapshot.table("t").unwrap(), None, None);
        scan.and_then(|scan| scan.collect::<Result<Vec<_>, _>>()).map(|_| ())
    };
    assert!(read().is_ok());
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut scratched = whole.clone();
    scratched[100..20_000].fill(0xa5);
    for damaged in [&whole[..whole.len() / 2], &whole[..3], &[], &scratched] {
        std::fs::write(&file, damaged).unwrap();
        let error = read().unwrap_err();
        assert!(matches!(&error, Error::Corrupt { what, .. } if what.contains(&name)), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    let error = read().unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path == &file), "{error}");
    std::fs::write(&file, &whole).unwrap();
    assert!(read().is_ok());
}

#[test]
fn names_are_unique_without_regard_to_case_and_free_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (schema(&[("id", "int64")]), schema(&[("id", "int64"), ("x", "utf8?")]));
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("a b/..", &one, Sharding::Random, 1).unwrap();
    write.append("a b/..", AppendTo::Shard(0), [Ok(counted(&one, 0..3))]).unwrap();
    write.commit().unwrap();
    assert_eq!(numbers(&all(&storage, "a b/.."), 0), [0, 1, 2]);
    let mut write = storage.begin();
    assert!(matches!(write.create_table("A b/..", &one, Sharding::Random, 1), Err(Error::Exists { .. })));
    // Dropped and created anew in one commit.
    let mut write = storage.begin();
    write.drop_table("a b/..").unwrap();
    write.create_table("a b/..", &two, Sharding::Replicated, 9).unwrap();
    write.commit().unwrap();
    let table = storage.snapshot().unwrap().table("a b/..").unwrap();
    assert_eq!((table.rows, &table.schema, table.shards), (0, &two, 1));
    let mut write = storage.begin();
    write.drop_table("a b/..").unwrap();
    write.commit().unwrap();
    let error = storage.snapshot().unwrap().table("a b/..").unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: "table", .. }));
}

#[test]
fn a_change_fails_when_its_table_was_dropped_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    write.create_table("u", &schema, Sharding::Random, 1).unwrap();
    write.commit().unwrap();
    let table = storage.snapshot().unwrap().table("t").unwrap();
    let mut appending = storage.begin();
    appending.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..9))]).unwrap();
    let mut expecting = storage.begin();
    expecting.append("u", AppendTo::Shard(0), [Ok(counted(&schema, 0..9))]).unwrap();
    expecting.expect_table(&table);
    let mut write = storage.begin();
    write.drop_table("t").unwrap();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    write.commit().unwrap();
    for write in [appending, expecting] {
        let error = write.commit().unwrap_err().to_string();
        assert!(error.starts_with("table `t` was dropped or altered meanwhile"), "{error}");
    }
    for name in ["t", "u"] {
        assert_eq!(all(&storage, name).num_rows(), 0);
    }
    // Their files went with them.
    assert_eq!(storage.sweep_orphans(Duration::ZERO).unwrap(), 0);
}

#[test]
fn orphans_are_swept_and_named_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 4).unwrap();
    write.append("t", AppendTo::Shard(2), [Ok(counted(&schema, 0..9))]).unwrap();
    write.commit().unwrap();
    let mut write = storage.begin();
    write.truncate("t").unwrap();
    write.commit().unwrap();
    append(&storage, "t", AppendTo::Shard(1), &counted(&schema, 0..9));
    std::fs::write(folder.path().join("data/main/t/left-behind.parquet"), b"x").unwrap();
    assert_eq!(storage.sweep_orphans(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(storage.sweep_orphans(Duration::ZERO).unwrap(), 1);
    assert_eq!(all(&storage, "t").num_rows(), 9);
    let old = storage.snapshot_at(quern::base::SnapshotId(1)).unwrap();
    let scan = storage.scan(&old, &old.table("t").unwrap(), None, None).unwrap();
    assert_eq!(scan.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 9);
}

#[test]
fn readers_see_whole_commits_while_a_writer_writes() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.create_table("u", &schema, Sharding::Random, 2).unwrap();
    write.commit().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                let mut write = storage.begin();
                for name in ["t", "u"] {
                    let to = if round % 2 == 0 { AppendTo::Deal } else { AppendTo::Shard(1) };
                    write.append(name, to, [Ok(counted(&schema, 0..7))]).unwrap();
                }
                write.commit().unwrap();
                if round % 10 == 9 {
                    storage.flush_inlined("t").unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let snapshot = storage.snapshot().unwrap();
                    let counts = ["t", "u"].map(|name| {
                        let table = snapshot.table(name).unwrap();
                        let scan = storage.scan(&snapshot, &table, None, None).unwrap();
                        let rows: usize = scan.map(|batch| batch.unwrap().num_rows()).sum();
                        assert_eq!(rows as u64, table.rows);
                        rows
                    });
                    assert_eq!(counts[0], counts[1]);
                    assert_eq!(counts[0] % 7, 0);
                }
            });
        }
    });
    assert_eq!(all(&storage, "u").num_rows(), 280);
}

#[test]
fn the_history_says_who_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.describe("proc:train", "run 42");
    write.create_table("t", &schema(&[("id", "int64")]), Sharding::Random, 2).unwrap();
    let id = write.commit().unwrap();
    let history = storage.history().unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.id, last.author.as_deref(), last.message.as_deref()), (id, Some("proc:train"), Some("run 42")));
    assert_eq!(last.changes, "created_table:\"main\".\"t\"");
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!((now_us - last.time_us).abs() < 60_000_000, "{} {now_us}", last.time_us);
}
