//! Outputs that stay on the GPU until they are committed, and after that.

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Int64Type};
use quern::base::{Column, DType, Schema};
use quern::device::{Buffer, Device, Quota};
use quern::run::RunRequest;
use quern::table::{OutputBudget, OutputTable, RawColumn};

use super::bench::{Fake, counts, fail_at, has_failed};
use super::runs::{counted, receipts, told};
use crate::run::database::Database;
use crate::support::repeats;

const SQUARES: (&str, &str) = ("squares", "udfs/sum-of-squares");

const INVALID_VALUE: i32 = 1;

/// Memory of a column of few rows.
const SMALLEST: u64 = quern::device::ALIGNMENT_BYTES as u64;

fn squares(input: &str, output: &str) -> RunRequest {
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
fn a_run_that_fails_leaves_nothing_of_its_outputs_on_the_gpu() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let database = Database::on(device.clone(), &[SQUARES]);
        database.points("points", 1, 100);
        assert_eq!(database.run(squares("points", "sums")).run.error, None);
        let mut failures = 0;
        for call in (1..).step_by(usize::try_from(repeats(5, 1)).unwrap()) {
            let before = device.pool.tables_bytes();
            fail_at(call, INVALID_VALUE);
            let status = database.run(squares("points", "sums"));
            let failed = has_failed();
            fail_at(0, 0);
            if status.run.error.is_some() {
                failures += 1;
                assert_eq!(device.pool.tables_bytes(), before, "call {call}");
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
            restarted.publish(sums.version, "sums", Some(0), vec![out.take_kept()]).unwrap();
            assert_eq!(restarted.held().contains_key(&sums.id), is_there, "{rows} rows of 50");
        }
    });
}

#[test]
fn outputs_on_the_gpu_count_against_the_quota_and_go_to_the_host_where_there_is_no_room() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        let quota = Quota::new(30);
        let new = || OutputTable::new("out", table(), OutputBudget::new(1 << 20)).unwrap().on_device(&device, &quota);
        let tensor = |values: &[f32]| Buffer::from_slice(&device.pool, &bytes(values));
        let mut out = new();
        out.resize(3).unwrap();
        let keep = |out: &mut OutputTable, index, start, values: &[f32]| {
            out.keep_tensor((index, start), DType::F32, &[values.len()], || tensor(values)).unwrap()
        };
        let down = counts().downloaded;
        assert!(keep(&mut out, 0, 0, &[1.0, 2.0]) && keep(&mut out, 1, 1, &[5.0, 6.0]));
        assert_eq!((quota.used_bytes(), device.pool.tables_bytes()), (24, 2 * SMALLEST));
        // Eight bytes a row are too much beside them.
        let refused = out.keep_tensor((2, 0), DType::I64, &[3], || tensor(&[0.0; 6])).unwrap();
        assert!(!refused && quota.used_bytes() == 24);
        let wrong = out.keep_tensor((0, 2), DType::F32, &[2], || tensor(&[0.0; 2])).unwrap_err().to_string();
        assert!(wrong.starts_with("rows 2 to 4 of column `x` are not reserved"), "{wrong}");
        assert_eq!(counts().downloaded, down, "nothing has moved yet");
        // A fourth row fits for `x` alone: `y` comes to the host, eight bytes more than it had room for.
        out.resize(4).unwrap();
        assert_eq!((counts().downloaded - down, quota.used_bytes()), (12, 16));
        // What the guest writes itself is put to the rest on the host.
        let data = RawColumn { rows: 1, validity: None, offsets: None, values: &bytes(&[9.0]) };
        out.write(0, 3, &data).unwrap();
        assert_eq!((counts().downloaded - down, quota.used_bytes()), (12 + 16, 0));
        assert_eq!(out.read_back().unwrap(), 12 + 16);
        assert!(out.take_kept().is_empty());
        let batch = out.into_batches().unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], [1.0, 2.0, 0.0, 9.0]);
        let y: Vec<Option<f32>> = batch.column(1).as_primitive::<Float32Type>().iter().collect();
        assert_eq!(y, [None, Some(5.0), Some(6.0), None]);
        assert_eq!(batch.column(2).as_primitive::<Int64Type>().values()[..], [0; 4]);
        assert_eq!((device.pool.tables_bytes(), quota.used_bytes()), (0, 0));

        // What is kept to the end is what the batches hold; a column with nulls is not kept.
        let mut out = new();
        out.resize(3).unwrap();
        assert!(keep(&mut out, 0, 1, &[7.0, 8.0]) && keep(&mut out, 1, 0, &[1.0]));
        out.resize(2).unwrap();
        out.resize(3).unwrap();
        assert_eq!(out.read_back().unwrap(), 24);
        let kept = out.take_kept();
        assert!(!kept.is_empty());
        let batch = out.into_batches().unwrap().remove(0);
        assert_eq!(batch.column(0).as_primitive::<Float32Type>().values()[..], [0.0, 7.0, 0.0]);
        assert_eq!((device.pool.tables_bytes(), quota.used_bytes()), (SMALLEST, 0));
        drop(kept);
        assert_eq!(device.pool.tables_bytes(), 0);
    });
}
