//! DuckDB, an independent implementation of DuckLake, reads our folders and
//! writes to them, from a process of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use quern::base::{ColumnType, DType, Sharding};
use quern::storage::{AppendTo, ScanOptions, Storage};
use serde_json::{Value, json};

use super::sample::{all, append, counted, create, every_type, numbers, open, read, rows, schema};

/// The interpreter with DuckDB that the set-up of the tests makes.
fn interpreter() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let path = std::env::var_os("QUERN_PYTHON")
        .map_or_else(|| Path::new(&home).join(".cache/quern/python/bin/python"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run the tests with `make test`, which installs it", path.display());
    path
}

/// Runs Python in which `folder` is the folder.
pub(super) fn python(folder: &Path, code: &str) {
    let output = Command::new(interpreter()).arg("-c").arg(format!("folder = {folder:?}\n{code}")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The rows of each statement.
pub(super) fn duckdb(folder: &Path, mode: &str, statements: &[&str]) -> Vec<Vec<Value>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/storage/duck.py");
    let mut child = Command::new(interpreter())
        .args([Path::new(script), folder, Path::new(mode)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(json!(statements).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(super) fn select(folder: &Path, statement: &str) -> Vec<Value> {
    duckdb(folder, "ro", &[statement]).remove(0)
}

/// How many rows DuckDB finds in a table.
pub(super) fn count(folder: &Path, table: &str) -> i64 {
    select(folder, &format!("SELECT count(*) FROM {table}"))[0][0].as_i64().unwrap()
}

/// A value as `duck.py` shows it.
fn shown(batch: &RecordBatch, column: usize, row: usize, column_type: &ColumnType) -> Value {
    use arrow::array::{Array, AsArray};
    let array = batch.column(column);
    if array.is_null(row) {
        return Value::Null;
    }
    let hex = |bytes: &[u8]| Value::String(bytes.iter().map(|b| format!("{b:02x}")).collect());
    let text = array_value_to_string(array, row).unwrap();
    match column_type {
        ColumnType::Number(DType::Bool) => json!(text == "true"),
        ColumnType::Number(DType::F16) => {
            hex(&array.as_primitive::<arrow::datatypes::Float16Type>().value(row).to_le_bytes())
        }
        ColumnType::Number(DType::F32) => {
            hex(&f64::from(array.as_primitive::<arrow::datatypes::Float32Type>().value(row)).to_le_bytes())
        }
        ColumnType::Number(DType::F64) => {
            hex(&array.as_primitive::<arrow::datatypes::Float64Type>().value(row).to_le_bytes())
        }
        ColumnType::Number(_) | ColumnType::Ipv4 => serde_json::from_str(&text).unwrap(),
        ColumnType::Binary => hex(array.as_binary::<i64>().value(row)),
        ColumnType::Uuid => json!(uuid::Uuid::from_slice(array.as_fixed_size_binary().value(row)).unwrap().to_string()),
        ColumnType::Tensor { dtype, .. } => {
            let values = array.as_fixed_size_list().value(row);
            let bytes: Vec<u8> = match dtype {
                DType::Bool => values.as_boolean().values().iter().map(u8::from).collect(),
                DType::U8 => values.as_primitive::<arrow::datatypes::UInt8Type>().values().to_vec(),
                _ => {
                    let floats = values.as_primitive::<arrow::datatypes::Float32Type>();
                    floats.values().iter().flat_map(|v| v.to_le_bytes()).collect()
                }
            };
            hex(&bytes)
        }
        ColumnType::List(item) => {
            let values = match array.data_type() {
                arrow::datatypes::DataType::List(_) => array.as_list::<i32>().value(row),
                other => panic!("{other}"),
            };
            let inner = RecordBatch::try_from_iter_with_nullable([("x", values, true)]).unwrap();
            Value::Array((0..inner.num_rows()).map(|i| shown(&inner, 0, i, item)).collect())
        }
        ColumnType::Time | ColumnType::Timestamp => {
            // Python leaves out a fraction of zero and writes others with six digits.
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            json!(if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction:0<6}") })
        }
        _ => json!(text),
    }
}

/// Row ids and values agree, in whatever order another program left a file.
pub(super) fn assert_same(storage: &Storage, folder: &Path, table: &str) {
    let ours = read(storage, table, &ScanOptions { row_ids: true, ..ScanOptions::default() });
    let ids = ours.num_columns() - 1;
    let order = arrow::compute::sort_to_indices(ours.column(ids), None, None).unwrap();
    let ours = arrow::compute::take_record_batch(&ours, &order).unwrap();
    let schema = storage.snapshot().unwrap().table(table).unwrap().schema.clone();
    let theirs = select(folder, &format!("SELECT *, rowid FROM {table} ORDER BY rowid"));
    assert_eq!(ours.num_rows(), theirs.len());
    for (row, theirs) in theirs.iter().enumerate() {
        for (column, described) in schema.columns().iter().enumerate() {
            let ours = shown(&ours, column, row, &described.column_type);
            assert_eq!(ours, theirs[column], "row {row}, {} {}", described.name, described.column_type);
        }
        assert_eq!(shown(&ours, ids, row, &ColumnType::Number(DType::U64)), theirs[ids], "row {row}");
    }
}

#[test]
fn duckdb_sees_the_same_rows_of_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let (with_lists, without) = (every_type(true), every_type(false));
    let mut write = storage.begin();
    write.create_table("files", &with_lists, Sharding::Random, 1).unwrap();
    write.append("files", AppendTo::Shard(0), [Ok(rows(&with_lists, 300, 1))]).unwrap();
    write.create_table("rows", &without, Sharding::Random, 4).unwrap();
    write.append("rows", AppendTo::Deal, [Ok(rows(&without, 40, 2))]).unwrap();
    write.commit().unwrap();
    assert_same(&storage, folder.path(), "files");
    assert_same(&storage, folder.path(), "rows");
    let mut write = storage.begin();
    write.delete_rows("files", &[3, 150]).unwrap();
    write.delete_rows("rows", &[0, 39]).unwrap();
    write.commit().unwrap();
    storage.flush_inlined("rows").unwrap();
    assert_same(&storage, folder.path(), "files");
    assert_same(&storage, folder.path(), "rows");
    let comment = select(
        folder.path(),
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'files' AND comment LIKE 'tensor(uint8%'",
    );
    assert_eq!(comment.first(), Some(&json!(["tensor(uint8,[2,3])"])));
}

#[test]
fn duckdb_sees_what_many_deletes_left() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Deal, [Ok(counted(&schema, 0..100_000))]).unwrap();
    write.commit().unwrap();
    let mut past = vec![(storage.snapshot().unwrap().id, 100_000)];
    let mut left: Vec<i64> = (0..100_000).collect();
    // Many rows (a file of positions), few (the catalog), many again, all but few.
    for keep in [|id: &i64| id % 3 != 0, |id: &i64| id % 5000 != 1, |id: &i64| id % 7 != 1, |id: &i64| id % 100 == 2] {
        let gone: Vec<u64> = left.iter().filter(|id| !keep(id)).map(|id| *id as u64).collect();
        left.retain(keep);
        let mut write = storage.begin();
        let (some, others) = gone.split_at(gone.len() / 2);
        write.delete_rows("t", some).unwrap();
        write.delete_rows("t", others).unwrap();
        write.delete_rows("t", &some[..some.len().min(1)]).unwrap();
        past.push((write.commit().unwrap(), left.len()));
        assert_eq!(storage.snapshot().unwrap().table("t").unwrap().rows, left.len() as u64);
        assert_eq!(numbers(&all(&storage, "t"), 0), left);
    }
    for (id, rows) in past {
        let old = storage.snapshot_at(id).unwrap();
        let table = old.table("t").unwrap();
        let scan = storage.scan(&old, &table, None, Some(&[])).unwrap();
        assert_eq!((table.rows, scan.map(|batch| batch.unwrap().num_rows()).sum()), (rows as u64, rows));
        let found = select(folder.path(), &format!("SELECT count(*), sum(id) FROM t AT (VERSION => {id})"));
        assert_eq!(found[0][0], json!(rows));
    }
    let found: Vec<i64> =
        select(folder.path(), "SELECT id FROM t ORDER BY id").iter().map(|row| row[0].as_i64().unwrap()).collect();
    assert_eq!(found, left);
    // And DuckDB deletes on top of it.
    duckdb(folder.path(), "rw", &["DELETE FROM t WHERE id < 50000"]);
    left.retain(|id| *id >= 50_000);
    assert_eq!(numbers(&all(&storage, "t"), 0), left);
}

#[test]
fn duckdb_prunes_by_our_statistics_without_losing_rows() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let types = [
        ("id", "int64"),
        ("f", "float64?"),
        ("s", "utf8?"),
        ("d", "date?"),
        ("t", "timestamp?"),
        ("n", "decimal(18,2)?"),
    ];
    let schema = schema(&types);
    create(&storage, "t", &schema, Sharding::Random, 4);
    for seed in 0..4 {
        let to = if seed == 2 { AppendTo::Deal } else { AppendTo::Shard(seed as u32) };
        append(&storage, "t", to, &rows(&schema, 500, seed));
    }
    let ours = all(&storage, "t");
    for (column, (name, _)) in types.iter().enumerate() {
        let statement = format!("SELECT count({name}), min({name})::VARCHAR, max({name})::VARCHAR FROM t");
        let found = select(folder.path(), &statement);
        let array = ours.column(column);
        use arrow::array::Array;
        assert_eq!(found[0][0], json!(array.len() - array.null_count()), "{name}");
        let largest = found[0][2].as_str().unwrap();
        let quoted = largest.replace('\'', "''");
        let text = format!("SELECT count(*) FROM t WHERE {name} >= '{quoted}'");
        assert_ne!(select(folder.path(), &text)[0][0], json!(0), "{name} {largest}");
    }
}

#[test]
fn rows_that_duckdb_writes_appear_at_the_next_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64"), ("image", "tensor(uint8,[2,2])?"), ("name", "utf8?")]);
    let lists = super::sample::schema(&[("id", "int64"), ("l", "list(int32)?")]);
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.create_table("l", &lists, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Shard(0), [Ok(rows(&schema, 100, 3))]).unwrap();
    write.commit().unwrap();
    assert_eq!(all(&storage, "t").num_rows(), 100);
    let before = storage.snapshot().unwrap();
    duckdb(
        folder.path(),
        "rw",
        &[
            "INSERT INTO t VALUES (1000, '\\x01\\x02\\x03\\x04'::BLOB, 'few'), (1001, NULL, NULL)",
            "INSERT INTO t SELECT 2000 + range, '\\x01\\x02\\x03\\x04'::BLOB, 'many' FROM range(50)",
            "INSERT INTO l VALUES (1, [1, NULL, 3]), (2, NULL)",
            "DELETE FROM t WHERE id IN (1001, 2001) OR rowid = 7",
            "UPDATE t SET name = 'changed' WHERE id = 2002",
            "CREATE TABLE made AS SELECT range AS id, range / 2 AS half FROM range(30)",
            "CREATE TABLE strange (x STRUCT(a INTEGER))",
            "CREATE TABLE texts (x INTEGER[])",
            "INSERT INTO texts VALUES ([1, 2])",
        ],
    );
    let table = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!(table.rows, 149);
    assert!(!table.extends(&before.table("t").unwrap()));
    assert_same(&storage, folder.path(), "l");
    assert_same(&storage, folder.path(), "made");
    let found = all(&storage, "t");
    let ids = numbers(&found, 0);
    assert!(ids.contains(&1000) && ids.contains(&2049) && !ids.contains(&1001) && !ids.contains(&2001));
    let parts: usize =
        (0..2).map(|n| read(&storage, "t", &ScanOptions { shard: Some(n), ..ScanOptions::default() }).num_rows()).sum();
    assert_eq!(parts, 149);
    let error = storage.snapshot().unwrap().table("strange").unwrap_err().to_string();
    assert_eq!(error, "table `strange` of another program cannot be read: column `x` is of type struct");
    // Lists that DuckDB keeps in the catalog are text, until it moves them.
    let snapshot = storage.snapshot().unwrap();
    let refused = storage.scan(&snapshot, &snapshot.table("texts").unwrap(), None, None).err().unwrap().to_string();
    assert!(refused.contains("ducklake_flush_inlined_data"), "{refused}");
    storage.close().unwrap();
    duckdb(folder.path(), "rw", &["CALL ducklake_flush_inlined_data('quern')"]);
    assert_same(&storage, folder.path(), "texts");
    // What we write on top of it, DuckDB sees again.
    append(&storage, "made", AppendTo::Deal, &rows(&storage.snapshot().unwrap().table("made").unwrap().schema, 5, 1));
    let mut write = storage.begin();
    write.delete_rows("t", &super::sample::row_ids(&storage, "t")[90..110]).unwrap();
    write.commit().unwrap();
    assert_eq!(select(folder.path(), "SELECT count(*) FROM made")[0][0], json!(35));
    assert_eq!(select(folder.path(), "SELECT count(*) FROM t")[0][0], json!(129));
    assert_eq!(all(&storage, "t").num_rows(), 129);
}

#[test]
fn tables_that_duckdb_merged_flushed_and_altered_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64"), ("name", "utf8?")]);
    create(&storage, "t", &schema, Sharding::Random, 2);
    for start in 0..4 {
        append(&storage, "t", AppendTo::Shard(start % 2), &rows(&schema, 50, u64::from(start)));
        append(&storage, "t", AppendTo::Deal, &rows(&schema, 3, u64::from(start)));
    }
    let middle = storage.snapshot().unwrap();
    append(&storage, "t", AppendTo::Shard(0), &rows(&schema, 50, 9));
    let mut expected = numbers(&all(&storage, "t"), 0);
    duckdb(
        folder.path(),
        "rw",
        &["CALL ducklake_flush_inlined_data('quern')", "CALL ducklake_merge_adjacent_files('quern')"],
    );
    let table = storage.snapshot().unwrap().table("t").unwrap();
    assert_eq!((table.rows, table.inlined_rows), (262, 0));
    let mut found = numbers(&all(&storage, "t"), 0);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    // A snapshot in the middle of what one file now holds.
    let old = storage.snapshot_at(middle.id).unwrap();
    let old_table = old.table("t").unwrap();
    assert_eq!(old_table.rows, 212);
    let scan = storage.scan(&old, &old_table, None, None).unwrap();
    assert_eq!(scan.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 212);
    duckdb(
        folder.path(),
        "rw",
        &["ALTER TABLE t ADD COLUMN more INTEGER", "ALTER TABLE t RENAME COLUMN name TO label"],
    );
    let table = storage.snapshot().unwrap().table("t").unwrap();
    let names: Vec<&str> = table.schema.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "label", "more"]);
    append(&storage, "t", AppendTo::Deal, &rows(&table.schema, 4, 8));
    assert_same(&storage, folder.path(), "t");
}

#[test]
fn duckdb_reads_while_we_commit() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64")]);
    create(&storage, "t", &schema, Sharding::Random, 2);
    let reader = std::thread::spawn({
        let folder = folder.path().to_owned();
        move || duckdb(&folder, "ro", &["SELECT count(*) FROM t"; 20])
    });
    let mut committed = 0;
    while !reader.is_finished() {
        append(&storage, "t", AppendTo::Deal, &counted(&schema, 0..10));
        committed += 10;
    }
    for count in reader.join().unwrap() {
        assert_eq!(count[0][0].as_u64().unwrap() % 10, 0);
    }
    assert_eq!(all(&storage, "t").num_rows(), committed);
    assert_eq!(select(folder.path(), "SELECT count(*) FROM t")[0][0], json!(committed));
}

#[test]
fn a_moved_folder_opens_where_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    let schema = schema(&[("id", "int64")]);
    let storage = open(&old);
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 2).unwrap();
    write.append("t", AppendTo::Shard(1), [Ok(counted(&schema, 0..5))]).unwrap();
    write.commit().unwrap();
    storage.close().unwrap();
    drop(storage);
    std::fs::rename(&old, &new).unwrap();
    let storage = open(&new);
    assert_eq!(all(&storage, "t").num_rows(), 5);
    assert_eq!(select(&new, "SELECT count(*) FROM t")[0][0], json!(5));
}
