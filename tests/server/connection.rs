//! Holders and clients, here as connections of one process: whoever has the lock
//! is the holder, whoever comes later its client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use quern::database::Options;
use quern::server::{
    Connection, Event, FolderLock, Hello, PROTOCOL, Patience, Reply, Request, Role, connect, listen, read_frame,
    write_frame,
};
use quern::sql::Watch;

fn open(folder: &Path) -> Connection {
    Connection::open(folder, &Options { cores: Some(1), ..Options::default() }, Role::Command).unwrap()
}

/// Executes statements; the number of rows that came back.
fn sql(connection: &Connection, text: &str) -> usize {
    let mut rows = 0;
    let request = Request::Sql { text: text.to_owned() };
    let reply = connection.call(request, Vec::new(), &mut |event| {
        if let Event::Batch(batch) = event {
            rows += batch.num_rows();
        }
        Ok(())
    });
    assert!(matches!(reply.unwrap(), Reply::Done));
    rows
}

/// Closes. A request counts until a moment after its reply was read, so there
/// may be something to wait for, but not for long.
fn close(connection: &Connection) {
    let began = std::time::Instant::now();
    let waiting = &mut |needed_for: &str| {
        assert!(began.elapsed().as_secs() < 10, "waits for {needed_for}");
        Patience::Wait
    };
    connection.close(waiting).unwrap();
}

#[test]
fn the_second_to_open_a_folder_is_a_client_and_sees_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    assert!(first.remote_holder().is_none());
    let second = open(folder.path());
    let holder = second.remote_holder().unwrap();
    assert_eq!((holder.pid, holder.role, holder.protocol), (std::process::id(), Role::Command, PROTOCOL));
    sql(&second, "create table t (a int64); insert into t select value from generate_series(1, 20000)");
    assert_eq!(sql(&first, "select a from t"), 20_000);
    assert_eq!(sql(&second, "select a from t"), 20_000);
}

#[test]
fn a_client_becomes_the_holder_when_the_holder_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = open(folder.path());
    sql(&second, "create table t (a int64); insert into t values (1)");
    close(&first);
    assert_eq!(sql(&second, "select a from t"), 1, "nothing is lost, and nobody has to do anything");
    assert!(second.remote_holder().is_none(), "the client holds the folder now");
    assert_eq!(sql(&open(folder.path()), "select a from t"), 1);
}

#[test]
fn what_takes_long_waits_for_a_brief_holder_to_leave() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cores: Some(1), ..Options::default() };
    let brief = Connection::open(folder.path(), &options, Role::Brief).unwrap();
    let path = folder.path().to_owned();
    let other = std::thread::spawn(move || open(&path));
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(!other.is_finished());
    close(&brief);
    assert!(other.join().unwrap().remote_holder().is_none(), "it holds the folder itself");
}

#[test]
fn errors_are_the_same_for_holder_and_client() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(folder.path()), open(folder.path()));
    sql(&first, "create table digits (label int64)");
    let ask = |connection: &Connection| {
        let request = Request::Sql { text: "select labl from digits".to_owned() };
        connection.call(request, Vec::new(), &mut |_| Ok(())).unwrap_err()
    };
    assert_eq!(ask(&first).message, "no column `labl` in table `digits`; did you mean `label`?");
    assert_eq!(ask(&first), ask(&second));
    assert_eq!(sql(&second, "select label from digits"), 0, "the connection goes on after an error");
}

#[test]
fn a_client_that_stops_listening_does_not_disturb_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(folder.path()), open(folder.path()));
    let request = Request::Sql { text: "select value from generate_series(1, 1000000)".to_owned() };
    let stopped = || quern::base::Error::Killed { by: None };
    let failure = second.call(request, Vec::new(), &mut |_| Err(stopped())).unwrap_err();
    assert_eq!(failure.message, "the run was killed");
    assert_eq!(sql(&second, "select 1"), 1);
    close(&first);
}

/// A client that asks for rows and never reads one.
fn silent(folder: &Path, query: &str) -> UnixStream {
    let mut stream = connect(folder).unwrap();
    let hello = Hello { protocol: PROTOCOL, version: String::new(), pid: 7, role: Role::Brief, device: String::new() };
    write_frame(&mut stream, &serde_json::json!({ "hello": hello }), &[]).unwrap();
    let request = Request::Sql { text: query.to_owned() };
    write_frame(&mut stream, &serde_json::json!({ "request": request }), &[]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    stream
}

#[test]
fn a_client_that_reads_nothing_keeps_no_holder_that_must_leave() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let client = silent(folder.path(), "select value from generate_series(1, 100000000)");
    let began = std::time::Instant::now();
    first.close(&mut |_| Patience::Kill).unwrap();
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
    drop(client);
}

#[test]
fn a_client_that_reads_nothing_is_given_up_when_the_holder_would_leave() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let client = silent(folder.path(), "select value from generate_series(1, 100000000)");
    let began = std::time::Instant::now();
    first.close(&mut |_| Patience::Wait).unwrap();
    assert!((5..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    drop(client);
}

#[test]
fn a_query_ends_when_its_client_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let endless = "select count(*) from generate_series(1, 3000000) a \
                   join generate_series(1, 3000000) b on a.value + b.value < 0";
    drop(silent(folder.path(), endless));
    close(&first);
}

#[test]
fn a_request_ends_when_it_is_no_longer_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (open(folder.path()), open(folder.path()));
    let endless = "select count(*) from generate_series(1, 3000000) a cross join generate_series(1, 3000000) b";
    for connection in [&first, &second] {
        let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
        let watch = Watch::new(move || match std::time::Instant::now() > until {
            true => Err(quern::base::Error::Invalid("it took too long".into())),
            false => Ok(()),
        });
        let request = Request::Sql { text: endless.to_owned() };
        let failure = connection.call_watched(request, Vec::new(), &watch, &mut |_| Ok(())).unwrap_err();
        assert_eq!(failure.message, "it took too long");
        assert_eq!(sql(connection, "select 1"), 1, "the connection goes on");
    }
    close(&first);
}

#[test]
fn noise_on_the_socket_does_not_disturb_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], b""] {
        let mut stream = connect(folder.path()).unwrap();
        stream.write_all(noise).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It may also be cut off with a reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "noise has no answer");
    }
    assert_eq!(sql(&open(folder.path()), "select 1"), 1);
    close(&first);
}

#[test]
fn more_clients_than_there_is_room_for_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let many: Vec<UnixStream> = (0..64).map(|_| connect(folder.path()).unwrap()).collect();
    let options = Options { cores: Some(1), ..Options::default() };
    let error = Connection::open(folder.path(), &options, Role::Command).unwrap_err().to_string();
    assert_eq!(error, "64 other terminals use the folder already");
    drop(many);
}

/// Holds the folder as a program would that greets with `protocol` and then
/// hangs up at the first request.
fn stranger(folder: &Path, protocol: u32) -> std::thread::JoinHandle<()> {
    let lock = FolderLock::try_acquire(folder).unwrap().unwrap();
    let listener = listen(folder).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_frame::<serde_json::Value>(&mut stream).unwrap();
        let hello = Hello { protocol, version: "9.9.9".to_owned(), pid: 7, role: Role::Server, device: String::new() };
        write_frame(&mut stream, &serde_json::json!({ "hello": hello }), &[]).unwrap();
        drop(read_frame::<serde_json::Value>(&mut stream));
        drop((stream, lock));
    })
}

#[test]
fn a_holder_of_another_protocol_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    // Version 1 spoke of runs without versions, sweeps and grants.
    for other in [1, PROTOCOL + 1] {
        let holder = stranger(folder.path(), other);
        let error = Connection::open(folder.path(), &Options::default(), Role::Command).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "folder {} is held by process 7 of quern 9.9.9, which speaks version {other} of the protocol, \
                 this one ({}) speaks {PROTOCOL}; use the same quern, or stop that process (kill 7)",
                folder.path().canonicalize().unwrap().display(),
                env!("CARGO_PKG_VERSION")
            )
        );
        holder.join().unwrap();
    }
}

#[test]
fn a_holder_that_ends_in_the_middle_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let holder = stranger(folder.path(), PROTOCOL);
    let connection = open(folder.path());
    let request = Request::Sql { text: "delete from t".to_owned() };
    let failure = connection.call(request, Vec::new(), &mut |_| Ok(())).unwrap_err();
    assert!(failure.message.starts_with("process 7, which held the folder, ended before it answered"), "{failure}");
    assert!(failure.hint.unwrap().contains("completely or not at all"));
    holder.join().unwrap();
}

#[test]
fn who_only_asks_leaves_the_folder_to_the_first_who_works() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    sql(&first, "create table t (a int64); insert into t values (1), (2)");
    close(&first);
    let ask = || {
        let options = Options { cores: Some(1), ..Options::default() };
        Connection::open(folder.path(), &options, Role::Asking).unwrap()
    };
    let (asking, beside) = (ask(), ask());
    assert!(asking.local_holder().is_some() && beside.remote_holder().is_some(), "one holds it, the other asks that");
    // A statement that is not over yet.
    let (inside, entered) = std::sync::mpsc::channel();
    let (go, waiting) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let reader = &asking;
        let rows = scope.spawn(move || {
            let mut rows = 0;
            let request = Request::Sql { text: "select a from t".to_owned() };
            let reply = reader.call(request, Vec::new(), &mut |event| {
                if let Event::Batch(batch) = event {
                    inside.send(()).unwrap();
                    waiting.recv().unwrap();
                    rows += batch.num_rows();
                }
                Ok(())
            });
            reply.map(|_| rows).unwrap()
        });
        entered.recv().unwrap();
        let worker = open(folder.path());
        assert!(worker.local_holder().is_some(), "it need not wait");
        sql(&worker, "insert into t values (3)");
        go.send(()).unwrap();
        assert_eq!(rows.join().unwrap(), 2, "the statement goes on with the rows it began with");
        assert_eq!(sql(&asking, "select a from t"), 3, "the next is for the new holder");
        assert_eq!(sql(&beside, "select a from t"), 3);
        assert!(asking.remote_holder().is_some() && beside.remote_holder().is_some());
        close(&asking);
        assert_eq!(sql(&worker, "select a from t"), 3, "its socket and its lock are its own");
        close(&worker);
    });
    assert_eq!(sql(&beside, "select a from t"), 3);
    assert!(beside.local_holder().is_some(), "who asks holds the folder where nobody else does");
}

/// A folder whose catalog has to be written to when it is opened: it was moved.
fn moved(parent: &Path) -> std::path::PathBuf {
    let (old, new) = (parent.join("old"), parent.join("new"));
    let first = open(&old);
    sql(&first, "create table t (a int64); insert into t values (1)");
    close(&first);
    std::fs::rename(&old, &new).unwrap();
    new
}

#[test]
fn a_worker_waits_for_an_asking_holder_that_is_long_in_opening() {
    let parent = tempfile::tempdir().unwrap();
    let folder = moved(parent.path());
    let foreign = rusqlite::Connection::open(folder.join(quern::storage::CATALOG_FILE)).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let options = Options { cores: Some(1), ..Options::default() };
            Connection::open(&folder, &options, Role::Asking).unwrap()
        });
        while connect(&folder).is_err() {
            std::thread::yield_now();
        }
        let worker = scope.spawn(|| open(&folder));
        // Longer than a holder may be silent.
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert!(!asking.is_finished() && !worker.is_finished());
        foreign.execute_batch("ROLLBACK").unwrap();
        let worker = worker.join().unwrap();
        assert!(worker.local_holder().is_some(), "the folder is the worker's as soon as it is open");
        sql(&worker, "insert into t values (2)");
        assert_eq!(sql(&asking.join().unwrap(), "select a from t"), 2);
        close(&worker);
    });
}

#[test]
fn who_was_sent_away_takes_the_folder_no_sooner_than_the_one_it_was_left_to() {
    let folder = tempfile::tempdir().unwrap();
    sql(&open(folder.path()), "create table t (a int64); insert into t values (1)");
    let options = Options { cores: Some(1), ..Options::default() };
    let asking = Connection::open(folder.path(), &options, Role::Asking).unwrap();
    // One who works, by hand: it is told when the folder is free, and is a little slow then.
    let mut stream = connect(folder.path()).unwrap();
    let hello =
        Hello { protocol: PROTOCOL, version: String::new(), pid: 7, role: Role::Command, device: String::new() };
    write_frame(&mut stream, &serde_json::json!({ "hello": hello }), &[]).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    std::thread::scope(|scope| {
        let rows = scope.spawn(|| sql(&asking, "select a from t"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        let lock = FolderLock::try_acquire(folder.path()).unwrap();
        assert!(lock.is_some(), "it is still free");
        drop(lock);
        assert_eq!(rows.join().unwrap(), 1, "where nobody takes it, who asks holds it again");
    });
}

#[test]
fn a_client_of_an_older_protocol_can_read_who_only_asks() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cores: Some(1), ..Options::default() };
    let _asking = Connection::open(folder.path(), &options, Role::Asking).unwrap();
    let mut stream = connect(folder.path()).unwrap();
    // Protocol 2 knew the roles brief, command and server.
    let hello = serde_json::json!({ "protocol": 2, "version": "0.1.0", "pid": 7, "role": "command" });
    write_frame(&mut stream, &serde_json::json!({ "hello": hello }), &[]).unwrap();
    let (answer, _) = read_frame::<serde_json::Value>(&mut stream).unwrap().unwrap();
    assert_eq!((&answer["hello"]["protocol"], &answer["hello"]["role"]), (&PROTOCOL.into(), &"brief".into()));
    // And what a later one may say is understood as far as the number of its protocol.
    let mut stream = connect(folder.path()).unwrap();
    let hello = serde_json::json!({ "protocol": 99, "version": "9.9.9", "pid": 7, "role": "replica", "asking": false });
    write_frame(&mut stream, &serde_json::json!({ "hello": hello }), &[]).unwrap();
    let (answer, _) = read_frame::<serde_json::Value>(&mut stream).unwrap().unwrap();
    assert_eq!(answer["hello"]["protocol"], PROTOCOL);
}

#[test]
fn a_reader_beside_a_new_holder_is_told_to_ask_again_when_its_files_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    sql(&first, "create table t (a int64); insert into t values (1)");
    sql(&first, "create table u (a int64); insert into u select value from generate_series(1, 300000)");
    close(&first);
    let options = Options { cores: Some(1), ..Options::default() };
    let asking = Connection::open(folder.path(), &options, Role::Asking).unwrap();
    let mut worker = None;
    let request = Request::Sql { text: "select a from t; select sum(a) from u".to_owned() };
    let failure = asking
        .call(request, Vec::new(), &mut |event| {
            if matches!(event, Event::Batch(_)) && worker.is_none() {
                worker = Some(open(folder.path()));
                remove_rows(folder.path());
            }
            Ok(())
        })
        .unwrap_err();
    let shown = failure.message;
    assert!(
        shown.starts_with(
            "the statement read files that are not there any more: another process has held the folder for "
        ) && shown.ends_with("; ask again, which reads the newest rows"),
        "{shown}"
    );
    close(&worker.unwrap());
}

/// Removes all Parquet files of a folder, as a sweep of replaced ones would.
fn remove_rows(folder: &Path) {
    let mut removed = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(parquet) if parquet == "parquet" => {
                    std::fs::remove_file(path).unwrap();
                    removed += 1;
                }
                _ => {}
            }
        }
    }
    assert!(removed > 0);
}
