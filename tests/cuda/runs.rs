//! Runs of real components over tables on the fake GPU.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use quern::base::RunId;
use quern::device::Device;
use quern::proc::Receipt;
use quern::run::{RunRequest, RunStatus};
use quern::storage::RunState;

use super::bench::{Fake, counts, slow_compiler};
use crate::run::database::Database;

pub(super) const MNIST: (&str, &str) = ("mnist", "udfs/mnist");

/// Training of a small network, 100 steps of 20 images.
pub(super) fn train(table: &str) -> RunRequest {
    let request = RunRequest::new("train").input(table).output("models").param("epochs", "10").param("batch", "20");
    RunRequest { seed: Some(3), ..request.param("hidden", "16").param("checkpoint_every", "0") }
}

pub(super) fn infer(table: &str, output: &str) -> RunRequest {
    RunRequest::new("infer").input(table).input("models").output(output)
}

pub(super) fn on_gpu() -> Database {
    Database::on(Device::cuda(0, 2).unwrap(), &[MNIST])
}

/// A run that completes, with what the fake driver copied meanwhile, up and down.
pub(super) fn counted(database: &Database, request: RunRequest) -> (RunStatus, (u64, u64)) {
    let before = counts();
    let status = database.run(request);
    let after = counts();
    assert_eq!((status.run.state, &status.run.error), (RunState::Complete, &None));
    (status, (after.uploaded - before.uploaded, after.downloaded - before.downloaded))
}

pub(super) fn receipts(status: &RunStatus) -> Vec<Receipt> {
    status.instances.iter().map(|instance| serde_json::from_str(&instance.receipt).unwrap()).collect()
}

/// What the receipts of a run say was copied, up and down.
pub(super) fn told(status: &RunStatus) -> (u64, u64) {
    let moved = receipts(status).into_iter().map(|receipt| receipt.moved);
    moved.fold((0, 0), |(up, down), moved| (up + moved.to_device_bytes(), down + moved.from_device_bytes()))
}

/// The digits that were told, by id.
fn predictions(database: &Database, table: &str) -> Vec<(i64, i32)> {
    let snapshot = database.storage.snapshot().unwrap();
    let table = snapshot.table(table).unwrap();
    let batches = database.storage.scan(&snapshot, &table, None, Some(&[0, 1])).unwrap();
    let mut rows: Vec<(i64, i32)> = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let ids = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values();
        rows.extend(ids.iter().copied().zip(batch.column(1).as_primitive::<Int32Type>().values().iter().copied()));
    }
    rows.sort_unstable();
    rows
}

/// Values of a metric in order.
fn metric(database: &Database, run: RunId, name: &str) -> Vec<f64> {
    let points = database.storage.metrics(run, 0, 1000).unwrap();
    points.into_iter().filter(|point| point.name == name).map(|point| point.value).collect()
}

#[test]
fn digits_are_learned_and_told_on_the_gpu_as_on_the_processor() {
    Fake::PLAIN.run(|| {
        let (gpu, cpu) = (on_gpu(), Database::new(&[MNIST]));
        for shards in [1, 4] {
            let table = format!("digits{shards}");
            let mut losses = Vec::new();
            for database in [&gpu, &cpu] {
                database.images(&table, shards, 200);
                let status = database.run(train(&table));
                assert_eq!(status.run.error, None);
                losses.push(
                    [metric(database, status.run.id, "loss"), metric(database, status.run.id, "epoch_loss")].concat(),
                );
            }
            // The mean of each epoch of ten steps, told twice.
            assert_eq!(losses[0].len(), 20);
            let differ = losses[0].iter().zip(&losses[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(differ < 1e-3, "losses differ by {differ}: {losses:?}");
            for database in [&gpu, &cpu] {
                assert_eq!(database.run(infer(&table, &format!("told{shards}"))).run.error, None);
            }
            let told = predictions(&gpu, &format!("told{shards}"));
            assert_eq!(told.len(), 200);
            assert_eq!(told, predictions(&cpu, &format!("told{shards}")));
        }
    });
}

#[test]
fn receipts_on_the_gpu_are_what_the_driver_copied_and_a_second_run_moves_no_column() {
    Fake::PLAIN.run(|| {
        let database = on_gpu();
        for shards in [1, 4] {
            let table = format!("digits{shards}");
            database.images(&table, shards, 200);
            let (first, copied) = counted(&database, train(&table));
            assert_eq!(told(&first), copied, "{:?}", receipts(&first));
            let columns = 200 * (784 + 4);
            assert_eq!(receipts(&first)[0].moved.inputs_bytes, columns);
            assert!(receipts(&first).iter().all(|receipt| receipt.device == "cuda:0"));
            for (round, output) in ["first", "second"].into_iter().enumerate() {
                let (status, copied) = counted(&database, infer(&table, &format!("{output}{shards}")));
                assert_eq!(told(&status), copied, "{shards} shards, {output}: {:?}", receipts(&status));
                let inputs: u64 = receipts(&status).iter().map(|receipt| receipt.moved.inputs_bytes).sum();
                if round == 1 {
                    assert_eq!(inputs, 0, "columns and model are there");
                }
            }
            let before = counts();
            let (again, copied) = counted(&database, train(&table));
            let (replays, launches) = (counts().replays - before.replays, counts().launches - before.launches);
            assert!(replays > 50 && launches < 2000, "100 steps: {replays} graphs, {launches} launches");
            assert_eq!(told(&again), copied);
            assert_eq!(receipts(&again)[0].moved.inputs_bytes, 0);
        }
    });
}

#[test]
fn kernels_that_take_long_to_compile_are_told_in_the_log_and_the_status() {
    Fake::PLAIN.run(|| {
        // Nothing is kept there, so each text is compiled.
        let cache = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::set_var("XDG_CACHE_HOME", cache.path()) };
        let database = on_gpu();
        database.images("digits", 1, 40);
        slow_compiler(Duration::from_millis(300));
        let id = database.runs.execute(train("digits")).unwrap();
        let compiling = |text: &str| {
            text.strip_prefix("compiling ")
                .and_then(|rest| rest.strip_suffix(" for sm_90: first use, kept for the next"))
                .and_then(|kernels| kernels.strip_suffix(" kernels").or(kernels.strip_suffix(" kernel")))
                .is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0))
        };
        let until = Instant::now() + Duration::from_secs(60);
        while !database.runs.status(id).unwrap().instances.iter().any(|instance| compiling(&instance.status)) {
            assert!(Instant::now() < until, "{:?}", database.runs.status(id));
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = database.ended(id);
        assert_eq!(status.run.error, None);
        assert!(!compiling(&status.instances[0].status), "the status is the guest's again: {status:?}");
        let lines: Vec<String> = database.runs.logs(id, 0, 1000).unwrap().into_iter().map(|line| line.text).collect();
        assert!(lines.iter().any(|line| compiling(line)), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("compiled ") && line.ends_with(" s")), "{lines:?}");
        let receipt = receipts(&status).remove(0);
        assert!(receipt.compile_ms >= 500.0 && receipt.device_ms < receipt.wall_ms - receipt.compile_ms + 50.0);
        // The next run has them.
        slow_compiler(Duration::ZERO);
        let next = database.run(train("digits"));
        assert!(receipts(&next)[0].compile_ms < 250.0, "{next:?}");
        assert!(database.runs.logs(next.run.id, 0, 1000).unwrap().iter().all(|line| !compiling(&line.text)));
    });
}
