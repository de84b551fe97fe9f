//! What is said when something is wrong, word for word, and the exit codes.

use std::process::Command;

use super::{Answer, Terminal, mnist};
use crate::support::components::component;

#[test]
fn a_wrong_column_is_named_with_the_one_that_was_meant() {
    let terminal = Terminal::new();
    let file = terminal.file("digits.csv", "id,label\n1,7\n");
    terminal.ok(&["import", &file, "--table", "digits"]);
    assert_eq!(
        terminal.error(&["sql", "select labl from digits"]),
        ["error: no column `labl` in table `digits`; did you mean `label`?"]
    );
    assert_eq!(terminal.error(&["sql", "select 1 from digts"]), ["error: no table `digts`; did you mean `digits`?"]);
    assert_eq!(
        terminal.error(&["sql", "select 1 from nowhere"]),
        ["error: no table `nowhere`", "hint: `quern sql \"show tables\"` lists the tables"]
    );
}

#[test]
fn a_missing_file_is_named() {
    let terminal = Terminal::new();
    let file = terminal.path("gone.csv");
    let lines = terminal.error(&["import", file.to_str().unwrap(), "--table", "t"]);
    assert_eq!(lines, [format!("error: cannot read {}: No such file or directory (os error 2)", file.display())]);
    let lines = terminal.error(&["proc", "inspect", file.to_str().unwrap()]);
    assert_eq!(lines, [format!("error: cannot read {}: No such file or directory (os error 2)", file.display())]);
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let terminal = Terminal::without_folder();
    std::fs::write(terminal.data(), "").unwrap();
    let lines = terminal.error(&["sql", "select 1"]);
    assert_eq!(lines, [format!("error: {} is not a folder; name another with --data", terminal.data().display())]);
}

#[test]
fn a_truncated_file_leaves_no_rows() {
    let terminal = Terminal::new();
    let whole = std::fs::read(mnist("t10k-labels-idx1-ubyte.gz")).unwrap();
    let cut = terminal.file("labels-idx1-ubyte.gz", &whole[..whole.len() / 2]);
    let lines = terminal.error(&["import", &cut, "--table", "labels"]);
    assert!(lines.len() == 1 && lines[0].starts_with(&format!("error: {cut}: ")), "{lines:?}");
    assert_eq!(terminal.json(&["sql", "show tables"]), serde_json::json!([]));
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    let terminal = Terminal::new();
    let file = terminal.file("notes.wasm", "not WebAssembly");
    for command in ["inspect", "create"] {
        let lines = terminal.error(&["proc", command, &file]);
        assert!(lines.len() == 1 && lines[0].contains("is not a usable component: "), "{lines:?}");
    }
    assert_eq!(terminal.json(&["proc", "list"]), serde_json::json!([]));
}

#[test]
fn an_import_from_elsewhere_is_refused_by_name() {
    let terminal = Terminal::new();
    let file = terminal.file("clock.wasm", component("tests/evil/clock"));
    let lines = terminal.error(&["proc", "create", &file]);
    assert!(lines.len() == 1 && lines[0].contains("wasi:clocks/wall-clock@0.2.0"), "{lines:?}");
    assert_eq!(terminal.json(&["proc", "list"]), serde_json::json!([]));
}

#[test]
fn what_does_not_exist_comes_with_the_command_that_lists() {
    let terminal = Terminal::new();
    assert_eq!(terminal.error(&["run", "show", "7"]), ["error: no run `7`", "hint: `quern run list` lists the runs"]);
    assert_eq!(
        terminal.error(&["model", "show", "mnist"]),
        ["error: no model `mnist`", "hint: `quern model list` lists the models"]
    );
    assert_eq!(
        terminal.error(&["proc", "execute", "trian"]),
        [
            "error: no proc `trian`",
            "hint: `quern proc list` lists what was created, `quern proc create FILE` adds a component"
        ]
    );
}

#[test]
fn a_limit_that_does_not_exist_is_named_with_the_one_that_was_meant() {
    let terminal = Terminal::new();
    let answer = terminal.quern(&["proc", "execute", "x", "--limit", "guest_memory_byte=1GiB"]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.err.contains(": no limit `guest_memory_byte`; did you mean `guest_memory_bytes`?"), "{answer:?}");
}

#[test]
fn wrong_usage_has_exit_code_2() {
    let terminal = Terminal::without_folder();
    for (arguments, said) in [
        (&["improt"][..], "unrecognized subcommand 'improt'"),
        (&["import"], "required arguments were not provided"),
        (&["import", "a.csv", "--table", "t", "--append", "--replace"], "cannot be used with"),
        (&["run", "list", "--state", "done"], "possible values: queued, running, complete, error, killed"),
        (&["proc", "execute", "x", "--deadline", "soon"], "write for example 500ms, 10s or 5min"),
        (&["proc", "execute", "x", "--deadline", "5"], "write for example 500ms, 10s or 5min"),
        (&["proc", "execute", "x", "--limit", "guest_memory_bytes=lots"], "write for example 1048576, 512MiB or 4GiB"),
        (&["proc", "execute", "x", "--param", "epochs"], "write name=value"),
        (&["run", "logs", "abc"], "a run has a number; `quern run list` lists the runs"),
    ] {
        let answer = terminal.quern(arguments);
        assert_eq!(answer.code, 2, "{arguments:?}: {answer:?}");
        assert!(answer.err.contains(said), "{arguments:?}: {answer:?}");
    }
    assert!(!terminal.data().exists(), "wrong usage touches no folder");
}

/// The help of `command` and of all subcommands below it that end in one.
fn leaves(terminal: &Terminal, command: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let help = terminal.ok(&arguments);
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        found.push((command.to_vec(), help));
        return;
    };
    let names = listed.lines().take_while(|line| !line.is_empty());
    // What continues a description is indented further.
    let names = names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    for name in names.filter(|name| *name != "help") {
        leaves(terminal, &[command, &[name.to_owned()]].concat(), found);
    }
}

#[test]
fn every_subcommand_has_help_with_examples() {
    let terminal = Terminal::new();
    let mut commands = Vec::new();
    leaves(&terminal, &[], &mut commands);
    let known = |command: &str| commands.iter().any(|(found, _)| found.join(" ") == command);
    assert!(["import", "proc alter", "run result", "demo mnist"].into_iter().all(known), "{commands:?}");
    for (command, help) in &commands {
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{command:?}: {help}"));
        let examples = examples.split("\n\n").next().unwrap();
        assert!(examples.starts_with("  quern "), "{command:?}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{command:?}: {help}");
        let whole = |line: &str| ["quern", "cd", "echo", "python"].contains(&line.split_whitespace().next().unwrap());
        assert!(examples.lines().all(whole), "an example is broken over lines: {examples}");
    }
}

#[test]
fn a_folder_of_a_newer_format_is_refused_by_its_version() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table t (a int64)"]);
    let raise = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('update quern_format set version = 99'); c.commit()";
    let catalog = terminal.data().join("catalog.sqlite");
    let raised =
        std::process::Command::new(crate::support::python()).args(["-c", raise]).arg(&catalog).status().unwrap();
    assert!(raised.success());
    let folder = terminal.data().canonicalize().unwrap();
    assert_eq!(
        terminal.error(&["sql", "select 1"]),
        [format!(
            "error: folder {} has format version 99, this quern reads up to {}; use the quern that wrote it or a newer one",
            folder.display(),
            quern::storage::FORMAT_VERSION
        )]
    );
}

#[test]
fn a_table_name_with_a_dot_is_refused() {
    let terminal = Terminal::new();
    let file = terminal.file("digits.csv", "id,label\n1,7\n");
    assert_eq!(
        terminal.error(&["import", &file, "--table", "quern.runs"]),
        ["error: table name `quern.runs` cannot be used: there are no schemas, leave out the dot"]
    );
}

#[test]
fn only_what_writes_makes_a_folder() {
    let terminal = Terminal::without_folder();
    let missing = [
        format!("error: no folder `{}`", terminal.data().display()),
        "hint: --data or QUERN_DATA names the folder; import, proc create, serve and CREATE TABLE make one".to_owned(),
    ];
    for arguments in [
        &["sql", "select 1"][..],
        &["sql", "show tables"],
        &["proc", "list"],
        &["proc", "execute", "x"],
        &["proc", "execute", "x", "--detach"],
        &["run", "list"],
        &["run", "kill", "1"],
        &["model", "list"],
    ] {
        assert_eq!(terminal.error(arguments), missing, "{arguments:?}");
        assert!(!terminal.data().exists(), "{arguments:?}");
    }
    let answer = terminal.quern(&["sql", "create table t (a int64)"]);
    assert_eq!(answer.err, format!("created the folder {}\n", terminal.data().display()));
    let typo = terminal.path("dta");
    let output =
        Command::new(crate::support::quern_binary()).arg("--data").arg(&typo).args(["sql", "select 1"]).output();
    let said = format!("error: no folder `{}`; did you mean `data`?", typo.display());
    assert_eq!(Answer::of(output.unwrap()).err.lines().next(), Some(said.as_str()));
}

#[test]
fn what_only_asks_makes_no_database_among_other_files() {
    let terminal = Terminal::without_folder();
    let file = terminal.data().join("notes.txt");
    std::fs::create_dir(terminal.data()).unwrap();
    std::fs::write(&file, "mine").unwrap();
    let foreign = format!(
        "error: folder `{}` has other files and no catalog.sqlite: it is none of Quern's; name another with --data",
        terminal.data().display()
    );
    for arguments in [&["sql", "select 1"][..], &["run", "list"], &["proc", "execute", "x", "--detach"]] {
        assert_eq!(terminal.error(arguments), [foreign.as_str()], "{arguments:?}");
        assert_eq!(std::fs::read_dir(terminal.data()).unwrap().count(), 1, "{arguments:?}");
    }
}

#[test]
fn an_empty_variable_is_none() {
    let terminal = Terminal::new();
    let mut command = terminal.command(&["sql", "select 1 as one"]);
    for variable in ["QUERN_LIMITS", "QUERN_DEVICE", "QUERN_CORES", "QUERN_USER"] {
        command.env(variable, "");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    // Nobody can write here, not even who may do everything.
    let output = Command::new(crate::support::quern_binary())
        .args(["--data", "/sys", "sql", "create table t (a int64)"])
        .output();
    let answer = Answer::of(output.unwrap());
    assert_eq!(answer.code, 1, "{answer:?}");
    assert_eq!(
        answer.err.lines().collect::<Vec<_>>(),
        ["error: folder /sys cannot be written, and also reading it needs that, for its lock, its socket and the \
             journal of its catalog; change its permissions, or copy it and name the copy with --data"]
    );
}

#[test]
fn a_table_of_too_many_columns_is_refused_by_its_limit() {
    let terminal = Terminal::new();
    let wide = |n: usize| {
        let line = |cell: &dyn Fn(usize) -> String| (0..n).map(cell).collect::<Vec<_>>().join(",");
        format!("{}\n{}\n", line(&|i| format!("c{i}")), line(&|i| i.to_string()))
    };
    let file = terminal.file("wide.csv", wide(2000));
    assert_eq!(
        terminal.error(&["import", &file, "--table", "wide"]),
        ["error: limit `table_columns`: 2000 columns asked, 1600 columns allowed; put numbers that belong together \
             into one column of type tensor or list"]
    );
    let file = terminal.file("widest.csv", wide(1600));
    terminal.ok(&["import", &file, "--table", "widest"]);
    assert_eq!(terminal.value("select c0 + c1599 from widest"), 1599);
}
