//! A new proc's crate: a small proc that works, its test, and everything it is
//! built from (`vendor/`), so that it builds anywhere without this repository.

use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// Files of the crate itself, in which `{{name}}` is its name and `{{proc}}` its
/// proc's.
const CRATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("files/Cargo.toml.in")),
    ("Cargo.lock", include_str!("files/Cargo.lock.in")),
    ("README.md", include_str!("files/README.md.in")),
    (".gitignore", include_str!("files/gitignore.in")),
    ("src/lib.rs", include_str!("files/lib.rs.in")),
];

/// Files of the repository, as they are, by their place in it.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $path)))),*]
    };
}

/// The SDK and the contract, for `vendor/`.
const VENDOR: &[(&str, &str)] = files![
    "udf-sdk/Cargo.toml",
    "udf-sdk/src/bindings.rs",
    "udf-sdk/src/cells.rs",
    "udf-sdk/src/column.rs",
    "udf-sdk/src/declare.rs",
    "udf-sdk/src/error.rs",
    "udf-sdk/src/lib.rs",
    "udf-sdk/src/log.rs",
    "udf-sdk/src/model.rs",
    "udf-sdk/src/nn/conv.rs",
    "udf-sdk/src/nn/init.rs",
    "udf-sdk/src/nn/linear.rs",
    "udf-sdk/src/nn/mlp.rs",
    "udf-sdk/src/nn/mod.rs",
    "udf-sdk/src/nn/optimizer.rs",
    "udf-sdk/src/nn/schedule.rs",
    "udf-sdk/src/panic.rs",
    "udf-sdk/src/proc.rs",
    "udf-sdk/src/table.rs",
    "udf-sdk/src/tape.rs",
    "udf-sdk/src/tensor/compute.rs",
    "udf-sdk/src/tensor/element.rs",
    "udf-sdk/src/tensor/mod.rs",
    "udf-sdk/src/tensor/operators.rs",
    "udf-sdk/src/tensor/ops.rs",
    "udf-sdk/src/testing/bindings.rs",
    "udf-sdk/src/testing/execution.rs",
    "udf-sdk/src/testing/macros.rs",
    "udf-sdk/src/testing/mod.rs",
    "udf-sdk/src/testing/run.rs",
    "udf-sdk/src/testing/table.rs",
    "wit/declare.wit",
    "wit/entry.wit",
    "wit/job.wit",
    "wit/models.wit",
    "wit/tables.wit",
    "wit/tensors.wit",
    "wit/testing.wit",
    "wit/types.wit",
    "wit/world.wit",
];

/// Words that cannot name a function or a crate.
const RESERVED: &[&str] = &[
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc",
    "pub",
    "quern-udf",
    "quern_udf",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "wit-bindgen",
    "wit_bindgen",
    "yield",
];

/// Makes `folder`, which must not exist or be empty, the crate of a proc that is
/// named like its last part. Returns the name.
pub fn create(folder: &Path) -> Result<String> {
    // `quern proc new .` names the proc after the current folder.
    let folder = &std::path::absolute(folder).map_err(|e| Error::io("find", folder, e))?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    check(name)?;
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::Exists { kind: "folder", name: folder.display().to_string() });
    }
    let fill = |text: &str| text.replace("{{name}}", name).replace("{{proc}}", &name.replace('-', "_"));
    for (path, text) in CRATE {
        write(folder.join(path), &fill(text))?;
    }
    for (path, text) in VENDOR {
        write(folder.join("vendor").join(path), text)?;
    }
    Ok(name.to_owned())
}

/// The files that a new crate takes from the repository, by their path in it.
pub fn vendored() -> impl Iterator<Item = &'static str> {
    VENDOR.iter().map(|(path, _)| *path)
}

fn check(name: &str) -> Result<()> {
    let letter = |c: char| c.is_ascii_lowercase();
    let fits = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || "-_".contains(c));
    if !fits || name.len() > 64 {
        return Err(Error::Invalid(format!(
            "`{name}` cannot name a proc; use 1 to 64 lowercase letters, digits, `-` and `_`, a letter first"
        )));
    }
    if RESERVED.contains(&name) {
        return Err(Error::Invalid(format!("`{name}` is a reserved word, it cannot name a proc")));
    }
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
    }
    std::fs::write(&path, text).map_err(|e| Error::io("write", path, e))
}
