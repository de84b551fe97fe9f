//! What requests of users who are not the folder's owner reach.

use std::path::Path;
use std::sync::Arc;

use crate::support::create_run;
use quern::base::RunId;
use quern::catalog::{Activation, Catalog, Declarations, Grant, NewComponent, Object, Privilege, ProcChange, Rights};
use quern::catalog::{ProcSpec, UserKind, Users};
use quern::database::Options;
use quern::server::{Connection, Reply, Request, Role, RunQuery};
use quern::storage::{Disk, RunRecord, RunState, Storage};

/// A folder that is prepared before it is opened.
struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    /// With the users `ana` and `bob` and what `prepare` makes.
    fn new(prepare: impl FnOnce(&Storage)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Arc::new(Disk)).unwrap();
        let owner = Rights::owner();
        for user in ["ana", "bob"] {
            Users::new(&storage, &owner).create(UserKind::User, user, 0).unwrap();
        }
        prepare(&storage);
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> Connection {
        Connection::open(self.path(), &Options { cores: Some(1), ..Options::default() }, Role::Command).unwrap()
    }

    /// What a user's request is answered.
    fn answer_to(&self, user: &str, request: Request) -> Result<Reply, String> {
        let asking = self.open().as_user(Some(user.to_owned()));
        asking.call(request, Vec::new(), &mut |_| Ok(())).map_err(|failure| failure.message)
    }
}

/// The declaration of procs without tables.
fn procs(names: &[&str]) -> Vec<ProcSpec> {
    let mut declared = Declarations::default();
    names.iter().for_each(|name| declared.proc(name, "nondistributed", "").unwrap());
    declared.finish().unwrap()
}

/// Adds a component, whose bytes are its name.
fn component(storage: &Storage, name: &str, names: &[&str], activation: Activation) {
    let new = NewComponent { name, procs: &procs(names), sha256: &format!("{name:0>64}"), bytes: name.as_bytes() };
    Catalog::new(storage.clone()).add(&new, activation).unwrap();
}

#[test]
fn a_component_without_an_active_version_needs_to_be_administered_as_any_other() {
    let shared = Shared::new(|storage| component(storage, "x", &["f"], Activation::Later));
    let refused = "user `ana` may not administer `x`; this allows it: GRANT ADMIN ON FUNCTION x TO ana";
    let name = || "x".to_owned();
    for request in [
        Request::ActivateComponent { name: name(), version: 1 },
        Request::DropComponent { name: name(), version: None },
        Request::DropComponent { name: name(), version: Some(1) },
    ] {
        assert_eq!(shared.answer_to("ana", request).unwrap_err(), refused);
    }
    let missing = Request::DropComponent { name: "xx".to_owned(), version: None };
    assert_eq!(shared.answer_to("ana", missing).unwrap_err(), "no component `xx`; did you mean `x`?");
}

#[test]
fn the_settings_of_a_proc_are_those_of_its_own_component() {
    let shared = Shared::new(|storage| {
        component(storage, "prices", &["fit"], Activation::Now);
        component(storage, "fit", &["other"], Activation::Now);
        let admin = Grant { privilege: Privilege::Admin, object: Object::Function("fit".into()), grantable: false };
        Users::new(storage, &Rights::owner()).grant(&[admin], "ana").unwrap();
    });
    let alter = |proc: &str| Request::AlterProc {
        proc: proc.to_owned(),
        changes: vec![ProcChange::MaxConcurrency(Some(1)), ProcChange::Limit("deadline_ms".to_owned(), Some(1))],
    };
    assert_eq!(
        shared.answer_to("ana", alter("fit")).unwrap_err(),
        "user `ana` may not administer `prices`; this allows it: GRANT ADMIN ON FUNCTION prices TO ana"
    );
    assert!(matches!(shared.answer_to("ana", alter("other")), Ok(Reply::Proc(name)) if name == "fit.other"));
    let storage = Storage::open(shared.path(), Arc::new(Disk)).unwrap();
    let changed: Vec<String> = storage.proc_settings().unwrap().into_iter().map(|set| set.proc).collect();
    assert_eq!(changed, ["other"]);
}

/// A run of `user` that failed, whose number is the next.
fn failed(storage: &Storage, user: &str, tag: Option<&str>) {
    let run = RunRecord {
        id: RunId(0),
        proc: "f".to_owned(),
        component: "c".to_owned(),
        sha256: "0".repeat(64),
        tag: tag.map(str::to_owned),
        user: user.to_owned(),
        state: RunState::Error,
        params: "{}".to_owned(),
        inputs: "[]".to_owned(),
        outputs: "[]".to_owned(),
        snapshot: None,
        seed: 1,
        submitted_us: 1,
        started_us: None,
        component_owner: "owner".to_owned(),
        resume: None,
        warning: None,
        committing_us: None,
        finished_us: Some(2),
        error: Some(format!("of {user}")),
        instances: 0,
    };
    create_run(storage, &run);
}

#[test]
fn a_sweep_is_its_users_also_where_others_use_its_tag() {
    let shared = Shared::new(|storage| {
        for (user, tag) in [("ana", Some("nightly")), ("bob", Some("nightly")), ("ana", None)] {
            failed(storage, user, tag);
        }
    });
    let follow = |first| Request::FollowSweep { tag: "nightly".to_owned(), first: RunId(first) };
    let Ok(Reply::Sweep(status)) = shared.answer_to("ana", follow(1)) else { panic!() };
    assert_eq!((status.runs, status.failed, status.errors), (1, 1, vec!["run 1: of ana".to_owned()]));
    assert_eq!(shared.answer_to("ana", follow(3)).unwrap_err(), "run 3 has no tag `nightly`");
}

#[test]
fn a_list_of_so_many_runs_counts_those_that_are_seen() {
    let shared =
        Shared::new(|storage| ["ana", "ana", "bob", "bob"].iter().for_each(|user| failed(storage, user, None)));
    let query = Request::Runs(RunQuery { limit: Some(1), ..RunQuery::default() });
    let Ok(Reply::Runs(runs)) = shared.answer_to("ana", query) else { panic!() };
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [RunId(2)]);
}

#[test]
fn models_are_those_of_tables_that_may_be_read() {
    let shared = Shared::new(|_| {});
    for text in [
        "CREATE TABLE models (model binary, name text, id uuid, date_time_created timestamp)",
        "INSERT INTO models VALUES (null, 'secret', '00000000-0000-0000-0000-000000000001', now())",
    ] {
        let request = Request::Sql { text: text.to_owned() };
        shared.open().call(request, Vec::new(), &mut |_| Ok(())).unwrap();
    }
    let seen = || match shared.answer_to("ana", Request::Models).unwrap() {
        Reply::Models(models) => models.into_iter().map(|model| model.name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(), [""; 0]);
    let which = quern::database::ModelRef { model: "secret".to_owned(), table: None };
    assert_eq!(shared.answer_to("ana", Request::DeleteModel(which)).unwrap_err(), "no model `secret`");
    let grant = Request::Sql { text: "GRANT SELECT ON models TO ana".to_owned() };
    shared.open().call(grant, Vec::new(), &mut |_| Ok(())).unwrap();
    assert_eq!(seen(), ["secret"]);
}
