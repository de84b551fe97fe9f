//! Runs on a fake GPU that fails or is full: an error that says so or success,
//! nothing half-written, and the next run works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quern::base::LimitChanges;
use quern::device::{Device, Owner};
use quern::run::{RunRequest, RunStatus};
use quern::storage::RunState;

use super::bench::{Compiler, Fake, fail_at, has_failed, set_compiler};
use super::outputs::{SQUARES, squares};
use crate::run::database::Database;
use crate::support::guarded::Guarded;
use crate::support::repeats;

const ILLEGAL_ADDRESS: i32 = 700;
const OUT_OF_MEMORY: i32 = 2;
const INVALID_VALUE: i32 = 1;

const MNIST: (&str, &str) = ("mnist", "udfs/mnist");

fn train(table: &str, hidden: u32) -> RunRequest {
    let request = RunRequest::new("train").input(table).output("models").param("epochs", "2").param("batch", "20");
    RunRequest { seed: Some(3), ..request.param("hidden", hidden.to_string()).param("checkpoint_every", "0") }
}

fn infer() -> RunRequest {
    RunRequest::new("infer").input("digits").input("models").output("told")
}

fn rows(database: &Database, table: &str) -> u64 {
    database.storage.snapshot().unwrap().table(table).map_or(0, |table| table.rows)
}

fn receipt(status: &RunStatus) -> quern::proc::Receipt {
    serde_json::from_str(&status.instances[0].receipt).unwrap()
}

/// Lets calls of the driver during a run fail, each in turn or some of them.
fn calls_fail_in_turn(code: i32, told: &str) {
    let database = Database::on(Device::cuda(0, 1).unwrap(), &[MNIST]);
    database.images("digits", 1, 40);
    assert_eq!(database.run(train("digits", 8)).run.error, None);
    assert_eq!(database.run(infer()).run.error, None);
    for (request, table, added) in [(train("digits", 8), "models", 1), (infer(), "told", 40)] {
        let mut failures = 0;
        for call in (1..).step_by(usize::try_from(repeats(9, 1)).unwrap()) {
            let before = rows(&database, table);
            fail_at(call, code);
            let status = database.run(request.clone());
            let failed = has_failed();
            fail_at(0, 0);
            match &status.run.error {
                Some(error) => {
                    assert!(error.contains(told), "{table}, call {call}: {error}");
                    assert_eq!(rows(&database, table), before, "call {call}: nothing is half-written");
                }
                // What fails late, or can be done in another way, fails nobody.
                None => assert_eq!(rows(&database, table), before + added, "call {call}"),
            }
            let before = rows(&database, "told");
            assert_eq!(database.run(infer()).run.error, None, "after call {call}");
            assert_eq!(rows(&database, "told"), before + 40);
            failures += u64::from(failed);
            if !failed {
                break;
            }
        }
        assert!(failures > 2, "{failures} calls of {table} failed");
    }
}

#[test]
fn whatever_call_of_a_run_loses_the_gpu_that_run_alone_fails_and_tables_are_loaded_again() {
    Fake::PLAIN.run(|| calls_fail_in_turn(ILLEGAL_ADDRESS, "cuda:0 was lost (cu"));
}

#[test]
fn whatever_call_of_a_run_finds_the_gpu_full_that_run_alone_fails() {
    Fake::PLAIN.run(|| calls_fail_in_turn(OUT_OF_MEMORY, "cuda:0 is full"));
}

#[test]
fn whatever_call_of_a_run_is_refused_that_run_alone_fails() {
    Fake::PLAIN.run(|| calls_fail_in_turn(INVALID_VALUE, "cuda:0 did not do what it was asked"));
}

/// The GPU is lost.
fn lose(device: &Device) {
    fail_at(1, ILLEGAL_ADDRESS);
    assert!(device.pool.opened().unwrap().run(|gpu| gpu.synchronise()).is_err());
    fail_at(0, 0);
    assert!(device.pool.opened().is_none(), "it is lost");
}

#[test]
fn a_gpu_that_is_lost_at_any_step_of_a_commit_takes_nothing_of_it_away() {
    Fake::PLAIN.run(|| {
        let files = Guarded::new();
        let device = Device::cuda(0, 1).unwrap();
        let gpu = Database::on_files(device.clone(), Arc::new(files.clone()), &[SQUARES]);
        let cpu = Database::new(&[SQUARES]);
        // More than fits the catalog, so that rows are written to a file first.
        for database in [&gpu, &cpu] {
            database.points("points", 1, 80_000);
        }
        for request in [squares("points", "once"), squares("once", "twice")] {
            assert_eq!(cpu.run(request).run.error, None);
        }
        let mut steps = Vec::new();
        for place in 0.. {
            let (is_committing, step) = (AtomicBool::new(false), AtomicU64::new(0));
            let lost_at: Arc<Mutex<Option<String>>> = Arc::default();
            let (device, lost) = (device.clone(), Arc::clone(&lost_at));
            files.set(move |kind| {
                // The file of the rows is the first that a run creates.
                let is_step = is_committing.fetch_or(kind == "create", Ordering::Relaxed) || kind == "create";
                if is_step && step.fetch_add(1, Ordering::Relaxed) == place {
                    lose(&device);
                    *lost.lock().unwrap() = Some(kind.to_owned());
                }
                Ok(())
            });
            let (once, twice) = (format!("once{place}"), format!("twice{place}"));
            let status = gpu.run(squares("points", &once));
            files.set(|_| Ok(()));
            assert_eq!(status.run.error, None, "step {place}");
            let Some(kind) = lost_at.lock().unwrap().take() else { break };
            assert_eq!(gpu.sums(&once), cpu.sums("once"), "{kind}");
            // What was kept there is gone, and is loaded again.
            let status = gpu.run(squares(&once, &twice));
            assert_eq!((status.run.error.as_ref(), receipt(&status).device.as_str()), (None, "cuda:0"), "{kind}");
            assert_eq!(receipt(&status).moved.inputs_bytes, 80_000 * 16, "{kind}");
            assert_eq!(gpu.sums(&twice), cpu.sums("twice"), "{kind}");
            steps.push(kind);
        }
        let commit = ["create", "sync folder", "begin", "tables", "records", "commit"];
        assert!(commit.iter().all(|step| steps.iter().any(|kind| kind == step)), "{steps:?}");
    });
}

#[test]
fn a_run_beyond_its_quota_fails_with_the_limit_and_the_next_one_works() {
    Fake::PLAIN.run(|| {
        let database = Database::on(Device::cuda(0, 1).unwrap(), &[MNIST]);
        database.images("digits", 1, 40);
        let mut limits = LimitChanges::new();
        limits.set("device_bytes", 100_000).unwrap();
        let status = database.run(RunRequest { limits, ..train("digits", 64) });
        assert_eq!(status.run.state, RunState::Error);
        let error = status.run.error.unwrap();
        assert!(error.contains("limit `device_bytes`: ") && error.contains(" 100000 bytes allowed"), "{error}");
        assert_eq!(rows(&database, "models"), 0);
        assert_eq!(database.run(train("digits", 8)).run.error, None);
    });
}

#[test]
fn columns_of_other_tables_leave_a_full_gpu_before_a_run_is_refused() {
    Fake::PLAIN.run(|| {
        // The images of each table take 157 kB, one network some 400 kB.
        let device = Device::cuda_with(0, 1, 1 << 20).unwrap();
        let database = Database::on(device.clone(), &[MNIST]);
        for table in ["other", "digits"] {
            database.images(table, 1, 200);
        }
        assert_eq!(receipt(&database.run(train("other", 8))).moved.inputs_bytes, 200 * 788);
        assert_eq!(receipt(&database.run(train("other", 8))).moved.inputs_bytes, 0);
        // Somebody takes all of it, the columns' part as well.
        let owner = Owner::instance(u64::MAX);
        let held = device.pool.take(512 << 10, owner).unwrap();
        assert!(device.pool.tables_bytes() >= 200 * 788, "there is room beside them");
        let more = device.pool.take(512 << 10, owner).unwrap();
        assert_eq!(device.pool.tables_bytes(), 0, "columns gave way");
        drop((held, more));
        assert_eq!(receipt(&database.run(train("other", 8))).moved.inputs_bytes, 200 * 788);
        // What is too large for all of it is refused, and the next run works.
        let status = database.run(train("digits", 512));
        assert!(status.run.error.as_ref().is_some_and(|e| e.contains("cuda:0 is full")), "{:?}", status.run.error);
        let status = database.run(train("digits", 8));
        assert_eq!((status.run.error.as_ref(), receipt(&status).device.as_str()), (None, "cuda:0"));
    });
}

#[test]
fn models_that_no_run_holds_leave_a_full_gpu_and_are_loaded_again() {
    Fake::PLAIN.run(|| {
        let device = Device::cuda_with(0, 1, 1 << 20).unwrap();
        let database = Database::on(device.clone(), &[MNIST]);
        database.images("digits", 1, 40);
        assert_eq!(database.run(train("digits", 16)).run.error, None);
        assert_eq!(database.run(infer()).run.error, None);
        // 784 x 16 weights of four bytes, and some more.
        let model = device.pool.programs_bytes();
        assert!(model >= 784 * 16 * 4, "{model}");
        let owner = Owner::instance(u64::MAX);
        assert!(device.pool.take(2 << 20, owner).is_err());
        assert_eq!(device.pool.programs_bytes(), model, "nothing leaves for what is too large");
        let all = device.pool.take(1 << 20, owner).unwrap();
        assert_eq!((device.pool.tables_bytes(), device.pool.programs_bytes()), (0, 1 << 20));
        drop(all);
        let status = database.run(infer());
        assert_eq!(status.run.error, None);
        assert!(receipt(&status).moved.inputs_bytes >= 784 * 16 * 4, "the model is loaded again");
    });
}

/// Lets calls of the driver fail in the first attempt of runs that ask for another.
fn calls_fail_and_runs_are_tried_again(code: i32, told: &str) {
    let database = Database::on(Device::cuda(0, 1).unwrap(), &[MNIST]);
    database.images("digits", 1, 40);
    assert_eq!(database.run(train("digits", 8)).run.error, None);
    assert_eq!(database.run(infer()).run.error, None);
    let mut again = 0;
    for call in (1..).step_by(usize::try_from(repeats(11, 1)).unwrap()) {
        let before = rows(&database, "told");
        fail_at(call, code);
        let status = database.run(RunRequest { retries: 2, ..infer() });
        let failed = has_failed();
        fail_at(0, 0);
        assert_eq!(status.run.error, None, "call {call}");
        assert_eq!(rows(&database, "told"), before + 40, "call {call}: once");
        let lines = database.runs.logs(status.run.id, 0, 100).unwrap();
        let tried: Vec<_> = lines.iter().filter(|line| line.text.contains("is tried again")).collect();
        let begin = "instance 0 is tried again (1 of 2): ";
        let is_told = |text: &str| text.starts_with(begin) && text.contains(told);
        assert!(tried.len() <= 1 && tried.iter().all(|line| is_told(&line.text)), "call {call}: {tried:?}");
        again += tried.len();
        if !failed {
            break;
        }
    }
    assert!(again > 2, "{again} runs were tried again");
}

#[test]
fn a_run_that_lost_the_gpu_is_tried_again_where_that_is_asked_for_and_commits_once() {
    Fake::PLAIN.run(|| calls_fail_and_runs_are_tried_again(ILLEGAL_ADDRESS, "cuda:0 was lost (cu"));
}

#[test]
fn a_proc_that_is_told_that_the_gpu_is_full_is_tried_again_where_that_is_asked_for() {
    Fake::PLAIN.run(|| calls_fail_and_runs_are_tried_again(OUT_OF_MEMORY, "cuda:0 is full"));
}

#[test]
fn a_kernel_that_does_not_compile_fails_its_run_alone_with_the_compilers_words() {
    Fake::PLAIN.run(|| {
        // Nothing is kept there, so each text is compiled.
        let cache = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::set_var("XDG_CACHE_HOME", cache.path()) };
        let database = Database::on(Device::cuda(0, 1).unwrap(), &[MNIST]);
        database.images("digits", 1, 40);
        // What a run needs besides the driver is opened by the first that needs it.
        quern::device::cuda::probe().unwrap();
        set_compiler(Compiler::Refuses);
        let status = database.run(train("digits", 8));
        let error = status.run.error.unwrap();
        assert!(error.contains("do not compile for sm_90"), "{error}");
        assert!(error.contains("error: nothing compiles today"), "{error}");
        assert_eq!((status.run.state, rows(&database, "models")), (RunState::Error, 0));
        set_compiler(Compiler::Works);
        assert_eq!(database.run(train("digits", 8)).run.error, None);
        assert_eq!(rows(&database, "models"), 1);
    });
}
