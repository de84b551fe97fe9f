//! `quern sql`.

use std::io::Write;
use std::process::Stdio;

use super::{Answer, Terminal};

fn with_points() -> Terminal {
    let terminal = Terminal::new();
    let file = terminal.file("points.csv", "x,name\n10,a\n2,\"b, c\"\n");
    terminal.ok(&["import", &file, "--table", "points"]);
    terminal
}

const QUERY: &str = "select x, name from points order by x";

#[test]
fn rows_come_as_a_table_csv_json_or_lines() {
    let terminal = with_points();
    assert_eq!(terminal.ok(&["sql", QUERY]), " x  name\n────────\n 2  b, c\n10  a\n2 rows\n");
    assert_eq!(terminal.ok(&["sql", QUERY, "--format", "csv"]), "x,name\n2,\"b, c\"\n10,a\n");
    let json = "[\n{\"x\":2,\"name\":\"b, c\"},\n{\"x\":10,\"name\":\"a\"}\n]\n";
    assert_eq!(terminal.ok(&["sql", QUERY, "--format", "json"]), json);
    assert_eq!(terminal.ok(&["--json", "sql", QUERY]), json);
    let lines = "{\"x\":2,\"name\":\"b, c\"}\n{\"x\":10,\"name\":\"a\"}\n";
    assert_eq!(terminal.ok(&["sql", QUERY, "--format", "jsonl"]), lines);
}

#[test]
fn statements_come_from_a_file_or_a_pipe() {
    let terminal = with_points();
    let script = "create table t (a int64); insert into t values (1), (2);\nselect sum(a) as s from t;";
    let file = terminal.file("script.sql", script);
    let out = terminal.ok(&["sql", "-f", &file, "--format", "csv"]);
    assert_eq!(out, "s\n3\n", "only rows go to standard output");

    let mut command = terminal.command(&["sql", "--format", "csv"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"select count(*) as n from t").unwrap();
    let answer = Answer::of(child.wait_with_output().unwrap());
    assert_eq!((answer.out.as_str(), answer.code), ("n\n2\n", 0), "{answer:?}");
}

#[test]
fn statements_before_one_that_fails_are_done() {
    let terminal = with_points();
    let answer = terminal.quern(&["sql", "delete from points where x = 2; select nothing from points"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.starts_with("error: "), "{answer:?}");
    assert_eq!(terminal.value("select count(*) from points"), 1);
}

#[test]
fn output_that_nobody_reads_any_more_is_no_error() {
    let terminal = with_points();
    let mut command = terminal.command(&["sql", "select a.value from generate_series(1, 1000000) a"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}

#[test]
fn an_arrow_stream_is_what_other_programs_read() {
    let terminal = with_points();
    let output = terminal.command(&["sql", QUERY, "--format", "arrow"]).output().unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(output.stdout.as_slice(), None).unwrap();
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 2);
}

#[test]
fn several_statements_are_one_json_document() {
    let terminal = Terminal::new();
    let answers = terminal
        .json(&["sql", "create table t (a float64); insert into t values ('NaN'::double), (2); select a from t"]);
    assert_eq!(answers[0]["message"], "created table `t`");
    assert_eq!(answers[1]["rows"], 2);
    assert_eq!(answers[2], serde_json::json!([{ "a": "NaN" }, { "a": 2.0 }]));
    let answer = terminal.quern(&["--json", "sql", "delete from t where a = 2; select nothing from t"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let done: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(done[0]["rows"], 1, "what was done before the failure is told in whole JSON");
    assert_eq!(
        terminal.error(&["sql", "--format", "arrow", "select 1; select 2"]),
        ["error: an Arrow stream holds the rows of one query; execute the statements one by one, or use --format json"]
    );
}

#[test]
fn a_statement_may_begin_with_a_comment() {
    let terminal = Terminal::new();
    assert_eq!(terminal.ok(&["sql", "--format", "csv", "-- how many\nselect 42 as n"]), "n\n42\n");
    assert_eq!(terminal.ok(&["sql", "--none\nselect 42 as n", "--format", "csv"]), "n\n42\n");
    let answer = terminal.quern(&["sql", "--fromat=csv"]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert_eq!(
        answer.err.lines().next().unwrap(),
        "error: invalid value '--fromat=csv' for '[STATEMENT]': it is neither an option of this command nor a statement"
    );
}

#[test]
fn where_columns_of_a_table_stay_is_said_with_and_without_a_server() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (a int64)"]);
    let asked = "select residency || ' ' || device || ' ' || bytes from quern.residency";
    for (served, word) in [(false, "host"), (true, "pinned")] {
        let server = served.then(|| terminal.serve());
        terminal.ok(&["sql", &format!("alter table t set residency {word}")]);
        assert_eq!(terminal.value(asked), format!("{word} cpu 0"));
        assert_eq!(
            terminal.error(&["sql", "alter table t set residency vram"]),
            ["error: `vram` is no residency; say device, pinned, host or disk"]
        );
        drop(server);
    }
}
