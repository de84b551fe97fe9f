//! `quern import`.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use super::{Answer, Process, Terminal, mnist, wait_until};

#[test]
fn a_csv_file_becomes_a_table_with_inferred_types() {
    let terminal = Terminal::new();
    let file = terminal.file("points.csv", "x,y,name\n1,0.5,a\n2,1.5,b\n3,,c\n");
    let done = terminal.json(&["import", &file, "--table", "points"]);
    assert_eq!(done["rows"], 3);
    assert_eq!(done["columns"], json!(["x int64", "y float64", "name utf8"]));
    assert_eq!(done["sharding"], "4 shards, random");
    assert_eq!(
        terminal.json(&["sql", "select * from points order by x"]),
        json!([{"x": 1, "y": 0.5, "name": "a"}, {"x": 2, "y": 1.5, "name": "b"}, {"x": 3, "y": null, "name": "c"}])
    );
}

#[test]
fn what_was_imported_is_said_with_units() {
    let terminal = Terminal::without_folder();
    let file = terminal.file("one.csv", "x\n1\n");
    let answer = terminal.quern(&["import", &file, "--table", "one", "--replicated"]);
    let lines: Vec<&str> = answer.out.lines().collect();
    assert!(lines[0].starts_with("1 row into table one from 4 B in ") && lines[0].ends_with("ms"), "{answer:?}");
    assert_eq!(lines[1], "x int64 · replicated");
    assert!(answer.err.starts_with("created the folder "), "{answer:?}");
}

#[test]
fn types_names_and_shards_can_be_said() {
    let terminal = Terminal::new();
    let file = terminal.file("raw.txt", "7;a\n8;b\n");
    let done = terminal.json(&[
        "import",
        &file,
        "-t",
        "raw",
        "--format",
        "csv",
        "--delimiter",
        ";",
        "--header",
        "false",
        "--names",
        "key,word",
        "--column",
        "key=int16 not null",
        "--shards",
        "2",
        "--shard-by",
        "key",
    ]);
    assert_eq!(done["columns"], json!(["key int16", "word utf8"]));
    assert_eq!(done["sharding"], "2 shards by key");
    assert_eq!(terminal.value("select sum(key) from raw"), 15);
}

#[test]
fn append_adds_and_replace_begins_anew_and_neither_is_refused() {
    let terminal = Terminal::new();
    let file = terminal.file("t.csv", "x\n1\n2\n");
    let count = || terminal.value("select count(*) from t");
    terminal.ok(&["import", &file, "--table", "t"]);
    assert_eq!(
        terminal.error(&["import", &file, "--table", "t"]),
        ["error: table `t` exists already; --append adds the rows to it, --replace drops it first"]
    );
    terminal.ok(&["import", &file, "--table", "t", "--append"]);
    assert_eq!(count(), 4);
    terminal.ok(&["import", &file, "--table", "t", "--replace"]);
    assert_eq!(count(), 2);
}

#[test]
fn idx_files_become_columns_with_ids_and_one_hot_labels() {
    let terminal = Terminal::new();
    let done = terminal.json(&[
        "import",
        &mnist("t10k-images-idx3-ubyte.gz"),
        &mnist("t10k-labels-idx1-ubyte.gz"),
        "--table",
        "digits",
        "--ids",
        "--one-hot",
        "10",
        "--names",
        "id,data,onehot_label,readable_label",
    ]);
    assert_eq!(done["rows"], 10_000);
    assert_eq!(
        done["columns"],
        json!(["id int64", "data tensor(uint8,[28,28])", "onehot_label tensor(uint8,[10])", "readable_label int32"])
    );
    let first = terminal.json(&["sql", "select id, onehot_label, readable_label from digits where id = 0"]);
    assert_eq!(first, json!([{"id": 0, "onehot_label": [0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "readable_label": 7}]));
    assert_eq!(terminal.value("select count(*) from digits where readable_label = 1"), 1135);
}

#[test]
fn parquet_and_arrow_that_sql_wrote_come_back_as_they_were() {
    let terminal = Terminal::new();
    let file = terminal.file("t.csv", "x,word\n1,a\n2,\n");
    terminal.ok(&["import", &file, "--table", "t"]);
    let stream = terminal.command(&["sql", "select * from t order by x", "--format", "arrow"]).output().unwrap();
    assert!(stream.status.success());
    let arrow = terminal.file("t.arrow", stream.stdout);
    assert_eq!(terminal.json(&["import", &arrow, "--table", "again"])["rows"], 2);
    assert_eq!(
        terminal.json(&["sql", "select * from again order by x"]),
        terminal.json(&["sql", "select * from t order by x"])
    );
}

#[test]
fn rows_appended_from_csv_have_the_types_of_the_table() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (x int32, code utf8)"]);
    let file = terminal.file("t.csv", "x,code\n1,007\n2,008\n");
    terminal.ok(&["import", &file, "--table", "t", "--append"]);
    assert_eq!(terminal.json(&["sql", "select code from t order by x"]), json!([{"code": "007"}, {"code": "008"}]));
    let file = terminal.file("bad.csv", "x,code\n3,a\n4.5,b\n");
    assert_eq!(
        terminal.error(&["import", &file, "--table", "t", "--append"]),
        [format!("error: {file}: line 3, column `x`: `4.5` is not int32")]
    );
    assert_eq!(terminal.value("select count(*) from t"), 2);
}

#[test]
fn columns_that_an_appended_file_lacks_are_named() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (x int32, code utf8, size int64)"]);
    let file = terminal.file("t.csv", "x\n1\n");
    let said = terminal.ok(&["import", &file, "--table", "t", "--append"]);
    assert_eq!(said.lines().last(), Some("NULL in code, size, which the files lack"));
    let done = terminal.json(&["import", &file, "--table", "t", "--append"]);
    assert_eq!(done["absent"], json!(["code", "size"]));
    let said = terminal.ok(&["sql", &format!("import '{file}' into t")]);
    assert_eq!(said.trim_end(), "added to table `t`: 1 row from t.csv; NULL in code, size, which the file lacks");
}

#[test]
fn a_column_without_values_and_type_needs_one() {
    let terminal = Terminal::new();
    let stream = terminal.command(&["sql", "select 1 as x, null as note", "--format", "arrow"]).output().unwrap();
    let file = terminal.file("t.arrow", stream.stdout);
    assert_eq!(
        terminal.error(&["import", &file, "--table", "t"]),
        [format!("error: {file}: column `note` has no values and no type; give it one, as in --column note=int64")]
    );
    terminal.ok(&["import", &file, "--table", "t", "--column", "note=utf8"]);
    terminal.ok(&["import", &file, "--table", "t", "--append"]);
    assert_eq!(terminal.json(&["sql", "select x, note from t limit 1"]), json!([{"x": 1, "note": null}]));
}

#[test]
fn standard_input_and_pipes_are_those_of_the_command_that_names_them() {
    let terminal = Terminal::new();
    let piped = |arguments: &[&str], rows: &[u8]| {
        let mut command = terminal.command(&[&["--json", "import"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(rows).unwrap();
        let answer = Answer::of(child.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{answer:?}");
    };
    piped(&["-", "--table", "t"], b"x\n1\n2\n");
    let server = terminal.serve();
    piped(&["-", "--table", "t", "--append"], b"x\n10\n");
    piped(&["/dev/stdin", "--table", "t", "--append"], b"x\n100\n");
    piped(&["/dev/fd/0", "--table", "t", "--append"], b"x\n1000\n");
    assert_eq!(terminal.value("select sum(x) from t"), 1113);
    // Standard input is `/dev/null` here.
    assert_eq!(
        terminal.error(&["import", "-", "--table", "u"]),
        [format!(
            "error: /dev/stdin is neither a file nor a pipe, and process {}, which holds the folder, cannot open it; \
             write the rows into a file first",
            server.pid()
        )]
    );
}

/// Imports what `rows` says by a pipe.
fn piped(terminal: &Terminal, arguments: &[&str], rows: &[u8]) -> Answer {
    let mut command = terminal.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rows).unwrap();
    Answer::of(child.wait_with_output().unwrap())
}

#[test]
fn a_pipe_is_read_for_users_and_in_every_format_that_can_be() {
    let terminal = Terminal::new();
    let idx = [0, 0, 8, 1, 0, 0, 0, 3, 5, 6, 7];
    let done = piped(&terminal, &["import", "-", "--table", "digits", "--names", "x"], &idx);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(terminal.value("select sum(x) from digits"), 18);
    terminal.ok(&["sql", "create user ana"]);
    let done = piped(&terminal, &["--user", "ana", "import", "-", "--table", "t"], b"x\n1\n2\n");
    assert_eq!(done.code, 0, "{done:?}");
    let refused = piped(&terminal, &["import", "-", "--table", "u"], b"PAR1 and more");
    assert_eq!(
        refused.err.lines().collect::<Vec<_>>(),
        ["error: /dev/stdin: this format cannot be read from a pipe; write it into a file first"]
    );
}

#[test]
fn a_statement_of_a_user_reads_no_pipe_of_another_process() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (x int); create user ana; grant insert on table t to ana"]);
    let mut other = std::process::Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
    other.stdin.as_mut().unwrap().write_all(b"x\n1\n").unwrap();
    let pipe = format!("/proc/{}/fd/0", other.id());
    let statement = format!("import into t from '{pipe}' with (format = 'csv')");
    let refused = terminal.error(&["--user", "ana", "sql", &statement]);
    assert!(refused[0].starts_with(&format!("error: cannot read {pipe}: ")), "{refused:?}");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(terminal.value("select count(*) from t"), 0);
}

#[test]
fn a_pipe_that_never_ends_is_read_until_ctrl_c() {
    let terminal = Terminal::new();
    let _server = terminal.serve();
    let mut command = terminal.command(&["import", "-", "--table", "t"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // One row, and then bytes that belong to none.
    let writer = std::thread::spawn(move || {
        pipe.write_all(&[0, 0, 8, 1, 0, 0, 0, 1, 7]).unwrap();
        let written = std::iter::repeat_with(|| pipe.write_all(&[0; 1 << 16])).take_while(Result::is_ok).count();
        assert!(written > 100, "{written}");
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGINT) }, 0);
    assert_eq!(Answer::of(child.wait_with_output().unwrap()).code, 130);
    // The holder lets go of the pipe.
    writer.join().unwrap();
    assert_eq!(terminal.value("select count(*) from quern.tables"), 0);
}

#[test]
fn an_import_of_a_silent_pipe_ends_with_ctrl_c_here_and_beside_a_holder() {
    let terminal = Terminal::new();
    let interrupted = |what: &str| {
        let mut command = terminal.command(&["import", "-", "--table", what]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // It reads once this much is taken; the pipe itself holds less.
        pipe.write_all(&b"x\n".repeat(128 << 10)).unwrap();
        let process = Process { child: Some(child) };
        process.signal(libc::SIGINT);
        assert_eq!(process.wait().code, 130, "{what}");
        wait_until("nobody has the pipe any more", || pipe.write_all(b"y").is_err());
    };
    interrupted("alone");
    let _server = terminal.serve();
    interrupted("served");
}
