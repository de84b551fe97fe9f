//! Runs, instances, logs, metrics, results, components and models.

use quern::base::{Column, Error, RunId, Schema, Sharding, SnapshotId};
use quern::storage::{
    ComponentRecord, InstanceRecord, LogLine, MetricPoint, ModelRecord, ResultRecord, RunFilter, RunRecord, RunState,
    StartupRecord, Versions, Write,
};

use super::sample::{create, open, parse};
use crate::support::create_run;

pub(super) fn run_record(proc: &str) -> RunRecord {
    RunRecord {
        id: RunId(0),
        proc: proc.to_owned(),
        component: "mnist".into(),
        sha256: "ab".repeat(32),
        tag: None,
        user: "ann".into(),
        state: RunState::Queued,
        params: "{\"epochs\":5}".into(),
        inputs: "[]".into(),
        outputs: "[]".into(),
        snapshot: None,
        seed: u64::MAX - 1,
        submitted_us: 1_700_000_000_000_000,
        started_us: None,
        component_owner: "owner".to_owned(),
        resume: None,
        warning: None,
        committing_us: None,
        finished_us: None,
        error: None,
        instances: 0,
    }
}

#[test]
fn runs_are_counted_found_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    for i in 0..10_u64 {
        let mut run = run_record(if i % 2 == 0 { "train" } else { "infer" });
        run.tag = (i == 3).then(|| "night".to_owned());
        assert_eq!(create_run(&storage, &run), RunId(i + 1));
    }
    let mut done = storage.run(RunId(5)).unwrap();
    assert_eq!(done, RunRecord { id: RunId(5), ..run_record("train") });
    (done.state, done.snapshot, done.started_us, done.finished_us) =
        (RunState::Error, Some(SnapshotId(7)), Some(1), Some(2));
    (done.error, done.instances) = (Some("no".into()), 4);
    let mut write = storage.begin();
    write.put_run(done.clone());
    write.commit().unwrap();
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.run(RunId(5)).unwrap(), done);
    let ids = |filter: RunFilter| storage.runs(&filter).unwrap().iter().map(|run| run.id.0).collect::<Vec<_>>();
    assert_eq!(ids(RunFilter::default()), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(ids(RunFilter { proc: Some("infer".into()), limit: Some(2), ..RunFilter::default() }), [10, 8]);
    assert_eq!(ids(RunFilter { state: Some(RunState::Error), ..RunFilter::default() }), [5]);
    assert_eq!(ids(RunFilter { tag: Some("night".into()), proc: Some("infer".into()), ..RunFilter::default() }), [4]);
    assert_eq!(storage.run(RunId(77)).unwrap_err().to_string(), "no run `77`");
    let mut write = storage.begin();
    write.delete_run(RunId(10));
    write.commit().unwrap();
    // A number is never given twice.
    assert_eq!(create_run(&storage, &run_record("train")), RunId(11));
}

#[test]
fn what_runs_said_is_read_from_where_one_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let run = create_run(&storage, &run_record("train"));
    let line = |seq: u64| LogLine { run, shard: 0, seq, time_us: 5, level: "info".into(), text: format!("line {seq}") };
    let point =
        |seq: u64, value| MetricPoint { run, shard: 1, seq, time_us: 5, name: "loss".into(), step: u64::MAX, value };
    let instance = InstanceRecord {
        run,
        shard: 3,
        state: RunState::Running,
        status: "epoch 2 of 5".into(),
        fraction: Some(0.4),
        message: None,
        results: "{}".into(),
        receipt: "{}".into(),
    };
    let result = ResultRecord { run, shard: 0, name: "matrix".into(), text: None, bytes: Some(vec![0, 255]) };
    let mut write = storage.begin();
    write.put_logs((1..=100).map(line).collect());
    write.put_metrics(vec![point(1, 0.1 + 0.2), point(2, f64::NAN), point(3, f64::NEG_INFINITY)]);
    write.put_instance(instance.clone());
    write.put_results(vec![result.clone()]);
    write.commit().unwrap();
    assert_eq!(storage.logs(run, 97, 10).unwrap(), [line(98), line(99), line(100)]);
    assert_eq!(storage.logs(run, 0, 2).unwrap(), [line(1), line(2)]);
    let values: Vec<f64> = storage.metrics(run, 0, 10).unwrap().iter().map(|point| point.value).collect();
    assert!(values[0] == 0.1 + 0.2 && values[1].is_nan() && values[2] == f64::NEG_INFINITY);
    assert_eq!(storage.metrics(run, 0, 1).unwrap(), [point(1, 0.1 + 0.2)]);
    assert_eq!(storage.instances(run).unwrap(), [instance]);
    assert_eq!(storage.results(run).unwrap(), [result]);
    let mut write = storage.begin();
    write.delete_run(run);
    write.commit().unwrap();
    assert!(storage.logs(run, 0, 10).unwrap().is_empty() && storage.instances(run).unwrap().is_empty());
}

#[test]
fn components_keep_their_versions_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let record = |version, sha: &str| ComponentRecord {
        name: "mnist".into(),
        version,
        sha256: sha.repeat(32),
        size_bytes: 3,
        created_us: 9,
        active: true,
        procs: "[]".into(),
    };
    for (version, sha) in [(1, "aa"), (2, "bb")] {
        assert_eq!(storage.next_component_version("mnist").unwrap(), version);
        let mut write = storage.begin();
        write.put_component(record(version, sha), sha.as_bytes().to_vec());
        write.commit().unwrap();
    }
    assert_eq!(storage.component("mnist").unwrap(), record(2, "bb"));
    assert_eq!(storage.components(Versions::Active).unwrap().len(), 1);
    assert_eq!(storage.component_bytes(&"aa".repeat(32)).unwrap(), b"aa");
    let error = storage.component("mnits").unwrap_err().to_string();
    assert_eq!(error, "no component `mnits`; did you mean `mnist`?");
    let mut write = storage.begin();
    write.drop_component("mnist");
    write.commit().unwrap();
    assert!(matches!(storage.component("mnist"), Err(Error::NotFound { .. })));
    assert_eq!(storage.components(Versions::All).unwrap().len(), 2);
    assert_eq!(storage.components(Versions::Kept).unwrap(), []);
    assert_eq!(storage.component_bytes(&"bb".repeat(32)).unwrap(), b"bb");
    let mut write = storage.begin();
    write.drop_component("mnist");
    assert!(write.commit().is_err());
}

#[test]
fn checksums_of_models_are_kept_by_id() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let model = ModelRecord {
        id: "cb3257ca-b866-4779-9603-4b4c9faa349a".into(),
        table: "mnist_train_output".into(),
        name: "m".into(),
        sha256: "cc".repeat(32),
        size_bytes: 12,
        created_us: 4,
        run: Some(RunId(2)),
    };
    let create = |write: &mut Write| {
        let column = Column { name: "id".into(), column_type: parse("uuid"), nullable: false };
        let schema = Schema::new(vec![column]).unwrap();
        write.create_table(&model.table, &schema, Sharding::Replicated, 1).unwrap();
    };
    let mut write = storage.begin();
    create(&mut write);
    write.put_model(model.clone());
    write.commit().unwrap();
    assert_eq!(storage.model(&model.id).unwrap(), Some(model.clone()));
    assert_eq!(storage.model("other").unwrap(), None);
    assert_eq!(storage.models().unwrap(), std::slice::from_ref(&model));
    // They go with their table, and are not those of another that takes its name.
    let mut write = storage.begin();
    write.drop_table(&model.table).unwrap();
    write.commit().unwrap();
    assert_eq!(storage.models().unwrap(), []);
    let mut write = storage.begin();
    create(&mut write);
    write.commit().unwrap();
    assert_eq!(storage.models().unwrap(), []);
    assert_eq!(storage.model(&model.id).unwrap(), Some(model), "older snapshots have its row");
}

#[test]
fn what_a_cancelled_request_led_to_does_not_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let request = StartupRecord {
        id: 0,
        proc: "p".into(),
        request: "{}".into(),
        user: "owner".into(),
        created_us: 1,
        last_run: None,
        last_error: None,
    };
    let ids = [(); 2].map(|()| storage.add_startup(request.clone()).unwrap());
    let mut write = storage.begin();
    write.delete_startup(ids[0]);
    write.commit().unwrap();
    let mut write = storage.begin();
    write.note_startup(ids[0], Ok(RunId(7)));
    write.note_startup(ids[1], Err("no proc `p`".into()));
    write.commit().unwrap();
    let left = StartupRecord { id: ids[1], last_error: Some("no proc `p`".into()), ..request };
    assert_eq!(storage.startups().unwrap(), [left]);
}

#[test]
fn records_alone_make_no_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let before = storage.snapshot().unwrap().id;
    let mut write = storage.begin();
    write.put_logs(vec![]);
    assert_eq!(write.commit().unwrap(), before);
    create_run(&storage, &run_record("train"));
    assert_eq!(storage.snapshot().unwrap().id, before);
}

#[test]
fn runs_that_wait_are_seen_at_once_and_numbered_on_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let id = create_run(&storage, &run_record("train"));
                    assert_eq!(storage.run(id).unwrap().state, RunState::Queued);
                    let mut write = storage.begin();
                    write.put_run(RunRecord { id, state: RunState::Running, ..run_record("train") });
                    write.commit_later(|error| panic!("{error}")).unwrap();
                    assert_eq!(storage.run(id).unwrap().state, RunState::Running);
                }
            });
        }
    });
    drop(storage);
    let storage = open(folder.path());
    assert_eq!(storage.runs(&RunFilter::default()).unwrap().len(), 400);
    assert_eq!(create_run(&storage, &run_record("train")), RunId(401));
}

#[test]
fn final_states_of_many_runs_share_their_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let rate = crate::support::syncs_per_second(folder.path());
    let runs: Vec<RunId> = (0..1000).map(|_| create_run(&storage, &run_record("train"))).collect();
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for part in runs.chunks(16) {
            let storage = &storage;
            scope.spawn(move || {
                for id in part {
                    let mut write = storage.begin();
                    write.put_run(RunRecord { id: *id, state: RunState::Complete, ..run_record("train") });
                    write.commit().unwrap();
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    println!("1000 final states by 63 threads: {seconds:.3} s; the disk syncs {rate:.0} times a second");
    let complete = RunFilter { state: Some(RunState::Complete), ..RunFilter::default() };
    assert_eq!(storage.runs(&complete).unwrap().len(), 1000);
    assert!(seconds < 2.0_f64.max(500.0 / rate), "{seconds} s at {rate} syncs a second");
}

#[test]
fn a_change_that_fails_leaves_those_it_shares_a_transaction_with() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = super::sample::schema(&[("id", "int64")]);
    create(&storage, "t", &schema, quern::base::Sharding::Random, 1);
    let rows = super::sample::counted(&schema, 0..3);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (storage, schema, rows) = (&storage, &schema, &rows);
            scope.spawn(move || {
                for i in 0..20 {
                    if (thread + i) % 2 == 0 {
                        let mut write = storage.begin();
                        write.append("t", quern::storage::AppendTo::Deal, [Ok(rows.clone())]).unwrap();
                        write.commit().unwrap();
                    } else {
                        // Only the first of all succeeds.
                        let mut write = storage.begin();
                        let made = write.create_table("once", schema, quern::base::Sharding::Random, 1);
                        drop(made.and_then(|()| write.commit().map(drop)));
                        let mut write = storage.begin();
                        write.drop_component("nobody");
                        let error = write.commit().unwrap_err();
                        assert_eq!(error.to_string(), "no component `nobody`");
                    }
                }
            });
        }
    });
    assert_eq!(super::sample::all(&storage, "t").num_rows(), 8 * 10 * 3);
    let created = storage.history().unwrap().iter().filter(|entry| entry.changes.contains("\"once\"")).count();
    assert_eq!(created, 1);
}

#[test]
fn ten_thousand_ended_runs_do_not_slow_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let mut write = storage.begin();
    for id in 1..=10_000 {
        let (state, proc) = if id % 2 == 0 { (RunState::Complete, "train") } else { (RunState::Error, "infer") };
        write.put_run(RunRecord { id: RunId(id), state, ..run_record(proc) });
    }
    write.commit().unwrap();
    let filters = [
        RunFilter::default(),
        RunFilter { state: Some(RunState::Queued), ..RunFilter::default() },
        RunFilter { state: Some(RunState::Error), ..RunFilter::default() },
        RunFilter { proc: Some("train".into()), ..RunFilter::default() },
        RunFilter { tag: Some("night".into()), ..RunFilter::default() },
    ];
    for filter in filters {
        let filter = RunFilter { limit: Some(20), ..filter };
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            storage.runs(&filter).unwrap();
        }
        let ms = begun.elapsed().as_secs_f64() * 1000.0 / 20.0;
        assert!(ms < 20.0, "{ms} ms for {filter:?}");
    }
}
