//! Procs that fail as a user meets them: the message, the exit code, no rows,
//! and a folder that goes on.

use serde_json::json;

use super::Terminal;

/// What a run past its deadline is told.
const LATE: &str = "limit `deadline_ms`: # ms asked, # ms allowed; raise it for one run with --limit deadline_ms=N";

#[test]
fn a_guest_that_fails_leaves_a_message_and_nothing_else() {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    terminal.create("sum-of-squares", "udfs/sum-of-squares");
    let points = terminal.file("points.csv", "a,b\n1,2\n3,4\n");
    terminal.ok(&["import", &points, "--table", "points"]);
    let mut wrong = Vec::new();
    let (hostile, error) = ("tests/evil/hostile/src/lib.rs", "returned an error");
    for (number, (arguments, message)) in [
        (&["hostile.panics"][..], format!("proc `panics` stopped: panicked at {hostile}:#:#: row # has no label")),
        (
            &["hostile.divides_by_zero"],
            format!("proc `divides_by_zero` stopped: panicked at {hostile}:#:#: attempt to divide by zero"),
        ),
        (
            &["hostile.shape_mismatch"],
            format!(
                "proc `shape_mismatch` {error} (out-of-range): matmul: shapes [#, #] and [#, #] do not fit; \
                 [.., m, k] × [.., k, n] is needed"
            ),
        ),
        (&["hostile.loops_forever", "--deadline", "200ms"], LATE.to_owned()),
        (&["hostile.computes_forever", "--deadline", "200ms"], LATE.to_owned()),
        (
            &["hostile.writes_then_fails", "--output", "rows"],
            format!("proc `writes_then_fails` {error} (invalid-argument): changed its mind after # rows"),
        ),
        (
            &["hostile.writes_wrong_type", "--output", "rows"],
            format!("proc `writes_wrong_type` {error} (type-mismatch): column `n` is int#, the tensor is float# [#]"),
        ),
        (
            &["hostile.reads_unknown_column", "--input", "points"],
            format!(
                "proc `reads_unknown_column` {error} (not-found): no column `no_such_column` in table `rows` (a, b)"
            ),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let run = number + 1;
        let answer = terminal.quern(&[&["--quiet", "proc", "execute"], arguments].concat());
        let wanted = format!("error: run #: {message}\n");
        let said = without_numbers(&answer.err);
        if (answer.code, &said) != (1, &wanted) {
            wrong.push(format!("{arguments:?}\n  exit {} {said}  wanted {wanted}", answer.code));
        }
        let state = if arguments.contains(&"--deadline") { "killed" } else { "error" };
        assert_eq!(terminal.json(&["run", "show", &run.to_string()])["state"], state, "{arguments:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(terminal.ok(&["run", "logs", "1"]).contains("row 7 has no label"), "the log has what the guest said");
    let tables = terminal.json(&["sql", "select table_name, rows from quern.tables"]);
    assert_eq!(tables, json!([{ "table_name": "points", "rows": 2 }]), "no rows of a failed run");
    terminal.ok(&["proc", "execute", "sum_of_squares", "--input", "points", "--output", "sums"]);
    assert_eq!(terminal.value("select count(*) from sums"), 2, "the folder opens again and runs a proc");
}

/// The text with `#` for each number: lines of a source and times move.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

#[test]
fn a_follower_is_told_no_more_lines_than_the_record_keeps() {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    let answer =
        terminal.quern(&["proc", "execute", "talks_too_much", "--param", "lines=5000", "--limit", "log_lines=100"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    let lines = answer.out.lines().chain(answer.err.lines()).filter(|line| line.contains("  instance 0  ")).count();
    assert!((100..=101).contains(&lines), "{lines} lines");
    // A run that talks without a pause is told of a few times a second.
    let limits = ["--limit", "log_lines=10", "--limit", "deadline_ms=1000"];
    terminal.quern(&[&["proc", "execute", "shouts_forever"], &limits[..]].concat());
    let server = terminal.serve();
    let run = [&["--json", "proc", "execute", "shouts_forever"], &limits[..]].concat();
    terminal.ok(&run);
    let watched = terminal.quern(&["--json", "run", "watch", "3"]);
    let events = watched.out.lines().count();
    assert!((2..=25).contains(&events), "{events} events in a second");
    drop(server);
}
