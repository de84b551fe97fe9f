//! Runs of real components on threads of this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array, RecordBatch, UInt8Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use quern::base::{Column, Error, Limits, RunId, Schema, Sharding};
use quern::catalog::{Catalog, NewComponent};
use quern::device::Device;
use quern::proc::{Engine, Receipt, build, inspect};
use quern::run::{LocalThreads, Request, RunStatus, Runs, Target};
use quern::storage::{AppendTo, Disk, RunState, Storage};
use quern::table::Tables;
use quern::tensor::Executor;
use sha2::Digest;

/// A data folder whose procs are components.
struct Database {
    storage: Storage,
    runs: Runs,
    _folder: tempfile::TempDir,
}

/// The component of the crate in `folder` of the repository.
fn component(folder: &str) -> Vec<u8> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{}.wasm", folder.replace('/', "-")));
    let built = build::build(&root.join(folder).canonicalize().unwrap(), Some(&file), &mut |_| {});
    built.unwrap_or_else(|e| panic!("{folder}: {}", e.chain()));
    std::fs::read(&file).unwrap()
}

impl Database {
    fn new(components: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Arc::new(Disk)).unwrap();
        let catalog = Catalog::new(storage.clone());
        for (name, crate_folder) in components {
            let bytes = component(crate_folder);
            let found = inspect(Engine::get().unwrap(), name, &bytes, &Limits::default()).unwrap();
            let new = NewComponent { name, procs: &found.procs, sha256: &found.sha256, bytes: &bytes };
            catalog.create(&new).unwrap();
        }
        let tables = Tables::new(storage.clone(), Device::cpu(2, 2 << 30));
        let executor = Executor::new(tables.device().clone());
        let threads = LocalThreads::new(&storage, &tables, executor, None).unwrap();
        let runs = Runs::open(&storage, &catalog, Arc::new(threads), &Limits::default()).unwrap();
        Self { storage, runs, _folder: folder }
    }

    fn run(&self, request: Request) -> RunStatus {
        let id = self.runs.execute(request).unwrap();
        self.ended(id)
    }

    fn ended(&self, id: RunId) -> RunStatus {
        let status = self.runs.wait(id, Some(Duration::from_secs(60))).unwrap();
        assert!(status.run.state.is_final(), "{status:?}");
        status
    }

    fn has_table(&self, name: &str) -> bool {
        self.storage.snapshot().unwrap().table(name).is_ok()
    }

    /// Points `id`, `x`, `y` with x = id and y = id / 2, dealt to so many shards.
    fn points(&self, name: &str, shards: u32, rows: i64) {
        let column = |name: &str, column_type: &str, nullable| Column {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable,
        };
        let columns = vec![column("id", "int64", false), column("x", "float32", true), column("y", "float32", false)];
        let schema = Schema::new(columns).unwrap();
        let mut write = self.storage.begin();
        write.create_table(name, &schema, Sharding::Random, shards).unwrap();
        let x = (0..rows).map(|id| (id % 10 != 3).then_some(id as f32));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(Float32Array::from_iter(x)),
            Arc::new(Float32Array::from_iter_values((0..rows).map(|id| id as f32 / 2.0))),
        ];
        let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        write.append(name, AppendTo::Deal, [Ok::<_, Error>(batch)]).unwrap();
        write.commit().unwrap();
    }

    /// Images of ten patterns, which are their labels.
    fn images(&self, name: &str, shards: u32, rows: i32) {
        let column = |name: &str, column_type: &str| Column {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: false,
        };
        let columns =
            vec![column("id", "int32"), column("data", "tensor(uint8,[28,28])"), column("readable_label", "int32")];
        let schema = Schema::new(columns).unwrap();
        let mut write = self.storage.begin();
        write.create_table(name, &schema, Sharding::Random, shards).unwrap();
        let pixel = |row: i32, at: i32| if at % 10 == row % 10 { 200 + u8::try_from(row % 50).unwrap() } else { 0 };
        let pixels = UInt8Array::from_iter_values((0..rows).flat_map(|row| (0..784).map(move |at| pixel(row, at))));
        let item = Arc::new(Field::new("item", DataType::UInt8, false));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(0..rows)),
            Arc::new(FixedSizeListArray::new(item, 784, Arc::new(pixels), None)),
            Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row % 10))),
        ];
        let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        write.append(name, AppendTo::Deal, [Ok::<_, Error>(batch)]).unwrap();
        write.commit().unwrap();
    }

    /// `(id, y)` of a table, by id.
    fn sums(&self, name: &str) -> Vec<(i64, f64)> {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(name).unwrap();
        let batches = self.storage.scan(&snapshot, &table, None, None).unwrap();
        let rows = batches.flat_map(|batch| {
            let batch = batch.unwrap();
            let ids = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
            ids.into_iter().zip(batch.column(1).as_primitive::<Float64Type>().values().to_vec())
        });
        let mut rows: Vec<(i64, f64)> = rows.collect();
        rows.sort_by_key(|(id, _)| *id);
        rows
    }
}

#[test]
fn sums_of_squares_are_the_same_for_any_number_of_shards() {
    let database = Database::new(&[("maths", "udfs/sum-of-squares")]);
    let expected: Vec<(i64, f64)> = (0..100)
        .map(|id| {
            let (x, y) = (if id % 10 == 3 { 0.0 } else { id as f64 }, id as f64 / 2.0);
            (id, x * x + y * y)
        })
        .collect();
    for shards in [1, 2, 4, 7] {
        let (table, out) = (format!("points{shards}"), format!("sums{shards}"));
        database.points(&table, shards, 100);
        let status = database.run(Request::new("sum_of_squares").input(&table).output(&out));
        assert_eq!((status.run.state, status.run.error), (RunState::Complete, None));
        assert_eq!(database.sums(&out), expected);
        assert_eq!(status.instances.len(), shards as usize);
        let merged = database.runs.results(status.run.id).unwrap().merged;
        assert_eq!(merged, [("rows".to_owned(), "100".to_owned())]);
        let receipts = status.instances.iter().map(|i| serde_json::from_str::<Receipt>(&i.receipt).unwrap());
        let sum = |number: fn(&Receipt) -> u64| receipts.clone().map(|receipt| number(&receipt)).sum::<u64>();
        assert_eq!((sum(|r| r.rows_in), sum(|r| r.rows_out)), (100, 100));
        // 8 bytes of `id`, 4 of `x` and of `y`; one more for each row of a shard where an `x` is null.
        let loaded_bytes = sum(|r| r.moved.inputs_bytes);
        assert!(
            if shards == 1 { loaded_bytes == 1700 } else { (1600..=1700).contains(&loaded_bytes) },
            "{loaded_bytes}"
        );
        assert_eq!(sum(|r| r.moved.reads_bytes), 0);
    }
    database.points("empty", 3, 0);
    let status = database.run(Request::new("sum_of_squares").input("empty").output("nothing"));
    assert_eq!(status.run.error, None);
    assert_eq!(database.sums("nothing"), []);
}

#[test]
fn two_runs_of_a_component_at_the_same_time_do_not_mix() {
    let database = Database::new(&[("maths", "udfs/sum-of-squares")]);
    database.points("few", 4, 10);
    database.points("many", 4, 5000);
    let ids: Vec<RunId> = (0..6)
        .map(|i| {
            let table = if i % 2 == 0 { "few" } else { "many" };
            database.runs.execute(Request::new("sum_of_squares").input(table).output(format!("out{i}"))).unwrap()
        })
        .collect();
    for (i, id) in (0..).zip(ids) {
        assert_eq!(database.ended(id).run.error, None);
        assert_eq!(database.sums(&format!("out{i}")).len(), if i % 2 == 0 { 10 } else { 5000 });
    }
    assert_eq!(database.sums("out1"), database.sums("out5"));
}

#[test]
fn a_guest_that_fails_leaves_nothing_and_says_why() {
    let database = Database::new(&[("evil", "tests/evil/hostile"), ("maths", "udfs/sum-of-squares")]);
    database.points("points", 4, 100);
    for (proc, output, begin) in [
        ("writes_then_fails", Some("rows"), "proc `writes_then_fails` returned an error"),
        ("writes_wrong_type", Some("rows"), "proc `writes_wrong_type` returned an error (type-mismatch)"),
        ("panics", None, "proc `panics` stopped: panicked at "),
        ("divides_by_zero", None, "proc `divides_by_zero` stopped: "),
    ] {
        let request = output.into_iter().fold(Request::new(proc), |request, output| request.output(output));
        let status = database.run(request);
        let error = status.run.error.unwrap();
        assert_eq!(status.run.state, RunState::Error);
        assert!(error.starts_with(begin), "{error}");
        assert!(!database.has_table("rows"));
    }
    let logs = database.runs.logs(RunId(3), 0, 10).unwrap();
    assert!(logs.iter().any(|line| line.text.contains("row 7 has no label")), "{logs:?}");
    // The host is well.
    let status = database.run(Request::new("sum_of_squares").input("points").output("sums"));
    assert_eq!(status.run.error, None);
    assert_eq!(database.sums("sums").len(), 100);
}

#[test]
fn a_kill_stops_guests_in_loops_and_in_tensor_work() {
    let database = Database::new(&[("evil", "tests/evil/hostile")]);
    for proc in ["loops_forever", "computes_forever"] {
        let id = database.runs.execute(Request::new(proc)).unwrap();
        while database.runs.status(id).unwrap().instances.iter().all(|i| i.state != RunState::Running) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        let begun = Instant::now();
        database.runs.kill(&Target::Run(id), Some("bob")).unwrap();
        let status = database.ended(id);
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(2), "{proc}: {waited:?}");
        assert_eq!(
            (status.run.state, status.run.error.as_deref()),
            (RunState::Killed, Some("the run was killed by bob"))
        );
    }
    let status = database.run(Request::new("loops_forever").limit("deadline_ms", 80).unwrap());
    assert_eq!(status.run.state, RunState::Killed);
    assert!(status.run.error.unwrap().contains("80 ms allowed"));
}

#[test]
fn a_model_is_saved_with_its_checksum_and_used_by_a_distributed_proc() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.images("training", 2, 200);
    database.images("fresh", 3, 31);
    let request = Request { seed: Some(1), ..Request::new("train") };
    let request = request.input("training").output("models").param("epochs", "8").param("batch", "20");
    for name in ["first", "second"] {
        let status = database.run(request.clone().param("name", name));
        assert_eq!(status.run.error, None);
    }
    let snapshot = database.storage.snapshot().unwrap();
    let models = snapshot.table("models").unwrap();
    assert_eq!((models.rows, &models.sharding), (2, &Sharding::Replicated));
    let records = database.storage.models().unwrap();
    let names: Vec<(&str, &str)> = records.iter().map(|m| (m.table.as_str(), m.name.as_str())).collect();
    assert_eq!(names, [("models", "first"), ("models", "second")]);
    // The same seed trains the same weights, whatever they are called.
    assert_eq!(records[0].sha256, records[1].sha256);
    let file = database.storage.scan(&snapshot, &models, None, Some(&[0])).unwrap().next().unwrap().unwrap();
    let sha256 = sha2::Sha256::digest(file.column(0).as_binary::<i64>().value(0));
    assert_eq!(sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), records[0].sha256);

    let status = database.run(Request::new("infer").input("fresh").input("models").output("predictions"));
    assert_eq!((status.run.error, status.instances.len()), (None, 3));
    let merged = database.runs.results(status.run.id).unwrap().merged;
    let value = |name| merged.iter().find(|(known, _)| known == name).unwrap().1.parse::<u32>().unwrap();
    assert_eq!(value("rows"), 31);
    assert!(value("correct") >= 25, "{merged:?}");
    let snapshot = database.storage.snapshot().unwrap();
    let predictions = snapshot.table("predictions").unwrap();
    assert_eq!((predictions.rows, predictions.shards), (31, 3));
    let used = database.storage.scan(&snapshot, &predictions, None, Some(&[3])).unwrap().next().unwrap().unwrap();
    assert_eq!(used.column(0).as_string::<i32>().value(0), records[1].id);
}
