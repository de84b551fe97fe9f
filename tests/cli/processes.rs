//! Several processes on one folder.

use std::time::{Duration, Instant};

use super::{Answer, Terminal, wait_until};

#[test]
fn a_second_command_is_the_client_of_the_server() {
    let terminal = Terminal::new();
    let server = terminal.serve();
    terminal.ok(&["sql", "create table t (a int64); insert into t values (1)"]);
    assert_eq!(terminal.value("select a from t"), 1);
    let lock = std::fs::read_to_string(terminal.data().join("quern.lock")).unwrap();
    assert_eq!(lock.trim(), server.pid().to_string(), "the server still holds the folder");
    assert_eq!(
        terminal.error(&["serve"]),
        [format!(
            "error: folder {} is held by process {} already; other commands find it by themselves",
            terminal.data().canonicalize().unwrap().display(),
            server.pid()
        )]
    );

    server.signal(libc::SIGTERM);
    let answer = server.wait();
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.out.contains("/quern.sock; Ctrl-C stops\n"), "{answer:?}");
    assert!(!terminal.data().join("quern.sock").exists(), "the socket goes with the server");
    assert_eq!(terminal.value("select a from t"), 1);
}

#[test]
fn commands_started_at_once_share_the_folder() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (a int64)"]);
    let commands: Vec<_> = (0..6).map(|i| terminal.start(&["sql", &format!("insert into t values ({i})")])).collect();
    for command in commands {
        let answer = command.wait();
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{answer:?}");
    }
    assert_eq!(terminal.value("select sum(a) from t"), 15);
}

#[test]
fn a_holder_that_does_not_answer_is_refused_by_its_pid() {
    let terminal = Terminal::new();
    let server = terminal.serve();
    server.signal(libc::SIGSTOP);
    let started = Instant::now();
    let lines = terminal.error(&["sql", "select 1"]);
    let (folder, pid) = (terminal.data().canonicalize().unwrap(), server.pid());
    assert_eq!(
        lines,
        [format!(
            "error: folder {} is held by process {pid}, which does not answer; stop it (kill {pid}) or choose another folder with --data",
            folder.display()
        )]
    );
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.signal(libc::SIGCONT);
    assert_eq!(terminal.value("select 1"), 1);
}

#[test]
fn a_server_killed_outright_leaves_a_folder_that_opens() {
    let terminal = Terminal::new();
    let server = terminal.serve();
    terminal.ok(&["sql", "create table t (a int64); insert into t values (1)"]);
    server.signal(libc::SIGKILL);
    drop(server.wait());
    assert!(terminal.data().join("quern.sock").exists(), "nobody removed the socket");
    assert_eq!(terminal.value("select a from t"), 1);
}

#[test]
fn a_folder_with_a_long_path_works_with_a_server() {
    let mut terminal = Terminal::new();
    let long = terminal.path(&"d".repeat(150));
    std::fs::create_dir(&long).unwrap();
    terminal.folder = tempfile::tempdir_in(long).unwrap();
    let _server = terminal.serve();
    assert_eq!(terminal.value("select 42"), 42);
}

#[test]
fn a_server_leaves_when_it_is_idle() {
    let terminal = Terminal::new();
    let server = terminal.start(&["serve", "--idle-exit", "200ms"]);
    let answer = server.wait();
    assert_eq!(answer.code, 0, "{answer:?}");
    wait_until("the socket is gone", || !terminal.data().join("quern.sock").exists());
}

#[test]
fn a_command_acts_as_the_user_it_names_with_and_without_a_server() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (a int64); insert into t values (1); create user ana"]);
    let file = terminal.file("more.csv", "a\n2\n");
    for served in [false, true] {
        let server = served.then(|| terminal.serve());
        let read = ["error: user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana"];
        assert_eq!(terminal.error(&["--user", "ana", "sql", "select a from t"]), read);
        let mut command = terminal.command(&["sql", "select a from t"]);
        let answer = Answer::of(command.env("QUERN_USER", "ana").output().unwrap());
        assert_eq!(answer.err, format!("{}\n", read[0]));
        assert_eq!(
            terminal.error(&["--user", "ana", "import", &file, "--table", "t", "--append"]),
            ["error: user `ana` may not insert into table `t`; this allows it: GRANT INSERT ON TABLE t TO ana"]
        );
        let lines = terminal.error(&["--user", "anna", "run", "list"]);
        assert_eq!(lines, ["error: no user or role `anna`; did you mean `ana`?"]);
        drop(server);
    }
    terminal.ok(&["--user", "ana", "import", &file, "--table", "mine"]);
    assert_eq!(terminal.ok(&["--user", "ana", "sql", "select a from mine", "--format", "csv"]), "a\n2\n");
    assert_eq!(terminal.value("select grantee from quern.grants where privilege = 'OWNER'"), "ana");
}

#[test]
fn procs_and_models_of_others_need_a_grant() {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    terminal.ok(&["sql", "create user ana; grant execute on function hostile.returns_error to ana"]);
    let lines = terminal.error(&["--user", "ana", "proc", "execute", "hostile.returns_error"]);
    assert!(lines.last().unwrap().contains("returned an error"), "{lines:?}");
    assert_eq!(terminal.json(&["run", "show", "1"])["user"], "ana");
    assert_eq!(
        terminal.error(&["--user", "ana", "proc", "execute", "hostile.panics"]),
        ["error: user `ana` may not execute proc `hostile.panics`; \
             this allows it: GRANT EXECUTE ON FUNCTION hostile.panics TO ana"]
    );
    assert_eq!(
        terminal.error(&["--user", "ana", "proc", "delete", "hostile"]),
        ["error: user `ana` may not administer `hostile`; \
             this allows it: GRANT ADMIN ON FUNCTION hostile TO ana"]
    );
    terminal.error(&["proc", "execute", "hostile.panics"]);
    let lines = terminal.error(&["--user", "ana", "run", "show", "2"]);
    assert!(lines[0].starts_with("error: user `ana` may not look at or kill run 2, which is "), "{lines:?}");
    assert_eq!(terminal.json(&["--user", "ana", "run", "list"]).as_array().unwrap().len(), 1);
    let file = terminal.path("hostile.wasm").to_str().unwrap().to_owned();
    assert_eq!(
        terminal.error(&["--user", "ana", "proc", "create", &file, "--name", "again"]).last().unwrap(),
        "error: user `ana` may not create components; this allows it: GRANT CREATE FUNCTION TO ana"
    );
    terminal.ok(&["sql", "grant create function to ana"]);
    terminal.ok(&["--user", "ana", "proc", "create", &file, "--name", "again"]);
    terminal.ok(&["--user", "ana", "proc", "delete", "again"]);
}

/// A query that would take hours and gives no row meanwhile.
const ENDLESS: &str = "select count(*) from generate_series(1, 3000000) a \
                       join generate_series(1, 3000000) b on a.value + b.value < 0";

#[test]
fn ctrl_c_ends_a_query_also_where_a_server_executes_it() {
    let terminal = Terminal::new();
    let server = terminal.start(&["serve", "--idle-exit", "300ms"]);
    wait_until("the server listens", || terminal.data().join("quern.sock").exists());
    let client = terminal.start(&["sql", ENDLESS]);
    std::thread::sleep(Duration::from_millis(700));
    client.signal(libc::SIGINT);
    assert_eq!(client.wait().code, 130);
    let began = Instant::now();
    assert_eq!(server.wait().code, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "the server was busy for {:?} more", began.elapsed());
}

#[test]
fn a_server_that_is_told_to_stop_ends_its_queries() {
    let terminal = Terminal::new();
    let server = terminal.serve();
    let client = terminal.start(&["sql", &format!("create table t as {ENDLESS}")]);
    std::thread::sleep(Duration::from_millis(700));
    let (began, pid) = (Instant::now(), server.pid());
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, 0);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    let answer = client.wait();
    assert_eq!(
        (answer.code, answer.err.as_str()),
        (
            1,
            &*format!(
                "error: the statement was stopped, because process {pid}, which holds the folder, ends; ask again\n"
            )
        )
    );
    assert_eq!(terminal.json(&["sql", "show tables"]), serde_json::json!([]), "nothing half-written");
}

#[test]
fn a_query_for_start_up_keeps_nobody_from_the_folder_and_is_stopped_with_its_request() {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    terminal.ok(&["sql", "create table t (a int64); insert into t select value from generate_series(1, 3000)"]);
    let endless = "select x.a from t x, t y, t z, t v";
    let store = ["proc", "execute", "reads_unknown_column", "--input", endless, "--at-startup"];
    let stored = terminal.ok(&store);
    assert!(stored.starts_with("stored as 1"), "{stored}");
    terminal.ok(&["proc", "execute", "panics", "--at-startup"]);
    let server = terminal.serve();
    assert_eq!(terminal.value("select count(*) from t"), 3000);
    wait_until("the other was executed", || terminal.value("select last_run from quern.startup where id = 2") == 1);
    // The one is stopped alone, and is as if it had not been stored.
    terminal.ok(&["run", "kill", "--startup", "1"]);
    assert_eq!(terminal.value("select count(*) from quern.startup"), 1);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, 0);
    terminal.ok(&store);
    let server = terminal.serve();
    assert_eq!(terminal.value("select count(*) from t"), 3000);
    // The way out stops it, without a word about it: nothing is wrong with the request.
    let began = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(terminal.value("select last_error is null and last_run is null from quern.startup where id = 3"), true);
}
