//! Rules of the tree that no compiler checks: layers, homes of dependencies,
//! sizes, headers, names in documentation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Longest file and longest line.
const MAX_LINES: usize = 500;
const MAX_WIDTH: usize = 140;

/// A dependency and the only places under `host/src` that may name it.
const HOMES: [(&str, &[&str]); 9] = [
    ("wasmtime", &["proc"]),
    ("wit_component", &["proc"]),
    ("datafusion", &["sql"]),
    ("rusqlite", &["storage"]),
    ("gemm", &["tensor"]),
    ("cudarc", &["device"]),
    ("clap", &["cli", "main.rs"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["cli", "main.rs"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files_under(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && name != "vendor" && !name.starts_with('.') {
            found.extend(files_under(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    ["host", "udf-sdk", "udfs", "tests"]
        .iter()
        .flat_map(|part| files_under(&root().join(part), "rs"))
        .map(|path| (path.strip_prefix(root()).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// `host/src` files with the layer each belongs to.
fn host_sources() -> Vec<(PathBuf, String, String)> {
    sources()
        .into_iter()
        .filter_map(|(path, text)| {
            let inside = path.strip_prefix("host/src").ok()?.to_owned();
            let first = inside.components().next()?.as_os_str().to_string_lossy().into_owned();
            Some((inside, first, text))
        })
        .collect()
}

/// The order of `pub mod` lines in `lib.rs`, lowest layer first.
fn layers() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned)).collect()
}

#[test]
fn layers_only_point_down() {
    let order: BTreeMap<String, usize> = layers().into_iter().enumerate().map(|(i, name)| (name, i)).collect();
    let mut wrong = Vec::new();
    for (path, layer, text) in host_sources() {
        let Some(own) = order.get(layer.trim_end_matches(".rs")) else { continue };
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if order.get(&name).is_some_and(|rank| rank > own) {
                    wrong.push(format!("{}:{} uses {name}", path.display(), i + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "layers point up:\n{}", wrong.join("\n"));
}

#[test]
fn each_big_dependency_has_one_home() {
    let mut wrong = Vec::new();
    for (path, layer, text) in host_sources() {
        for (dependency, homes) in HOMES {
            let named = text.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//") && line.contains(&format!("{dependency}::"))
            });
            if named && !homes.contains(&layer.as_str()) {
                wrong.push(format!("{} names {dependency}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "dependencies away from home:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_hold() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines, at most {MAX_LINES}", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{}: no `//!` header", path.display()));
        }
        if let Some(i) = text.lines().position(|line| line.chars().count() > MAX_WIDTH) {
            wrong.push(format!("{}:{}: a line over {MAX_WIDTH} characters", path.display(), i + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_open() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore]"), concat!("unimpl", "emented!(")];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{}:{}: {}", path.display(), i + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The comments of a file as one line, so that a sentence may run over several.
fn comments(text: &str) -> String {
    let comment = |line: &str| Some(line.trim_start().strip_prefix("//")?.trim_start_matches(['/', '!']).to_owned());
    text.lines().filter_map(comment).collect::<String>()
}

/// What is named in backticks after the word "limit", or after "limits", joined by "and".
fn limits_named(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for mut rest in text.split("limit ").skip(1).chain(text.split("limits ").skip(1)) {
        while let Some((name, after)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
            names.push(name);
            rest = after.strip_prefix(" and ").unwrap_or_default();
        }
    }
    names
}

#[test]
fn documentation_names_only_limits_that_there_are() {
    let known: Vec<String> = quern::base::Limits::default().entries().into_iter().map(|(name, _)| name).collect();
    let contract = files_under(&root().join("wit"), "wit").into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_owned(), text)
    });
    let mut found = 0;
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().chain(contract).filter(|(path, _)| !path.starts_with("tests")) {
        for name in limits_named(&comments(&text)) {
            found += 1;
            if !known.iter().any(|limit| limit == name) {
                wrong.push(format!("{} names the limit `{name}`", path.display()));
            }
        }
    }
    assert!(found > 10, "only {found} limits are named; is documentation still read?");
    assert!(wrong.is_empty(), "no such limit:\n{}", wrong.join("\n"));
}

#[test]
fn every_operation_on_tensors_says_its_shapes() {
    let file = "udf-sdk/src/tensor/ops.rs";
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut wrong = Vec::new();
    for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub fn ")) {
        let documentation = lines[..i].iter().rev().take_while(|line| line.starts_with("///"));
        if !documentation.clone().any(|line| line.contains('→') && line.contains('[')) {
            wrong.push(format!("{file}:{}: {line}", i + 1));
        }
    }
    assert!(wrong.is_empty(), "no shapes, as `[m, n] → [n, m]`:\n{}", wrong.join("\n"));
}

/// Variables of the environment that a text names; those that only tests pass to
/// their own child processes are left out.
fn variables(text: &str) -> std::collections::BTreeSet<String> {
    let name = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect()
    };
    let prefix = concat!("QUERN", "_");
    let names = text.split(prefix).skip(1).map(name).filter(|name| !name.is_empty());
    let of_tests = |name: &String| ["TEST_", "FAKE_", "SHIM"].iter().any(|start| name.starts_with(start));
    names.filter(|name| !of_tests(name)).map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn the_readme_lists_every_variable_of_the_environment_that_something_reads() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("\n## Environment\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut files: Vec<PathBuf> =
        ["host", "udf-sdk", "tests"].iter().flat_map(|p| files_under(&root().join(p), "rs")).collect();
    files.extend(files_under(&root().join("setup"), "sh"));
    files.extend([root().join("Makefile"), root().join(".ci/run")]);
    let read = files.iter().flat_map(|file| variables(&std::fs::read_to_string(file).unwrap())).collect();
    assert_eq!(variables(table), read);
}

/// The parameters of each function that `text` declares.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let declared = text.split("fn ").skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    declared.filter_map(|rest| {
        let open = rest.find(['(', '{', ';'])?;
        let inside = rest.get(open..)?.strip_prefix('(')?;
        let mut depth = 1;
        let close = inside.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        inside.get(..close?)
    })
}

/// A `bool` that needs no other name: the word of a column, in WIT and Arrow as well.
const BOOL_PARAMETERS: [&str; 1] = ["nullable: bool"];

#[test]
fn a_call_says_what_true_means() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        // Signatures of `interfaces` are those of WIT.
        if !["host/src", "udf-sdk/src"].iter().any(|part| path.starts_with(part))
            || path.starts_with("host/src/proc/interfaces")
        {
            continue;
        }
        for list in parameters(&text) {
            let left = BOOL_PARAMETERS.iter().fold(list.to_owned(), |left, known| left.replace(known, ""));
            if left.contains(": bool") {
                wrong.push(format!("{}: {}", path.display(), list.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "parameters of type bool; use an enum or two functions:\n{}", wrong.join("\n"));
}
