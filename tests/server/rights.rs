//! What requests of users who are not the folder's owner reach.

use std::path::Path;
use std::sync::Arc;

use quern::catalog::{Activation, Catalog, Declarations, Grant, NewComponent, Object, Privilege, ProcChange, Rights};
use quern::catalog::{ProcSpec, Users};
use quern::database::Options;
use quern::server::{Connection, Reply, Request, Role};
use quern::storage::{Disk, Storage};

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
            Users::new(&storage, &owner).create(user, false, 0).unwrap();
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
