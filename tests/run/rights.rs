//! The rights of a run's user, asked again when it leaves the queue and when it commits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use quern::base::{Limits, RunId, Sharding};
use quern::catalog::{Activation, Declarations, Grant, NewComponent, Object, Privilege, ProcChange};
use quern::catalog::{Rights, UserKind, Users};
use quern::run::{KillTarget, Made, RunRequest, check_request, check_startup};
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
            begin.lock().unwrap().send(instance.descriptor.task.run).unwrap();
            match instance.descriptor.task.run {
                RunId(1) => loop {
                    instance.link.kill.check()?;
                    std::thread::sleep(std::time::Duration::from_millis(1));
                },
                _ => wait.lock().unwrap().recv().unwrap(),
            }
            Ok(made(instance, &input(instance, 0)))
        });
        folder.catalog.set_max_concurrency("square", "square", Some(1)).unwrap();
        let shared = Self { folder, go, began };
        for user in ["ana", "bob"] {
            shared.users(|users| users.create(UserKind::User, user, 0));
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
        let mut request = RunRequest::new("square").input("t").output(output).into();
        let rights = Rights::of(storage, Some("ana")).unwrap();
        check_request(&rights, catalog, runs, storage.snapshot().unwrap().as_ref(), &mut request).unwrap();
        runs.execute(request).unwrap()
    }

    /// Lets the owner's run 1 take the only place.
    fn occupy(&self) {
        self.folder.runs.execute(RunRequest::new("square").input("t").output("first")).unwrap();
        self.began.recv().unwrap();
    }

    /// Gives the place to the next run, which may go on to its end.
    fn let_next(&self) {
        self.go.send(()).unwrap();
        self.folder.runs.kill(&KillTarget::Run(RunId(1)), None).unwrap();
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
    shared.folder.runs.kill(&KillTarget::Run(RunId(1)), None).unwrap();
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
    shared.folder.runs.kill(&KillTarget::Run(RunId(1)), None).unwrap();
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

/// A component `prices` of `bob` with the proc `fit`, and a run of it that he asked for.
fn prices_of_bob(shared: &Shared) -> RunId {
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    shared.folder.proc("prices", declare_fit, |_| Ok(Made::default()));
    own("bob", shared);
    let mut request = RunRequest::new("prices.fit").into();
    let rights = Rights::of(storage, Some("bob")).unwrap();
    check_request(&rights, catalog, runs, storage.snapshot().unwrap().as_ref(), &mut request).unwrap();
    let run = runs.execute(request).unwrap();
    assert_eq!(shared.folder.wait(run).run.state, RunState::Complete);
    run
}

fn declare_fit(declarations: &mut Declarations) {
    declarations.proc("fit", "nondistributed", "").unwrap();
}

/// Records that `user` has created `prices`.
fn own(user: &str, shared: &Shared) {
    let mut write = shared.folder.storage.begin();
    Rights::of(&shared.folder.storage, Some(user)).unwrap().own(&mut write, &Object::Function("prices".to_owned()));
    write.commit().unwrap();
}

#[test]
fn who_takes_the_name_of_a_component_has_no_right_to_the_runs_of_the_old_one() {
    let shared = Shared::new();
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    let run = prices_of_bob(&shared);
    let may = |user: &str| {
        let rights = Rights::of(storage, Some(user)).unwrap();
        rights.run(&runs.status(run).unwrap().run).map_err(|error| error.to_string())
    };
    shared.grant(Privilege::Admin, Object::Function("prices".into()));
    assert_eq!(may("ana"), Ok(()));
    catalog.drop_component("prices").unwrap();
    shared.folder.proc("prices", declare_fit, |_| Ok(Made::default()));
    own("ana", &shared);
    assert_eq!(
        may("ana").unwrap_err(),
        "user `ana` may not look at or kill run 1, which is `bob`'s; component `prices` had another owner then; \
         only the folder's owner may, without --user"
    );
    assert_eq!(may("bob"), Ok(()), "it is his own");
    assert_eq!(
        runs.execute(RunRequest { resume: Some(run), ..RunRequest::new("prices.fit") }).unwrap_err().to_string(),
        "run 1 executed proc `prices.fit` of `bob`; today's component `prices` is of `ana`, and is not handed what the \
         other has kept"
    );
    shared.grant(Privilege::Admin, Object::Function("*".into()));
    assert_eq!(may("ana"), Ok(()), "who administers all components is asked for none");
}

#[test]
fn who_adds_a_version_to_a_component_of_another_does_not_own_it() {
    let shared = Shared::new();
    let Folder { storage, catalog, .. } = &shared.folder;
    prices_of_bob(&shared);
    let mut declared = Declarations::default();
    declare_fit(&mut declared);
    let procs = declared.finish().unwrap();
    let new = NewComponent { name: "square", procs: &procs, sha256: &"2".repeat(64), bytes: b"second" };
    shared.grant(Privilege::Admin, Object::Function("square".into()));
    catalog.add_as(&Rights::of(storage, Some("ana")).unwrap(), &new, Activation::Now, &[]).unwrap();
    assert_eq!(catalog.component_owner("square").unwrap(), "owner");
    assert_eq!(catalog.component_owner("prices").unwrap(), "bob");
}

#[test]
fn who_takes_the_name_of_a_user_has_no_right_to_its_runs_and_requests() {
    let shared = Shared::new();
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    let run = prices_of_bob(&shared);
    let rights = Rights::of(storage, Some("bob")).unwrap();
    let startup = runs.add_startup(RunRequest::new("prices.fit"), &rights).unwrap();
    shared.users(|users| users.remove("bob"));
    shared.users(|users| users.create(UserKind::User, "bob", i64::MAX));
    let bob = Rights::of(storage, Some("bob")).unwrap();
    let refused = "user `bob` may not look at or kill run 1, which an earlier user of that name asked for; \
                   this allows it: GRANT ADMIN ON FUNCTION prices.fit TO bob";
    assert_eq!(bob.run(&runs.status(run).unwrap().run).unwrap_err().to_string(), refused);
    catalog.drop_component("prices").unwrap();
    shared.folder.proc("prices", declare_fit, |_| Ok(Made::default()));
    own("bob", &shared);
    let bob = Rights::of(storage, Some("bob")).unwrap();
    assert!(bob.run(&runs.status(run).unwrap().run).is_err(), "the old component is the folder owner's");
    assert_eq!(
        check_startup(&bob, runs, startup).unwrap_err().to_string(),
        "user `bob` may not cancel what others execute at start-up; only the folder's owner may, without --user"
    );
    runs.start_up(&|| true, &|_, _| panic!("it is executed")).unwrap();
    assert_eq!(
        runs.startups().unwrap()[0].last_error.as_deref(),
        Some(
            "user `bob` was created after request 1 for start-up was stored, by an earlier user of that name; \
             `quern run kill --startup 1` cancels it"
        )
    );
}

#[test]
fn a_limit_is_raised_only_by_whom_the_folders_owner_trusts() {
    let shared = Shared::new();
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    let ask = |name: &str, value: u64| {
        let mut request = RunRequest::new("square").input("t").output("o").limit(name, value).unwrap().into();
        let rights = Rights::of(storage, Some("ana")).unwrap();
        check_request(&rights, catalog, runs, storage.snapshot().unwrap().as_ref(), &mut request)
            .map_err(|error| error.to_string())
    };
    let change = |value: Option<u64>| {
        let changes = [ProcChange::Limit("log_bytes".to_owned(), value)];
        let rights = Rights::of(storage, Some("ana")).unwrap();
        runs.alter_proc(&rights, "square", "square", &changes).map_err(|error| error.to_string())
    };
    let (alter, reset) = (|value| change(Some(value)), || change(None));
    assert_eq!(ask("log_bytes", 8 << 20), Ok(()));
    assert_eq!(ask("log_bytes", 1), Ok(()));
    let refused = "user `ana` may not raise limit `log_bytes` of `square.square`: 8388609 bytes asked, 8388608 bytes \
                   allowed; the folder's owner may, and can allow it: GRANT ADMIN ON FUNCTION square.square TO ana";
    assert_eq!(ask("log_bytes", (8 << 20) + 1).unwrap_err(), refused);
    // Who owns a component administers it, but the machine is the folder owner's.
    let mut write = storage.begin();
    Rights::of(storage, Some("ana")).unwrap().own(&mut write, &Object::Function("square".into()));
    write.commit().unwrap();
    assert_eq!(ask("log_bytes", (8 << 20) + 1).unwrap_err(), refused);
    assert_eq!(alter((8 << 20) + 1).unwrap_err(), refused);
    assert_eq!(alter(100), Ok(()));
    assert_eq!(
        reset().unwrap_err(),
        "user `ana` may not raise limit `log_bytes` of `square.square`: 8388608 bytes asked, 100 bytes allowed; \
         the folder's owner may, and can allow it: GRANT ADMIN ON FUNCTION square.square TO ana"
    );
    assert_eq!(
        ask("log_bytes", 101).unwrap_err(),
        "user `ana` may not raise limit `log_bytes` of `square.square`: 101 bytes asked, 100 bytes allowed; \
         the folder's owner may, and can allow it: GRANT ADMIN ON FUNCTION square.square TO ana"
    );
    shared.grant(Privilege::Admin, Object::Function("square.square".into()));
    assert_eq!((ask("log_bytes", u64::MAX), alter(u64::MAX)), (Ok(()), Ok(())));
}

#[test]
fn a_kill_of_many_ends_all_of_them_or_none() {
    let shared = Shared::new();
    shared.occupy();
    let run = shared.submit("o");
    let ana = Rights::of(&shared.folder.storage, Some("ana")).unwrap();
    assert_eq!(
        shared.folder.runs.kill_as(&ana, &KillTarget::All, None).unwrap_err().to_string(),
        "user `ana` may not look at or kill run 1, which is `owner`'s; \
         this allows it: GRANT ADMIN ON FUNCTION square.square TO ana"
    );
    assert_eq!(shared.folder.runs.status(run).unwrap().run.state, RunState::Queued);
    shared.folder.runs.kill(&KillTarget::Run(RunId(1)), None).unwrap();
    shared.folder.wait(RunId(1));
    assert_eq!(
        shared.folder.runs.kill_as(&ana, &KillTarget::All, None).unwrap(),
        [run],
        "those that ended are not asked"
    );
}

#[test]
fn a_name_that_the_owner_writes_on_a_run_does_not_make_it_that_users() {
    let shared = Shared::new();
    shared.occupy();
    let submit = |user: &str| {
        let request = RunRequest { user: Some(user.to_owned()), ..RunRequest::new("square").input("t").output("o") };
        let mut request = request.into();
        let (storage, runs) = (&shared.folder.storage, &shared.folder.runs);
        let snapshot = storage.snapshot().unwrap();
        check_request(&Rights::owner(), &shared.folder.catalog, runs, &snapshot, &mut request).unwrap();
        let run = runs.execute(request).unwrap();
        runs.status(run).unwrap().run
    };
    assert_eq!(submit("carol").user, "carol", "nobody's name is a label");
    let run = submit("ana");
    assert_eq!(run.user, "owner");
    let ana = Rights::of(&shared.folder.storage, Some("ana")).unwrap();
    assert!(ana.run(&run).is_err());
}

#[test]
fn a_run_that_executes_while_the_owner_of_its_component_is_dropped_is_not_the_next_ones_of_that_name() {
    let shared = Shared::new();
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    shared.folder.proc("prices", declare_fit, move |_| {
        wait.lock().unwrap().recv().unwrap();
        Ok(Made::default())
    });
    own("bob", &shared);
    let run = runs.execute(RunRequest::new("prices.fit")).unwrap();
    assert_eq!(runs.status(run).unwrap().run.component_owner, "bob");
    shared.users(|users| users.remove("bob"));
    shared.users(|users| users.create(UserKind::User, "bob", i64::MAX));
    catalog.drop_component("prices").unwrap();
    shared.folder.proc("prices", declare_fit, |_| Ok(Made::default()));
    own("bob", &shared);
    let refused = "user `bob` may not look at or kill run 1, which is `owner`'s; component `prices` had another owner \
                   then; only the folder's owner may, without --user";
    let bob = Rights::of(storage, Some("bob")).unwrap();
    let looked_at = || bob.run(&runs.status(run).unwrap().run).unwrap_err().to_string();
    assert_eq!(looked_at(), refused, "while it executes");
    go.send(()).unwrap();
    assert_eq!(shared.folder.wait(run).run.state, RunState::Complete);
    while runs.active() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(storage.run(run).unwrap().component_owner, "owner", "its last record did not write the old one back");
    assert_eq!(looked_at(), refused, "once it has ended");
}

#[test]
fn of_two_who_create_a_component_of_one_name_at_once_one_owns_it_and_the_other_is_refused() {
    let shared = Shared::new();
    let Folder { storage, catalog, .. } = &shared.folder;
    for user in ["ana", "bob"] {
        let grant = Grant { privilege: Privilege::CreateFunction, object: Object::Folder, grantable: false };
        shared.users(|users| users.grant(std::slice::from_ref(&grant), user));
    }
    let mut declared = Declarations::default();
    declare_fit(&mut declared);
    let procs = declared.finish().unwrap();
    for round in 0..20 {
        let name = format!("c{round}");
        let both = std::sync::Barrier::new(2);
        let create = |user: &str, sha: &str| {
            let (rights, sha256) = (Rights::of(storage, Some(user)).unwrap(), format!("{round}{sha}"));
            let new = NewComponent { name: &name, procs: &procs, sha256: &sha256, bytes: user.as_bytes() };
            both.wait();
            catalog.add_as(&rights, &new, Activation::Now, &[]).map(|done| done.component.version)
        };
        let (ana, bob) = std::thread::scope(|scope| {
            let bob = scope.spawn(|| create("bob", "b"));
            (create("ana", "a"), bob.join().unwrap())
        });
        let (winner, lost) = match (ana, bob) {
            (Ok(1), Err(lost)) => ("ana", lost),
            (Err(lost), Ok(1)) => ("bob", lost),
            other => panic!("{other:?}"),
        };
        let loser = if winner == "ana" { "bob" } else { "ana" };
        assert_eq!(
            lost.to_string(),
            format!(
                "user `{loser}` may not administer `{name}`; this allows it: GRANT ADMIN ON FUNCTION {name} TO {loser}"
            )
        );
        assert_eq!(catalog.component_owner(&name).unwrap(), winner);
        assert_eq!(catalog.versions().unwrap().iter().filter(|kept| kept.name == name).count(), 1);
    }
}

#[test]
fn two_versions_that_are_created_at_once_are_both_there() {
    let folder = Folder::new();
    let mut declared = Declarations::default();
    declare_fit(&mut declared);
    let procs = declared.finish().unwrap();
    let both = std::sync::Barrier::new(4);
    let versions = std::thread::scope(|scope| {
        let create = |sha: String| {
            let new = NewComponent { name: "prices", procs: &procs, sha256: &sha, bytes: sha.as_bytes() };
            both.wait();
            folder.catalog.create(&new).unwrap().version
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || create(format!("a{n}")))).collect();
        let mut versions: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        versions.sort_unstable();
        versions
    });
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[test]
fn of_what_is_set_for_procs_only_stricter_limits_outlive_a_drop_by_a_user() {
    let shared = Shared::new();
    let Folder { storage, catalog, runs, .. } = &shared.folder;
    prices_of_bob(&shared);
    let changes = [("handles", 7), ("guest_memory_bytes", 64 << 30), ("deadline_ms", Limits::default().deadline_ms)];
    let mut changes: Vec<_> = changes.map(|(name, value)| ProcChange::Limit(name.to_owned(), Some(value))).into();
    changes.push(ProcChange::MaxConcurrency(Some(1)));
    catalog.alter_proc("prices", "fit", &changes).unwrap();
    runs.drop_component(&Rights::of(storage, Some("bob")).unwrap(), "prices").unwrap();
    shared.folder.proc("prices", declare_fit, |_| Ok(Made::default()));
    let setting = || catalog.setting("prices", "fit").unwrap();
    let set = || setting().limits.entries().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>();
    assert_eq!((set(), setting().max_concurrency), (vec![("handles".to_owned(), 7)], None));
    runs.drop_component(&Rights::owner(), "prices").unwrap();
    assert_eq!(set(), [], "the owner takes it back with the component");
}
