//! A folder of format 1, as the first release of that format wrote it: it
//! opens, a copy of its catalog is made first, and everything is kept.
//!
//! `format_1/catalog.sql` is a dump of that folder's catalog; its data files
//! lie beside it.

use std::path::Path;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use quern::base::{RunId, Sharding, SnapshotId};
use quern::storage::{
    AppendTo, ComponentRecord, FORMAT_VERSION, InstanceRecord, LogLine, MetricPoint, ModelRecord, ResultRecord,
    RunFilter, RunRecord, RunState, Storage, Versions,
};

use super::sample::{all, append, every_type, numbers, open, row_ids, rows, schema};
use crate::support::create_run;

/// Rows of the table with a column of every type.
const SEED: u64 = 7;

/// What the folder's first table holds before a row is deleted.
fn named(range: std::ops::Range<i64>) -> RecordBatch {
    let names: ArrayRef = std::sync::Arc::new(StringArray::from_iter(
        range.clone().map(|i| (i % 3 != 0).then(|| format!("row '{i}', \"ü\""))),
    ));
    let ids: ArrayRef = std::sync::Arc::new(Int64Array::from_iter_values(range));
    RecordBatch::try_new(schema(&[("id", "int64"), ("name", "utf8?")]).to_arrow(), vec![ids, names]).unwrap()
}

fn run(id: u64) -> RunRecord {
    RunRecord {
        id: RunId(id),
        proc: "train".into(),
        component: "mnist".into(),
        sha256: "ab".repeat(32),
        tag: Some("night".into()),
        user: "owner".into(),
        state: if id == 1 { RunState::Complete } else { RunState::Error },
        params: "{\"epochs\":\"5\"}".into(),
        inputs: "[]".into(),
        outputs: "[]".into(),
        snapshot: Some(SnapshotId(2)),
        seed: u64::MAX - 1,
        submitted_us: 1_700_000_000_000_000,
        component_owner: "owner".to_owned(),
        resume: None,
        warning: None,
        committing_us: None,
        started_us: Some(1_700_000_000_000_001),
        finished_us: Some(1_700_000_000_000_002),
        error: (id != 1).then(|| "it's wrong".into()),
        instances: 1,
    }
}

fn instance() -> InstanceRecord {
    InstanceRecord {
        run: RunId(1),
        shard: 0,
        state: RunState::Complete,
        status: "epoch 5 of 5".into(),
        fraction: Some(1.0),
        message: Some("done".into()),
        results: "{}".into(),
        receipt: "{}".into(),
    }
}

fn line() -> LogLine {
    LogLine { run: RunId(1), shard: 0, seq: 1, time_us: 5, level: "info".into(), text: "begun".into() }
}

fn point() -> MetricPoint {
    MetricPoint { run: RunId(1), shard: 0, seq: 1, time_us: 5, name: "loss".into(), step: 3, value: 0.1 + 0.2 }
}

fn result() -> ResultRecord {
    ResultRecord { run: RunId(1), shard: 0, name: "bytes".into(), text: None, bytes: Some(vec![0, 255]) }
}

fn model() -> ModelRecord {
    ModelRecord {
        id: "cb3257ca-b866-4779-9603-4b4c9faa349a".into(),
        table: "named".into(),
        name: "m".into(),
        sha256: "cc".repeat(32),
        size_bytes: 12,
        created_us: 4,
        run: Some(RunId(1)),
    }
}

fn component(version: u64) -> ComponentRecord {
    ComponentRecord {
        name: "mnist".into(),
        version,
        sha256: if version == 1 { "aa" } else { "bb" }.repeat(32),
        size_bytes: 3,
        created_us: 9,
        active: version == 2,
        procs: "[]".into(),
    }
}

/// Makes the folder of format 1.
pub(super) fn restore(folder: &Path) {
    let kept = crate::support::tests_folder().join("storage/format_1");
    for table in ["named", "every"] {
        let to = folder.join("data/main").join(table);
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(kept.join("data/main").join(table)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let catalog = rusqlite::Connection::open(folder.join("catalog.sqlite")).unwrap();
    catalog.execute_batch(&std::fs::read_to_string(kept.join("catalog.sql")).unwrap()).unwrap();
}

/// The format version a catalog file says it has.
fn version(catalog: &Path) -> i64 {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    connection.query_row("SELECT version FROM quern_format", [], |row| row.get(0)).unwrap()
}

/// Everything the folder held.
fn check_kept(storage: &Storage) {
    assert_eq!(numbers(&all(storage, "named"), 0), [0, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(row_ids(storage, "named"), [0, 2, 3, 4, 5, 6, 7, 8]);
    let before = RecordBatch::try_new(named(0..1).schema(), named(0..9).columns().to_vec()).unwrap();
    let left = arrow::compute::concat_batches(&before.schema(), &[before.slice(0, 1), before.slice(2, 7)]).unwrap();
    assert_eq!(all(storage, "named"), left);
    let snapshot = storage.snapshot().unwrap();
    let every = snapshot.table("every").unwrap();
    assert_eq!((&every.sharding, every.shards), (&Sharding::Key(vec!["c4".into()]), 3));
    // Its rows lie in the order of their shards.
    let all_rows = rows(&every_type(true), 20, SEED);
    let homes = quern::storage::shards_of_rows(&every.schema, &every.sharding, 3, &all_rows).unwrap();
    let mut order: Vec<u32> = (0..20).collect();
    order.sort_by_key(|row| homes[*row as usize]);
    let order = arrow::array::UInt32Array::from(order);
    assert_eq!(all(storage, "every"), arrow::compute::take_record_batch(&all_rows, &order).unwrap());
    assert_eq!(storage.runs(&RunFilter::default()).unwrap(), [run(2), run(1)]);
    assert_eq!(storage.instances(RunId(1)).unwrap(), [instance()]);
    assert_eq!(storage.logs(RunId(1), 0, 9).unwrap(), [line()]);
    assert_eq!(storage.metrics(RunId(1), 0, 9).unwrap(), [point()]);
    assert_eq!(storage.results(RunId(1)).unwrap(), [result()]);
    assert_eq!(storage.models().unwrap(), [model()]);
    assert_eq!(storage.components(Versions::All).unwrap(), [component(1), component(2)]);
    for (version, sha256) in [(1, "aa"), (2, "bb")] {
        assert_eq!(storage.component_bytes(&sha256.repeat(32)).unwrap(), [version, 0, 255]);
    }
    // Older states too.
    let first = storage.snapshot_at(SnapshotId(1)).unwrap();
    assert_eq!(first.table("named").unwrap().rows, 8);
}

#[test]
fn a_folder_of_format_1_is_backed_up_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    restore(folder.path());
    assert_eq!(version(&folder.path().join("catalog.sqlite")), 1);
    let storage = open(folder.path());
    check_kept(&storage);
    // It is a folder like any other from now on.
    append(&storage, "named", AppendTo::Deal, &named(20..21));
    assert_eq!(create_run(&storage, &run(3)), RunId(3));
    drop(storage);
    assert_eq!(version(&folder.path().join("catalog.sqlite")), FORMAT_VERSION as i64);
    assert_eq!(numbers(&all(&open(folder.path()), "named"), 0), [0, 2, 3, 4, 5, 6, 7, 8, 20]);
    // The backup is the catalog as it was: put back, it opens and is upgraded again.
    let backup = folder.path().join("catalog.sqlite.format-1.backup");
    assert_eq!(version(&backup), 1);
    for left in ["catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join(left));
    }
    std::fs::copy(&backup, folder.path().join("catalog.sqlite")).unwrap();
    check_kept(&open(folder.path()));
}

#[test]
fn a_folder_of_format_2_is_backed_up_and_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    restore(folder.path());
    let path = folder.path().join("catalog.sqlite");
    let catalog = rusqlite::Connection::open(&path).unwrap();
    catalog.execute_batch(include_str!("../../host/src/storage/format_2.sql")).unwrap();
    catalog.execute("UPDATE quern_format SET version = 2", []).unwrap();
    drop(catalog);
    check_kept(&open(folder.path()));
    assert_eq!(version(&path), FORMAT_VERSION as i64);
    assert_eq!(version(&folder.path().join("catalog.sqlite.format-2.backup")), 2);
}
