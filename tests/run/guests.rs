//! Runs of real components on threads of this process.

use arrow::array::AsArray;
use quern::base::{RunId, Sharding};
use quern::proc::Receipt;
use quern::run::{RunRequest, Value};
use quern::storage::RunState;
use sha2::Digest;

use super::database::Database;

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
        let status = database.run(RunRequest::new("sum_of_squares").input(&table).output(&out));
        assert_eq!((status.run.state, status.run.error), (RunState::Complete, None));
        assert_eq!(database.sums(&out), expected);
        assert_eq!(status.instances.len(), shards as usize);
        let merged = database.runs.results(status.run.id).unwrap().merged;
        assert_eq!(merged, [("rows".to_owned(), Value::Text("100".to_owned()))]);
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
    let status = database.run(RunRequest::new("sum_of_squares").input("empty").output("nothing"));
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
            database.runs.execute(RunRequest::new("sum_of_squares").input(table).output(format!("out{i}"))).unwrap()
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
        let request = output.into_iter().fold(RunRequest::new(proc), |request, output| request.output(output));
        let status = database.run(request);
        let error = status.run.error.unwrap();
        assert_eq!(status.run.state, RunState::Error);
        assert!(error.starts_with(begin), "{error}");
        assert!(!database.has_table("rows"));
    }
    let logs = database.runs.logs(RunId(3), 0, 10).unwrap();
    assert!(logs.iter().any(|line| line.text.contains("row 7 has no label")), "{logs:?}");
    // The host is well.
    let status = database.run(RunRequest::new("sum_of_squares").input("points").output("sums"));
    assert_eq!(status.run.error, None);
    assert_eq!(database.sums("sums").len(), 100);
}

#[test]
fn a_model_is_saved_with_its_checksum_and_used_by_a_distributed_proc() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.images("training", 2, 200);
    database.images("fresh", 3, 31);
    let request = RunRequest { seed: Some(1), ..RunRequest::new("train") };
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

    let status = database.run(RunRequest::new("infer").input("fresh").input("models").output("predictions"));
    assert_eq!((status.run.error, status.instances.len()), (None, 3));
    let merged = database.runs.results(status.run.id).unwrap().merged;
    let value =
        |name| merged.iter().find(|(known, _)| known == name).unwrap().1.text().unwrap().parse::<u32>().unwrap();
    assert_eq!(value("rows"), 31);
    assert!(value("correct") >= 25, "{merged:?}");
    let snapshot = database.storage.snapshot().unwrap();
    let predictions = snapshot.table("predictions").unwrap();
    assert_eq!((predictions.rows, predictions.shards), (31, 3));
    let used = database.storage.scan(&snapshot, &predictions, None, Some(&[3])).unwrap().next().unwrap().unwrap();
    assert_eq!(used.column(0).as_string::<i32>().value(0), records[1].id);
}
