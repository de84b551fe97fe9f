//! The README's tutorial, executed as a newcomer would type it.
//!
//! In the section "Five minutes" every `console` block is typed into one shell:
//! lines that begin with `$ ` are commands, the others are expected output, in
//! which `…` stands for anything. A `rust` block whose first line names a file
//! (`// src/lib.rs`) is saved there.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// A command and the output lines that the README shows for it.
struct Step {
    command: String,
    expected: Vec<String>,
}

/// The steps of the section; files are saved by a step with no expected output.
fn steps(readme: &str) -> Vec<Step> {
    let section = readme.split("\n## Five minutes").nth(1).expect("README has a section `Five minutes`");
    let section = section.split("\n## ").next().unwrap();
    let mut steps = Vec::new();
    for block in section.split("\n```").collect::<Vec<_>>().chunks(2).filter_map(|pair| pair.get(1)) {
        let (language, body) = block.split_once('\n').unwrap_or((block, ""));
        match language {
            "rust" => {
                let file = body.lines().next().unwrap().trim_start_matches("// ");
                steps.push(Step {
                    command: format!("cat > {file} <<'END_OF_FILE'\n{body}\nEND_OF_FILE"),
                    expected: Vec::new(),
                });
            }
            "console" => {
                for line in body.lines() {
                    match line.strip_prefix("$ ") {
                        Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
                        None => steps.last_mut().unwrap().expected.push(line.to_owned()),
                    }
                }
            }
            _ => {}
        }
    }
    steps
}

/// Whether `line` fits `pattern`, where `…` stands for any text.
fn fits(line: &str, pattern: &str) -> bool {
    let mut rest = line.trim_end();
    for (i, part) in pattern.trim_end().split('…').enumerate() {
        match rest.find(part) {
            Some(at) if i > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || pattern.trim_end().ends_with('…')
}

#[test]
fn the_tutorial_works_as_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let steps = steps(&std::fs::read_to_string(root.join("README.md")).unwrap());
    assert!(steps.len() >= 6, "the tutorial has only {} steps", steps.len());

    let mut script = String::from("set -e\n");
    for (i, step) in steps.iter().enumerate() {
        writeln!(script, "echo '@@ {i}'\n{}", step.command).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = crate::support::quern_binary();
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-c", &format!("{{ {script} }} 2>&1")])
        .current_dir(folder.path())
        .env("PATH", path)
        .env_remove("QUERN_DATA")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "the tutorial failed:\n{text}");

    for (i, step) in steps.iter().enumerate() {
        let printed = text.split(&format!("@@ {i}\n")).nth(1).unwrap().split("@@ ").next().unwrap();
        let mut lines = printed.lines();
        for expected in step.expected.iter().filter(|line| !line.trim().is_empty()) {
            assert!(
                lines.any(|line| fits(line, expected)),
                "`{}` did not print, in this order, the line\n  {expected}\nbut\n{printed}",
                step.command
            );
        }
    }
}
