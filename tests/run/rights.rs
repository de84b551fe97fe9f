//! The rights of a run's user, asked again when it leaves the queue and when it commits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use quern::base::{RunId, Sharding};
use quern::catalog::{Grant, Object, Privilege, Rights, Users};
use quern::run::{Request, Target, check_request};
use quern::storage::RunState;

use super::fixture::{Folder, declare_square, input, made, numbers};

/// A folder with users, a table `t` and the proc `copy`, of which one run executes
/// at a time; run 1 executes until it is killed, the others until `go` says so.
struct Shared {
    folder: Folder,
    go: Sender<()>,
    began: Receiver<RunId>,
}

impl Shared {
    fn new() -> Self {
        let folder = Folder::new();
        folder.table("t", Sharding::Random, &[&[2, 3]]);
        let ((go, wait), (begin, began)) = (channel(), channel());
        let (wait, begin) = (Mutex::new(wait), Mutex::new(begin));
        folder.proc("square", declare_square, move |instance| {
            begin.lock().unwrap().send(instance.descriptor.run).unwrap();
            match instance.descriptor.run {
                RunId(1) => loop {
                    instance.contact.kill.check()?;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                },
                _ => wait.lock().unwrap().recv().unwrap(),
            }
            Ok(made(instance, &input(instance, 0)))
        });
        folder.catalog.set_max_concurrency("square", "square", Some(1)).unwrap();
        let shared = Self { folder, go, began };
        for user in ["ana", "bob"] {
            shared.users(|users| users.create(user, false, 0));
        }
        shared.grant(Privilege::Execute, Object::Function("square".into()));
        shared.grant(Privilege::Select, Object::Table("t".into()));
        shared
    }

    fn users(&self, change: impl Fn(&Users<'_>) -> quern::base::Result<()>) {
        change(&Users::new(&self.folder.storage, &Rights::owner())).unwrap();
    }

    fn grant(&self, privilege: Privilege, object: Object) {
        self.users(|users| users.grant(&[Grant { privilege, object: object.clone(), grantable: false }], "ana"));
    }

    fn revoke(&self, privilege: Privilege, object: Object) {
        self.users(|users| users.revoke(&[Grant { privilege, object: object.clone(), grantable: false }], "ana"));
    }

    /// Queues a run of `ana` that reads `t`.
    fn submit(&self, output: &str) -> RunId {
        let Folder { storage, catalog, runs, .. } = &self.folder;
        let mut request = Request::new("square").input("t").output(output);
        let rights = Rights::of(storage, Some("ana")).unwrap();
        check_request(&rights, catalog, runs, storage.snapshot().unwrap().as_ref(), &mut request).unwrap();
        runs.execute(request).unwrap()
    }

    /// Lets the owner's run 1 take the only place.
    fn occupy(&self) {
        self.folder.runs.execute(Request::new("square").input("t").output("first")).unwrap();
        self.began.recv().unwrap();
    }

    /// Gives the place to the next run, which may go on to its end.
    fn let_next(&self) {
        self.go.send(()).unwrap();
        self.folder.runs.kill(&Target::Run(RunId(1)), None).unwrap();
    }

    /// Drops `t`; another table takes its name.
    fn replace_t(&self) {
        let mut write = self.folder.storage.begin();
        write.drop_table("t").unwrap();
        write.commit().unwrap();
        self.folder.table("t", Sharding::Random, &[&[77]]);
    }

    /// `bob` creates a table as the outputs of `square` are.
    fn bob_creates(&self, name: &str) {
        let mut write = self.folder.storage.begin();
        write.create_table(name, &numbers(&["y", "shard"]), Sharding::Random, 1).unwrap();
        Rights::of(&self.folder.storage, Some("bob")).unwrap().own(&mut write, &Object::Table(name.to_owned()));
        write.commit().unwrap();
    }

    #[track_caller]
    fn fails(&self, run: RunId, error: &str) {
        let ended = self.folder.wait(run).run;
        assert_eq!((ended.state, ended.error.as_deref()), (RunState::Error, Some(error)));
    }
}

#[test]
fn a_table_that_another_user_created_while_a_run_waited_is_not_written() {
    let shared = Shared::new();
    shared.occupy();
    let run = shared.submit("o");
    shared.bob_creates("o");
    shared.let_next();
    shared.fails(run, "user `ana` may not insert into table `o`; this allows it: GRANT INSERT ON TABLE o TO ana");
    assert_eq!(shared.folder.sorted("o"), [0; 0]);
}

#[test]
fn a_table_that_another_user_created_while_a_run_executed_is_not_written() {
    let shared = Shared::new();
    shared.occupy();
    let run = shared.submit("o");
    shared.folder.runs.kill(&Target::Run(RunId(1)), None).unwrap();
    assert_eq!(shared.began.recv().unwrap(), run);
    shared.bob_creates("o");
    shared.go.send(()).unwrap();
    shared.fails(run, "user `ana` may not insert into table `o`; this allows it: GRANT INSERT ON TABLE o TO ana");
    assert_eq!(shared.folder.sorted("o"), [0; 0]);
}

#[test]
fn a_table_that_took_the_name_of_an_input_while_a_run_waited_is_not_read() {
    let shared = Shared::new();
    shared.occupy();
    let run = shared.submit("o");
    shared.replace_t();
    shared.let_next();
    shared.fails(run, "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana");
    assert!(!shared.folder.has_table("o"));
}

#[test]
fn what_was_revoked_while_a_run_waited_or_executed_ends_it() {
    let execute = Object::Function("square".into());
    for (privilege, object, error) in [
        (
            Privilege::Select,
            Object::Table("t".into()),
            "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana",
        ),
        (
            Privilege::Execute,
            execute,
            "user `ana` may not execute proc `square.square`; \
             this allows it: GRANT EXECUTE ON FUNCTION square.square TO ana",
        ),
    ] {
        let shared = Shared::new();
        shared.occupy();
        let run = shared.submit("o");
        shared.revoke(privilege, object);
        shared.let_next();
        shared.fails(run, error);
    }
    let shared = Shared::new();
    shared.bob_creates("o");
    shared.grant(Privilege::Insert, Object::Table("o".into()));
    shared.occupy();
    let run = shared.submit("o");
    shared.folder.runs.kill(&Target::Run(RunId(1)), None).unwrap();
    assert_eq!(shared.began.recv().unwrap(), run);
    shared.revoke(Privilege::Insert, Object::Table("o".into()));
    shared.go.send(()).unwrap();
    shared.fails(run, "user `ana` may not insert into table `o`; this allows it: GRANT INSERT ON TABLE o TO ana");
}

#[test]
fn a_run_whose_rights_stay_commits_and_its_user_owns_what_it_created() {
    let shared = Shared::new();
    shared.occupy();
    let run = shared.submit("o");
    // A component that was dropped took its grants with it; its runs go on.
    shared.folder.catalog.drop_component("square").unwrap();
    shared.let_next();
    let ended = shared.folder.wait(run).run;
    assert_eq!((ended.state, ended.error), (RunState::Complete, None));
    assert_eq!(shared.folder.sorted("o"), [2, 3]);
    Rights::of(&shared.folder.storage, Some("ana")).unwrap().table(Privilege::Owner, "o").unwrap();
}
