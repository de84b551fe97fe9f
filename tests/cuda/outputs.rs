//! Outputs that stay on the GPU until they are committed, and after that.

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Int64Type};
use quern::base::{Column, DType, Limits, Residency, Schema};
use quern::device::{Buffer, Device, KillSwitch, Quota};
use quern::run::RunRequest;
use quern::table::{OutputBudget, OutputTable, RawColumn};
use quern::tensor::{Executor, Mode, Session, Settings, Teller};

use super::bench::{Fake, counts, fail_at, has_failed};
use super::runs::{counted, receipts, told};
use crate::run::database::Database;
use crate::support::repeats;

pub(super) const SQUARES: (&str, &str) = ("squares", "udfs/sum-of-squares");

const INVALID_VALUE: i32 = 1;

/// Memory of a column of few rows.
const SMALLEST: u64 = quern::device::ALIGNMENT_BYTES as u64;

pub(super) fn squares(input: &str, output: &str) -> RunRequest {
    RunRequest::new("sum_of_squares").input(input).output(output)
}

#[test]
fn what_a_run_wrote_on_the_gpu_is_read_there_by_the_next_and_is_what_was_committed() {
    Fake::PLAIN.run(|| {
        let (gpu, cpu) = (Database::on(Device::cuda(0, 2).unwrap(), &[SQUARES]), Database::new(&[SQUARES]));
        for shards in [1, 4] {
            let name = |what: &str| format!("{what}{shards}");
            for database in [&gpu, &cpu] {
                database.points(&name("points"), shards, 100);
            }
            for (round, rows) in [("first", 100), ("second", 200)] {
                let (status, copied) = counted(&gpu, squares(&name("points"), &name("once")));
                assert_eq!(told(&status), copied, "{shards} shards, {round}");
                // `id` and `y` come down for the commit, each once.
                let down: u64 = receipts(&status).iter().map(|receipt| receipt.moved.outputs_bytes).sum();
                assert_eq!(down, 100 * 16);
                // Rows of the second round follow those of the first in their columns.
                let (status, copied) = counted(&gpu, squares(&name("once"), &name(round)));
                assert_eq!(told(&status), copied, "{shards} shards, {round}");
                let receipts = receipts(&status);
                assert_eq!(receipts.iter().map(|receipt| receipt.moved.inputs_bytes).sum::<u64>(), 0, "{round}");
                assert_eq!(receipts.iter().map(|receipt| receipt.rows_in).sum::<u64>(), rows);
                assert_eq!(cpu.run(squares(&name("points"), &name("once"))).run.error, None);
                assert_eq!(cpu.run(squares(&name("once"), &name(round))).run.error, None);
                let found = gpu.sums(&name(round));
                assert_eq!(found.len() as u64, rows);
                assert_eq!(found, cpu.sums(&name(round)));
            }
        }
    });
}

#[test]
fn rows_that_will_be_dealt_do_not_stay_on_the_gpu_and_others_leave_where_the_run_needs_the_room() {
    Fake::PLAIN.run(|| {
        let (gpu, cpu) = (Database::on(Device::cuda(0, 2).unwrap(), &[SQUARES]), Database::new(&[SQUARES]));
        for database in [&gpu, &cpu] {
            database.points("points", 1, 40_000);
            database.points("few", 2, 2);
            assert_eq!(database.run(squares("few", "dealt")).run.error, None);
        }
        let run = |output: &str, device_bytes: Option<u64>| {
            let mut request = squares("points", output);
            if let Some(bytes) = device_bytes {
                request.limits.set("device_bytes", bytes).unwrap();
            }
            let (status, copied) = counted(&gpu, request);
            assert_eq!(told(&status), copied, "{output}");
            assert_eq!(cpu.run(squares("points", output)).run.error, None);
            assert_eq!(gpu.sums(output), cpu.sums(output));
            receipts(&status)[0].peak_device_bytes
        };
        let (alike, dealt) = (run("alike", None), run("dealt", None));
        // Sixteen bytes a row are not held, of which the eight of `y` come last.
        assert!(dealt + 8 * 40_000 <= alike, "{dealt} {alike}");
        // What suffices where nothing stays suffices where it would.
        assert!(run("narrow", Some(dealt)) <= dealt);
        // A table that keeps nothing on the GPU has no use for it.
        let table = gpu.storage.snapshot().unwrap().table("alike").unwrap();
        gpu.tables.set_residency(&table, Residency::Host).unwrap();
        assert!(run("alike", None) <= dealt);
    });
}

#[test]
fn a_run_that_fails_leaves_nothing_of_its_outputs_on_the_gpu() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let database = Database::on(device.clone(), &[SQUARES]);
        database.points("points", 1, 100);
        assert_eq!(database.run(squares("points", "sums")).run.error, None);
        let mut failures = 0;
        for call in (1..).step_by(usize::try_from(repeats(5, 1)).unwrap()) {
            let before = (device.pool.tables_bytes(), counts().downloaded);
            fail_at(call, INVALID_VALUE);
            let status = database.run(squares("points", "sums"));
            let failed = has_failed();
            fail_at(0, 0);
            assert_eq!(told(&status).1, counts().downloaded - before.1, "call {call}: what moved is told");
            if status.run.error.is_some() {
                failures += 1;
                assert_eq!(device.pool.tables_bytes(), before.0, "call {call}");
            }
            if !failed {
                break;
            }
        }
        assert!(failures > 2, "{failures} runs failed");
    });
}

/// `x` float32, `y` float32 that may be null, `n` int64.
fn table() -> Schema {
    let column = |(name, column_type, nullable): (&str, &str, bool)| Column {
        name: name.to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable,
    };
    Schema::new([("x", "float32", false), ("y", "float32", true), ("n", "int64", false)].map(column).to_vec()).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn output(device: &Device, quota: &Quota) -> OutputTable {
    OutputTable::new("out", table(), OutputBudget::new(8 << 20)).unwrap().on_device(device, quota)
}

/// Writes values of float32 from a row on; whether they stay on the GPU.
fn keep(out: &mut OutputTable, device: &Device, (index, start): (usize, u64), values: &[f32]) -> bool {
    let buffer = || Buffer::from_slice(&device.pool, &bytes(values));
    out.keep_tensor((index, start), DType::F32, &[values.len()], buffer).unwrap()
}

#[test]
fn after_a_commit_a_large_table_of_which_nothing_is_there_is_not_counted() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let database = Database::on(device.clone(), &[SQUARES]);
        database.points("points", 4, 100);
        for _ in 0..2 {
            assert_eq!(database.run(squares("points", "sums")).run.error, None);
        }
        let snapshot = database.storage.snapshot().unwrap();
        let sums = snapshot.table("sums").unwrap();
        let restarted = quern::table::Tables::new(database.storage.clone(), device.clone());
        for (rows, is_there) in [(10, false), (30, true)] {
            let budget = OutputBudget::new(1 << 20);
            let mut out = OutputTable::new("sums", table(), budget).unwrap().on_device(&device, &Quota::new(1 << 20));
            out.resize(rows).unwrap();
            let one = || Buffer::from_slice(&device.pool, &bytes(&[1.0]));
            assert!(out.keep_tensor((0, 0), DType::F32, &[1], one).unwrap());
            out.read_back().unwrap();
            restarted.publish(sums.version, "sums", Some(0), vec![out.take_kept().claim()]).unwrap();
            assert_eq!(restarted.held().contains_key(&sums.id), is_there, "{rows} rows of 50");
        }
    });
}

#[test]
fn outputs_on_the_gpu_count_against_the_quota_and_go_to_the_host_where_there_is_no_room() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let quota = Quota::new(2 * SMALLEST);
        let mut out = output(&device, &quota);
        out.resize(3).unwrap();
        let down = counts().downloaded;
        assert!(keep(&mut out, &device, (0, 0), &[1.0, 2.0]) && keep(&mut out, &device, (1, 1), &[5.0, 6.0]));
        assert_eq!((quota.used_bytes(), device.pool.tables_bytes()), (2 * SMALLEST, 2 * SMALLEST));
        // A third column is too much beside them, and they do not leave for it.
        let third = || Buffer::from_slice(&device.pool, &bytes(&[0.0; 6]));
        assert!(!out.keep_tensor((2, 0), DType::I64, &[3], third).unwrap());
        assert_eq!(quota.used_bytes(), 2 * SMALLEST);
        let two = || Buffer::from_slice(&device.pool, &bytes(&[0.0; 2]));
        let wrong = out.keep_tensor((0, 2), DType::F32, &[2], two).unwrap_err().to_string();
        assert!(wrong.starts_with("rows 2 to 4 of column `x` are not reserved"), "{wrong}");
        assert_eq!(counts().downloaded, down, "nothing has moved yet");
        // What the guest writes itself is put to the rest on the host; that it moved is told, whatever follows.
        out.resize(4).unwrap();
        let data = RawColumn { rows: 1, validity: None, offsets: None, values: &bytes(&[9.0]) };
        out.write(0, 3, &data).unwrap();
        assert_eq!((counts().downloaded - down, quota.used_bytes(), out.read_bytes()), (16, SMALLEST, 16));
        out.read_back().unwrap();
        assert_eq!(out.read_bytes(), 16 + 16);
        drop(out.take_kept());
        let batch = out.into_batches().unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], [1.0, 2.0, 0.0, 9.0]);
        let y: Vec<Option<f32>> = batch.column(1).as_primitive::<Float32Type>().iter().collect();
        assert_eq!(y, [None, Some(5.0), Some(6.0), None]);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().values()[..], [0; 4]);
        assert_eq!((device.pool.tables_bytes(), quota.used_bytes()), (0, 0));

        // What is kept to the end is what the batches hold; a column with nulls is not kept.
        let mut out = output(&device, &quota);
        out.resize(3).unwrap();
        assert!(keep(&mut out, &device, (0, 1), &[7.0, 8.0]) && keep(&mut out, &device, (1, 0), &[1.0]));
        out.resize(2).unwrap();
        out.resize(3).unwrap();
        out.read_back().unwrap();
        assert_eq!(out.read_bytes(), 24);
        let kept = out.take_kept();
        let batch = out.into_batches().unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], [0.0, 7.0, 0.0]);
        // It counts until it is the table's.
        assert_eq!((device.pool.tables_bytes(), quota.used_bytes()), (SMALLEST, SMALLEST));
        let rows = kept.claim();
        assert_eq!((rows.is_empty(), device.pool.tables_bytes(), quota.used_bytes()), (false, SMALLEST, 0));
        drop(rows);
        assert_eq!(device.pool.tables_bytes(), 0);
    });
}

const ROWS: usize = 100_000;
const COLUMN_BYTES: u64 = 4 * ROWS as u64;

/// An output of which one column of 400 kB is on the GPU, and its values.
fn large(device: &Device, quota: &Quota) -> (OutputTable, Vec<f32>) {
    let mut out = output(device, quota);
    out.resize(ROWS as u64).unwrap();
    let values: Vec<f32> = (0..ROWS).map(|row| row as f32).collect();
    assert!(keep(&mut out, device, (0, 0), &values));
    (out, values)
}

pub(super) fn settings(quota: &Quota) -> Settings {
    Settings {
        quota: quota.clone(),
        kill: KillSwitch::new(),
        limits: Limits::default(),
        seed: 0,
        stream: 0,
        mode: Mode::Planned,
        teller: Teller::default(),
    }
}

#[test]
fn outputs_give_way_to_tensors_of_their_run_and_to_a_full_gpu() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda_with(0, 1, 1 << 20).unwrap();
        let quota = Quota::new(600 << 10);
        let zeros = vec![0; 400 << 10];
        for full in ["quota", "device"] {
            for ended in [false, true] {
                let (mut out, values) = large(&device, &quota);
                let before = (counts().downloaded, quota.used_bytes());
                assert!(before.1 >= COLUMN_BYTES, "{before:?}");
                let kept = ended.then(|| {
                    out.read_back().unwrap();
                    out.take_kept()
                });
                // Neither the quota nor the device has room for both.
                if full == "quota" {
                    let mut session = Session::new(&Executor::new(device.clone()), settings(&quota));
                    let tensor = session.from_bytes(DType::U8, &[400 << 10], &zeros).unwrap();
                    assert_eq!(quota.used_bytes(), 400 << 10);
                    // What does not fit in any case makes nobody leave.
                    assert!(session.from_bytes(DType::U8, &[201 << 10], &zeros[..201 << 10]).is_err());
                    drop(tensor);
                } else {
                    drop(device.pool.take(800 << 10, quern::device::Owner::instance(u64::MAX)).unwrap());
                }
                assert_eq!((quota.used_bytes(), device.pool.tables_bytes()), (0, 0), "{full} {ended}");
                assert!(kept.is_none_or(|kept| kept.claim().is_empty()));
                // It came to the host once, and is written there from now on.
                let mut expected = values;
                if !ended {
                    assert!(!keep(&mut out, &device, (0, 0), &[5.0]));
                    let target = out.tensor_target(0, 0, DType::F32, &[1]).unwrap();
                    target.copy_from_slice(&5f32.to_le_bytes());
                    expected[0] = 5.0;
                }
                assert_eq!((counts().downloaded - before.0, out.read_bytes()), (COLUMN_BYTES, COLUMN_BYTES));
                let batch = out.into_batches().unwrap().remove(0);
                assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], expected);
            }
        }
    });
}

#[test]
fn an_output_on_the_gpu_is_charged_what_it_holds_there_when_it_grows_row_by_row_and_shrinks() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let quota = Quota::new(8 << 20);
        let mut out = output(&device, &quota);
        for row in 0..2000 {
            out.resize(row + 1).unwrap();
            assert!(keep(&mut out, &device, (0, row), &[row as f32]));
            assert_eq!(quota.used_bytes(), device.pool.tables_bytes());
        }
        assert!(quota.used_bytes() < 8000 * 2 && quota.peak_bytes() < 8000 * 3, "{quota:?}");
        out.resize(2).unwrap();
        assert_eq!((quota.used_bytes(), device.pool.tables_bytes()), (SMALLEST, SMALLEST));
        out.resize(3).unwrap();
        out.read_back().unwrap();
        let batch = out.into_batches().unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], [0.0, 1.0, 0.0]);
        assert_eq!((quota.used_bytes(), device.pool.tables_bytes()), (0, 0));
    });
}
