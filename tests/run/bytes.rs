//! Parameters and results that are bytes, and checkpoints.

use std::time::Duration;

use quern::base::{LimitChanges, RunId};
use quern::run::{Bytes, KillTarget, RunRequest, Value};
use quern::storage::{CheckpointBounds, CheckpointRecord, RunState};

use super::database::Database;

fn bytes(name: &str, value: &[u8]) -> (String, Bytes) {
    (name.to_owned(), Bytes(value.into()))
}

fn echo(params: Vec<(String, Bytes)>) -> RunRequest {
    RunRequest { binary_params: params, ..RunRequest::new("echo") }.input("points")
}

#[test]
fn bytes_go_to_the_proc_and_come_back_merged() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    database.points("points", 2, 3);
    let status = database.run(echo(vec![bytes("picture", &[0, 255, 7])]));
    assert_eq!(status.run.error, None);
    assert_eq!(status.run.params, r#"{"picture":{"bytes":3},"words":{"bytes":3}}"#);
    let results = database.runs.results(status.run.id).unwrap();
    let merged = [("picture", [0, 255, 7].repeat(3)), ("words", b"abc".to_vec())];
    let merged = merged.map(|(name, value)| (name.to_owned(), Value::Bytes(value.into())));
    assert_eq!(results.merged, merged);
    let lengths: Vec<(u32, &str, usize)> =
        results.instances.iter().map(|r| (r.shard, r.name.as_str(), r.bytes.as_ref().unwrap().len())).collect();
    assert_eq!(lengths.iter().map(|(.., length)| length).sum::<usize>(), 9 + 6);
    assert_eq!(lengths.len(), 4);
    let shown: Vec<&str> = status.instances.iter().map(|i| i.results.as_str()).collect();
    assert!(shown.iter().all(|text| text.contains(r#""words":{"bytes":3}"#)), "{shown:?}");
}

#[test]
fn bytes_where_text_belongs_and_text_where_bytes_belong_are_refused() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    database.points("points", 2, 3);
    let mut small = LimitChanges::new();
    small.set("param_bytes", 4).unwrap();
    for (request, message) in [
        (
            echo(vec![]).param("picture", "abc"),
            "parameter `picture` takes bytes; give them as --param-file picture=PATH, in SQL as picture = X'…'",
        ),
        (echo(vec![]), "proc `echo` needs parameter `picture` (binary), which has no default"),
        (echo(vec![bytes("pictur", b"")]), "no parameter `pictur` in proc `echo`; did you mean `picture`?"),
        (
            RunRequest { binary_params: vec![bytes("bytes", b"12")], ..RunRequest::new("big_result") },
            "parameter `bytes` takes int, not bytes; give it as --param bytes=VALUE",
        ),
        (
            RunRequest { limits: small, ..echo(vec![bytes("picture", b"12345")]) },
            "limit `param_bytes`: 8 bytes asked, 4 bytes allowed; raise it for one run with --limit param_bytes=N",
        ),
    ] {
        assert_eq!(database.runs.execute(request).unwrap_err().to_string(), message);
    }
}

#[test]
fn binary_results_are_bounded_all_together() {
    let database = Database::new(&[("guest", "tests/run/guest")]);
    let mut limits = LimitChanges::new();
    limits.set("results_bytes", 1000).unwrap();
    let request = |n: &str| RunRequest { limits: limits.clone(), ..RunRequest::new("big_result") }.param("bytes", n);
    assert_eq!(database.run(request("995")).run.error, None);
    let status = database.run(request("996"));
    let error = status.run.error.unwrap();
    assert!(error.contains("limit `results_bytes`: 1001 bytes asked, 1000 bytes allowed"), "{error}");
    assert!(database.runs.results(status.run.id).unwrap().instances.is_empty());
}

#[test]
fn a_killed_training_that_is_resumed_ends_with_the_same_bits_as_one_that_was_not() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.images("training", 2, 200);
    let request = |name: &str| {
        let request = RunRequest::new("train").input("training").output("models").param("epochs", "40");
        request.param("batch", "20").param("name", name)
    };
    let whole = database.run(RunRequest { seed: Some(5), ..request("whole") });
    assert_eq!(whole.run.error, None);

    let id = database.runs.execute(RunRequest { seed: Some(5), ..request("killed") }).unwrap();
    while database.storage.checkpoints(Some(id)).unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    database.runs.kill(&KillTarget::Run(id), None).unwrap();
    assert_eq!(database.ended(id).run.state, RunState::Killed);
    let kept = database.storage.checkpoints(Some(id)).unwrap();
    assert!((1..=2).contains(&kept.len()), "{kept:?}");

    let status = database.run(RunRequest { resume: Some(id), ..request("resumed") });
    assert_eq!((status.run.error, status.run.seed), (None, 5));
    let logs = database.runs.logs(status.run.id, 0, 10).unwrap();
    assert!(logs.iter().any(|line| line.text.starts_with("goes on after epoch ")), "{logs:?}");
    let models = database.storage.models().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["whole", "resumed"]);
    assert_eq!(models[0].sha256, models[1].sha256);
}

#[test]
fn the_names_of_checkpoints_are_limited() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.images("training", 2, 20);
    let mut limits = LimitChanges::new();
    limits.set("checkpoint_names", 0).unwrap();
    let request = RunRequest::new("train").input("training").output("models").param("epochs", "2").param("batch", "20");
    let error = database.run(RunRequest { limits, ..request }).run.error.unwrap();
    let told = "limit `checkpoint_names`: 1 names asked, 0 names allowed; \
                raise it for one run with --limit checkpoint_names=N";
    assert!(error.contains(told), "{error}");
    assert_eq!(database.storage.checkpoints(None).unwrap(), []);
}

#[test]
fn a_run_resumes_only_one_of_its_own_proc_that_kept_something() {
    let database = Database::new(&[("guest", "tests/run/guest"), ("mnist", "udfs/mnist")]);
    let empty = database.run(RunRequest::new("empty")).run.id;
    for (request, message) in [
        (RunRequest::new("empty"), format!("run {empty} has kept no checkpoint to resume from")),
        (
            RunRequest::new("big_result").param("bytes", "1"),
            format!("run {empty} executed proc `guest.empty`; only a run of that proc can resume it"),
        ),
    ] {
        let error = database.runs.execute(RunRequest { resume: Some(empty), ..request }).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = database.runs.execute(RunRequest { resume: Some(RunId(99)), ..RunRequest::new("empty") }).unwrap_err();
    assert_eq!(error.to_string(), "no run `99`");
}

#[test]
fn only_the_newest_checkpoints_stay_and_files_without_a_record_go_at_open() {
    let database = Database::new(&[]);
    let keep = |run: u64, name: &str, size: usize, bounds| {
        let record = CheckpointRecord {
            run: RunId(run),
            shard: 0,
            name: name.to_owned(),
            file: String::new(),
            sha256: String::new(),
            size_bytes: size as u64,
            created_us: 0,
        };
        database.storage.keep_checkpoint(&record, &vec![7; size], bounds).unwrap();
    };
    let files = || std::fs::read_dir(database.storage.folder().join("checkpoints")).unwrap().count();
    let kept = || -> Vec<(u64, String, u64)> {
        let all = database.storage.checkpoints(None).unwrap();
        all.into_iter().map(|c| (c.run.0, c.name, c.size_bytes)).collect()
    };
    let roomy = CheckpointBounds { per_name: 2, bytes: 1000 };
    for size in 1..=4 {
        keep(1, "a", size, roomy);
        keep(1, "b", size * 10, roomy);
    }
    let of = |run, name: &str, size| (run, name.to_owned(), size);
    assert_eq!(kept(), [of(1, "a", 3), of(1, "b", 30), of(1, "a", 4), of(1, "b", 40)]);
    assert_eq!(files(), 4);
    let newest = database.storage.newest_checkpoint(RunId(1), 0, "b").unwrap().unwrap();
    assert_eq!(database.storage.checkpoint_bytes(&newest).unwrap(), [7; 40]);
    keep(2, "a", 50, CheckpointBounds { per_name: 2, bytes: 100 });
    assert_eq!(kept(), [of(1, "a", 4), of(1, "b", 40), of(2, "a", 50)]);
    // One that is larger than all may be stays alone.
    keep(2, "a", 200, CheckpointBounds { per_name: 2, bytes: 100 });
    assert_eq!((kept(), files()), (vec![of(2, "a", 200)], 1));
    std::fs::write(database.storage.folder().join("checkpoints/9-0-x.safetensors"), "left").unwrap();
    database.storage.remove_orphaned_checkpoints().unwrap();
    assert_eq!(files(), 1);
}
