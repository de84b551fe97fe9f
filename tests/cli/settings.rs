//! `quern.toml` in a data folder.

use serde_json::json;

use super::Terminal;

/// A folder with these settings.
fn with(settings: &str) -> Terminal {
    let terminal = Terminal::new();
    terminal.ok(&["--device", "cpu", "sql", "create table t (a int)"]);
    std::fs::write(terminal.data().join("quern.toml"), settings).unwrap();
    terminal
}

/// The name and cores of the device that is used.
fn used(terminal: &Terminal, arguments: &[&str]) -> serde_json::Value {
    let listed = terminal.json(&[arguments, &["devices"]].concat());
    let device = listed.as_array().unwrap().iter().find(|device| device["state"] == "used").unwrap();
    json!([device["name"], device["cores"]])
}

#[test]
fn a_folder_is_opened_as_its_file_says_and_the_command_line_comes_first() {
    let terminal = with("device = \"cpu\"\ncores = 3\n[limits]\nrunning_instances = 7\n");
    assert_eq!(used(&terminal, &[]), json!(["cpu", 3]));
    assert_eq!(used(&terminal, &["--cores", "2"]), json!(["cpu", 2]));
    let terminal = with("device = \"cuda:99\"\n");
    let refused = terminal.error(&["sql", "select 1"]);
    assert!(refused[0].contains("cuda:99"), "{refused:?}");
    assert_eq!(used(&terminal, &["--device", "cpu"])[0], "cpu");
    // Who asks the holder takes the device that it has.
    let _server = terminal.hold(&["--device", "cpu", "serve"]);
    assert_eq!(used(&terminal, &[])[0], "cpu");
}

#[test]
fn a_limit_of_the_file_counts_until_another_is_asked_for() {
    let terminal = with("[limits]\nrunning_instances = 0\n");
    let refused = terminal.error(&["sql", "select 1"]);
    assert!(refused[0].starts_with("error: limit `running_instances`: 0 instances asked"), "{refused:?}");
    terminal.ok(&["--folder-limit", "running_instances=64", "sql", "select 1"]);
}

#[test]
fn what_the_file_should_not_say_is_told_with_its_name() {
    let path = |terminal: &Terminal| terminal.data().join("quern.toml").canonicalize().unwrap();
    for (settings, reason) in [
        ("devise = \"cpu\"\n", "unknown field `devise`, expected one of `device`, `cores`, `limits`"),
        ("device = \"gpu\"\n", "no device is called `gpu`; ask for cpu, cuda:0 (or another number) or best"),
        ("cores = 0\n", "`cores` must be 1 to 1024"),
        ("cores = 60000\n", "`cores` must be 1 to 1024"),
        ("[limits]\nhandle = 5\n", "no limit `handle`"),
        ("cores = many\n", "TOML parse error at line 1"),
    ] {
        let terminal = with(settings);
        let said = terminal.error(&["sql", "select 1"]).join("\n");
        assert!(said.starts_with(&format!("error: {}: ", path(&terminal).display())), "{settings}: {said}");
        assert!(said.contains(reason), "{settings}: {said}");
    }
}
