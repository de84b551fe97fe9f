//! Rows of every type, in files and in the catalog, deleted, moved and read at
//! older snapshots.

use quern::base::{Error, Sharding};
use quern::storage::{AppendTo, ScanOptions};

use super::sample::{all, append, counted, create, every_type, numbers, open, read, row_ids, rows, schema};

#[test]
fn every_type_survives_reopening_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let schema = every_type(true);
    let batch = rows(&schema, 1000, 1);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    write.append("t", AppendTo::Shard(0), [Ok(batch.slice(0, 300)), Ok(batch.slice(300, 700))]).unwrap();
    write.commit().unwrap();
    assert_eq!(all(&storage, "t"), batch);
    storage.close().unwrap();
    let journal = std::fs::metadata(folder.path().join("catalog.sqlite-wal"));
    assert_eq!(journal.map_or(0, |file| file.len()), 0);
    drop(storage);
    let storage = open(folder.path());
    let snapshot = storage.snapshot().unwrap();
    let table = snapshot.table("t").unwrap();
    assert_eq!((table.rows, table.inlined_rows, table.file_count), (1000, 0, 1));
    assert_eq!(table.schema, schema);
    assert_eq!(all(&storage, "t"), batch);
}

#[test]
fn every_type_survives_in_the_catalog_and_moving_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema = every_type(false);
    let batch = rows(&schema, 200, 2);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 4).unwrap();
    write.append("t", AppendTo::Deal, [Ok(batch.clone())]).unwrap();
    write.commit().unwrap();
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().inlined_rows, 200);
    assert_eq!(all(&storage, "t"), batch);
    let before = storage.snapshot().unwrap();
    let ids = row_ids(&storage, "t");
    assert_eq!(storage.flush_inlined("t").unwrap(), 200);
    let table = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!((table.rows, table.inlined_rows, table.file_count), (200, 0, 1));
    assert_eq!(all(&storage, "t"), batch);
    assert_eq!(row_ids(&storage, "t"), ids);
    // A snapshot taken before the move still shows the rows.
    let scan = storage.scan(&before, &before.table("t").unwrap(), None, None).unwrap();
    assert_eq!(scan.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 200);
}

#[test]
fn lists_are_never_kept_in_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("x", "list(int32)?")]);
    let storage = open(folder.path());
    let batch = rows(&schema, 3, 3);
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 4).unwrap();
    write.append("t", AppendTo::Deal, [Ok(batch.clone())]).unwrap();
    write.commit().unwrap();
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().inlined_rows, 0);
    assert_eq!(all(&storage, "t"), batch);
}

#[test]
fn a_scan_gives_the_columns_in_the_order_asked() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("a", "int64"), ("b", "utf8?"), ("c", "tensor(float32,[5])")]);
    let batch = rows(&schema, 20_000, 4);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 3).unwrap();
    write.append("t", AppendTo::Shard(1), [Ok(batch.clone())]).unwrap();
    write.commit().unwrap();
    let got = read(&storage, "t", &ScanOptions { columns: Some(vec![2, 0]), ..ScanOptions::default() });
    assert_eq!(got, batch.project(&[2, 0]).unwrap());
    let snapshot = storage.snapshot().unwrap();
    let table = snapshot.table("t").unwrap();
    let counted: usize =
        storage.scan(&snapshot, &table, None, Some(&[])).unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(counted, 20_000);
    let empty = storage.scan(&snapshot, &table, Some(0), None).unwrap().count();
    assert_eq!(empty, 0);
    let error = storage.scan(&snapshot, &table, None, Some(&[3])).err().unwrap();
    assert_eq!(error.to_string(), "table `t` has 3 columns, position 3 asked");
}

#[test]
fn row_ids_order_rows_of_files_and_catalog_alike() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    create(&storage, "t", &schema, Sharding::Random, 1);
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 0..10));
    append(&storage, "t", AppendTo::Shard(0), &counted(&schema, 10..500));
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 500..510));
    append(&storage, "t", AppendTo::Shard(0), &counted(&schema, 510..600));
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 600..601));
    let expected: Vec<i64> = (0..601).collect();
    assert_eq!(numbers(&all(&storage, "t"), 0), expected);
    storage.flush_inlined("t").unwrap();
    assert_eq!(numbers(&all(&storage, "t"), 0), expected);
    assert_eq!(row_ids(&storage, "t"), (0..601).collect::<Vec<u64>>());
    let late = read(&storage, "t", &ScanOptions { from_row_id: 505, ..ScanOptions::default() });
    assert_eq!(numbers(&late, 0), (505..601).collect::<Vec<i64>>());
}

#[test]
fn deleted_rows_are_gone_now_and_there_before() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 0..1000))]).unwrap();
    write.commit().unwrap();
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 1000..1010));
    let full = storage.snapshot().unwrap();
    let mut write = storage.begin();
    write.delete_rows("t", &[1003, 5, 6, 999, 5]).unwrap();
    let deleted = write.commit().unwrap();
    let expected: Vec<i64> = (0..1010).filter(|id| ![1003, 5, 6, 999].contains(id)).collect();
    assert_eq!(numbers(&all(&storage, "t"), 0), expected);
    let table = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!((table.rows, table.version, table.rewritten), (1006, deleted, deleted));
    assert!(!table.extends(&full.table("t").unwrap()));
    // A second delete of the same row, and of one that never was.
    for row_id in [6, 4711] {
        let mut write = storage.begin();
        write.delete_rows("t", &[0, row_id]).unwrap();
        let error = write.commit().unwrap_err();
        assert!(error.to_string().contains(&format!("row {row_id} of table `t` was deleted")), "{error}");
    }
    assert_eq!(numbers(&all(&storage, "t"), 0), expected);
    // Older snapshots keep what they had, also for a storage opened anew.
    drop(storage);
    let storage = open(folder.path());
    let old = storage.snapshot_at(full.id).unwrap();
    let scan = storage.scan(&old, &old.table("t").unwrap(), None, None).unwrap();
    assert_eq!(scan.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 1010);
    let mut write = storage.begin();
    write.truncate("t").unwrap();
    write.commit().unwrap();
    assert_eq!(all(&storage, "t").num_rows(), 0);
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().rows, 0);
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 7..8));
    assert_eq!(row_ids(&storage, "t"), [1010]);
}

#[test]
fn rows_deleted_from_a_moved_file_are_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Deal, [Ok(counted(&schema, 0..10))]).unwrap();
    write.commit().unwrap();
    let mut write = storage.begin();
    write.delete_rows("t", &[2, 3]).unwrap();
    write.commit().unwrap();
    let before_move = storage.snapshot().unwrap();
    storage.flush_inlined("t").unwrap();
    let mut write = storage.begin();
    write.delete_rows("t", &[4, 9]).unwrap();
    write.commit().unwrap();
    assert_eq!(numbers(&all(&storage, "t"), 0), [0, 1, 5, 6, 7, 8]);
    let scan = storage.scan(&before_move, &before_move.table("t").unwrap(), None, None).unwrap();
    assert_eq!(scan.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 8);
}

#[test]
fn a_state_extends_another_by_the_rows_from_its_next_row_id() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.create_table("u", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Deal, [Ok(counted(&schema, 0..5))]).unwrap();
    write.commit().unwrap();
    let first = storage.snapshot().unwrap();
    append(&storage, "t", AppendTo::Shard(1), &counted(&schema, 5..9));
    let second = storage.snapshot().unwrap();
    let (old, new) = (first.table("t").unwrap(), second.table("t").unwrap());
    assert!(new.extends(&old) && new.version > old.version);
    let more = read(&storage, "t", &ScanOptions { from_row_id: old.next_row_id, ..ScanOptions::default() });
    assert_eq!(numbers(&more, 0), [5, 6, 7, 8]);
    // The table that did not change is the same object.
    assert!(std::sync::Arc::ptr_eq(&first.table("u").unwrap(), &second.table("u").unwrap()));
    assert!(std::sync::Arc::ptr_eq(&second, &storage.snapshot().unwrap()));
}

#[test]
fn wrong_batches_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let wanted = schema(&[("id", "int64"), ("name", "utf8")]);
    create(&storage, "t", &wanted, Sharding::Random, 2);
    let refused = |columns: &[(&str, &str)]| {
        let mut write = storage.begin();
        write.append("t", AppendTo::Deal, [Ok(rows(&schema(columns), 9, 1))]).unwrap_err().to_string()
    };
    assert_eq!(refused(&[("id", "int64")]), "table `t` has 2 columns, 1 given");
    assert_eq!(
        refused(&[("id", "int32"), ("name", "utf8")]),
        "column `id` of table `t` is int64, given are values of Arrow type Int32"
    );
    let missing = refused(&[("id", "int64?"), ("name", "utf8")]);
    assert!(missing.starts_with("column `id` of table `t` must have a value in every row"), "{missing}");
    let mut write = storage.begin();
    let none = write.append("s", AppendTo::Deal, []).unwrap_err();
    assert!(matches!(none, Error::NotFound { kind: "table", .. }), "{none}");
    let error = write.append("t", AppendTo::Shard(2), []).unwrap_err().to_string();
    assert_eq!(error, "table `t` has 2 shards, shard 2 asked");
}

#[test]
fn many_rows_in_the_catalog_move_out_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    create(&storage, "t", &schema, Sharding::Random, 2);
    for start in (0..70_000).step_by(10_000) {
        append(&storage, "t", AppendTo::Deal, &counted(&schema, start..start + 10_000));
    }
    let table = super::background::after_moving(&storage, "t");
    assert_eq!((table.rows, table.inlined_rows, table.file_count), (70_000, 0, 1));
    assert_eq!(numbers(&all(&storage, "t"), 0), (0..70_000).collect::<Vec<i64>>());
}

#[test]
fn wide_rows_in_the_catalog_move_out_before_it_grows_large() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("x", "tensor(float32,[100,1000])")]);
    let storage = open(folder.path());
    create(&storage, "t", &schema, Sharding::Random, 2);
    for seed in 0..25 {
        append(&storage, "t", AppendTo::Deal, &rows(&schema, 2, seed));
    }
    let table = super::background::after_moving(&storage, "t");
    // 16 MiB are 21 commits of 800 kB; those that came while they were moved stay.
    assert_eq!((table.rows, table.file_count), (50, 1));
    assert!(table.inlined_rows <= 8, "{}", table.inlined_rows);
}

#[test]
fn decimals_that_have_too_many_digits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("x", "decimal(4,2)")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    let error = write.append("t", AppendTo::Deal, [Ok(rows(&schema, 1, 1))]).unwrap_err();
    assert!(matches!(&error, Error::OutOfRange(text) if text.starts_with("column `x` of table `t`")), "{error}");
}
