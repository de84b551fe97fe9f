//! Which run is handed whose checkpoints.

#![allow(clippy::unwrap_used)]

use quern::base::{Error, Limits, Result, RunId, Sharding};
use quern::catalog::{Grant, Object, Privilege, Rights, UserKind, Users};
use quern::run::{Made, RunRequest, check_request};
use quern::server::RunView;
use quern::storage::{CheckpointBounds, CheckpointRecord, RunRecord, RunState, Storage};

use super::fixture::{Folder, Instance, declare_square, input, made};

/// A folder with the tables `t` of two shards and `other` of three, and a proc
/// whose runs fail after `keeps` says which checkpoint each of their instances keeps.
fn folder(keeps: impl Fn(RunId, u32) -> Option<&'static str> + Send + Sync + 'static) -> Folder {
    let folder = Folder::new();
    folder.table("t", Sharding::Random, &[&[1], &[2]]);
    folder.table("other", Sharding::Random, &[&[1], &[2], &[3]]);
    let storage = folder.storage.clone();
    let script = move |instance: &Instance<'_>| -> Result<Made> {
        let (run, shard) = (instance.descriptor.task.run, instance.descriptor.task.instance);
        if let Some(bytes) = keeps(run, shard) {
            keep(&storage, (run, shard), bytes)?;
        }
        match run.0 {
            1..=3 => Err(Error::Invalid("as the test wants it".to_owned())),
            _ => Ok(made(instance, &input(instance, 0))),
        }
    };
    folder.proc("square", declare_square, script);
    folder
}

fn keep(storage: &Storage, (run, shard): (RunId, u32), bytes: &str) -> Result<()> {
    let record = CheckpointRecord {
        run,
        shard,
        name: "step".to_owned(),
        file: String::new(),
        sha256: "0".repeat(64),
        size_bytes: bytes.len() as u64,
        created_us: 0,
    };
    storage.keep_checkpoint(&record, bytes.as_bytes(), CheckpointBounds::of(&Limits::default()))
}

fn request(resume: Option<u64>) -> RunRequest {
    let on_failure = quern::run::OnFailure::KeepGoing;
    RunRequest { resume: resume.map(RunId), on_failure, ..RunRequest::new("square").input("t").output("o") }
}

/// What an instance of a run that resumes `run` is handed.
fn handed(folder: &Folder, run: u64, shard: u32) -> Option<Vec<u8>> {
    let newest = folder.storage.newest_checkpoint(RunId(run), shard, "step").unwrap();
    newest.map(|record| folder.storage.checkpoint_bytes(&record).unwrap())
}

#[test]
fn what_a_run_was_handed_and_did_not_replace_is_handed_on() {
    // Run 2 resumes 1 and fails after one of its instances has got on, run 3 before any has.
    let folder = folder(|run, shard| match (run.0, shard) {
        (1, 0) => Some("1 of 0"),
        (1, _) => Some("1 of 1"),
        (2, 0) => Some("2 of 0"),
        _ => None,
    });
    for resume in [None, Some(1), Some(2)] {
        let run = folder.runs.execute(request(resume)).unwrap();
        let ended = folder.wait(run).run;
        assert_eq!((ended.state, ended.resume), (RunState::Error, resume.map(RunId)));
    }
    for run in [2, 3] {
        assert_eq!(handed(&folder, run, 0).unwrap(), b"2 of 0");
        assert_eq!(handed(&folder, run, 1).unwrap(), b"1 of 1", "what run 1 kept is not lost");
    }
    assert_eq!(handed(&folder, 1, 0).unwrap(), b"1 of 0");
    let last = folder.runs.execute(request(Some(3))).unwrap();
    assert_eq!(folder.wait(last).run.state, RunState::Complete);
}

#[test]
fn a_run_whose_instances_see_other_shards_is_handed_no_checkpoints() {
    let folder = folder(|_, _| Some("kept"));
    let first = folder.runs.execute(request(None)).unwrap();
    assert_eq!(folder.wait(first).run.state, RunState::Error);
    let other = RunRequest { resume: Some(first), ..RunRequest::new("square").input("other").output("o") };
    assert_eq!(
        folder.runs.execute(other).unwrap_err().to_string(),
        "run 1 had 2 instances and one that reads these inputs has 3: each goes on from the checkpoint of its own \
         shard, so the first input must have 2 shards"
    );
}

/// Stores a run of `user` that was to resume `first` and was killed in the queue.
fn never_begun(folder: &Folder, first: RunId, user: &str) -> RunId {
    let record = folder.runs.status(first).unwrap().run;
    let (id, state, user) = (folder.storage.next_run(), RunState::Killed, user.to_owned());
    let mut write = folder.storage.begin();
    write.create_run(RunRecord { id, state, user, instances: 0, resume: Some(first), ..record });
    write.commit().unwrap();
    id
}

#[test]
fn shards_are_those_of_the_nearest_run_that_began_whichever_of_its_chain_it_is() {
    let folder = folder(|_, _| Some("kept"));
    let first = folder.runs.execute(request(None)).unwrap();
    assert_eq!(folder.wait(first).run.state, RunState::Error);
    let second = never_begun(&folder, first, "owner");
    let other = RunRequest { resume: Some(second), ..RunRequest::new("square").input("other").output("o") };
    assert_eq!(
        folder.runs.execute(other).unwrap_err().to_string(),
        "run 1 had 2 instances and one that reads these inputs has 3: each goes on from the checkpoint of its own \
         shard, so the first input must have 2 shards"
    );
    folder.runs.execute(request(Some(second.0))).unwrap();
}

#[test]
fn a_user_is_handed_only_checkpoints_of_runs_it_may_look_at_through_whatever_chain() {
    let folder = folder(|_, _| Some("kept"));
    let Folder { storage, catalog, runs, .. } = &folder;
    let first = runs.execute(request(None)).unwrap();
    assert_eq!(folder.wait(first).run.state, RunState::Error);
    let owner = Rights::owner();
    let users = Users::new(storage, &owner);
    users.create(UserKind::User, "bob", 0).unwrap();
    let granted = [
        (Privilege::Execute, Object::Function("square".to_owned())),
        (Privilege::Select, Object::Table("t".to_owned())),
    ];
    let grants = granted.map(|(privilege, object)| Grant { privilege, object, grantable: false });
    users.grant(&grants, "bob").unwrap();
    let second = never_begun(&folder, first, "bob");
    let bob = Rights::of(storage, Some("bob")).unwrap();
    let snapshot = storage.snapshot().unwrap();
    assert_eq!(
        check_request(&bob, catalog, runs, &snapshot, &mut request(Some(second.0)).into()).unwrap_err().to_string(),
        "user `bob` may not look at or kill run 1, which is `owner`'s; this allows it: GRANT ADMIN ON FUNCTION \
         square.square TO bob"
    );
}

#[test]
fn a_run_that_failed_tells_how_to_go_on_from_its_checkpoints() {
    let folder = folder(|run, _| (run.0 == 1).then_some("kept"));
    let told = |resume: Option<u64>| {
        let run = folder.runs.execute(request(resume)).unwrap();
        let status = folder.wait(run);
        let kept = folder.storage.checkpoints(Some(run)).unwrap().len();
        RunView::new(status.run, status.instances).with_checkpoints(kept as u64).resumption()
    };
    let goes_on =
        |run| Some(format!("`quern proc execute square.square … --resume {run}` goes on from its checkpoints"));
    assert_eq!(told(None), goes_on(1));
    assert_eq!(told(None), None, "it kept none");
    assert_eq!(told(Some(1)), goes_on(3), "it was handed some");
    assert_eq!(told(Some(1)), None, "it completed");
}
