//! Runs of real components over tables on the fake GPU.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use quern::base::RunId;
use quern::device::Device;
use quern::proc::Receipt;
use quern::run::{RunRequest, RunStatus};
use quern::storage::RunState;

use super::bench::{Fake, counts};
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
