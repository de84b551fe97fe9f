//! Several processes on one folder.

use std::time::{Duration, Instant};

use super::{Terminal, wait_until};

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
