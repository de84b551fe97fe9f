//! Runs cargo on a guest's crate: its lines go to the caller, its errors into
//! the error, and what comes back is the module's path.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Flavour;
use super::route::{Route, TARGET};
use crate::base::{Error, Result};

/// Lines of the compiler's errors that the error shows.
const SHOWN_LINES: usize = 60;

/// Variables of a cargo that runs us, which would change what is built.
const FOREIGN: [&str; 7] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// The feature that tests need, of the SDK that the crate depends on.
const TESTS_FEATURE: &str = "quern-udf/testing";

/// Waits until no other process builds a crate of this name in `target`.
pub(super) fn lock(target: &Path, package: &str) -> Result<File> {
    let folder = target.join(TARGET).join("release");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
    let path = folder.join(format!("{}.lock", package.replace('-', "_")));
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Error::io("open", &path, e))?;
    file.lock().map_err(|e| Error::io("lock", &path, e))?;
    Ok(file)
}

/// Removes the module of the other flavour. Both have the same file name and
/// different fingerprints, and cargo takes what lies there for what it made.
pub(super) fn forget_other_flavour(target: &Path, package: &str, flavour: Flavour) -> Result<()> {
    let made = target.join(TARGET).join("release");
    let name = package.replace('-', "_");
    let mark = made.join(format!("{name}.flavour"));
    let now = match flavour {
        Flavour::Procs => "procs",
        Flavour::Tests => "tests",
    };
    let module = made.join("deps").join(format!("{name}.wasm"));
    let known = std::fs::read_to_string(&mark).ok();
    if known.as_deref() == Some(now) {
        return Ok(());
    }
    match std::fs::remove_file(&module) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", module, e)),
        _ => {}
    }
    std::fs::write(&mark, now).map_err(|e| Error::io("write", mark, e))
}

/// One build of a crate.
pub(super) struct Build<'a> {
    /// The crate.
    pub(super) folder: &'a Path,
    /// How WebAssembly is compiled for.
    pub(super) route: &'a Route,
    /// The folder for what is compiled.
    pub(super) target: &'a Path,
    pub(super) flavour: Flavour,
}

impl Build<'_> {
    /// Builds the library; its module for WebAssembly.
    pub(super) fn run(&self, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
        let folder = self.folder;
        let mut cargo = self.command();
        if self.flavour == Flavour::Tests {
            cargo.args(["--features", TESTS_FEATURE]);
        }
        let mut child = cargo.spawn().map_err(|e| Error::io("run cargo in", folder, e))?;
        let artifacts = child.stdout.take();
        let artifacts = std::thread::spawn(move || read_all(artifacts));
        let mut lines = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).split(b'\n').map_while(std::result::Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                progress(line.trim_start());
                lines.push(line);
            }
        }
        let status = child.wait().map_err(|e| Error::io("run cargo in", folder, e))?;
        let artifacts = artifacts.join().unwrap_or_default();
        if !status.success() {
            return Err(Error::Invalid(format!("cannot build {}:\n{}", folder.display(), errors(&lines))));
        }
        module(&artifacts).ok_or_else(|| {
            Error::Invalid(format!(
                "{} builds, but not to a module; its Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`",
                folder.display()
            ))
        })
    }

    fn command(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--lib", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
        cargo.arg("--target-dir").arg(self.target);
        FOREIGN.iter().for_each(|name| {
            cargo.env_remove(name);
        });
        // Names of functions stay, for traps; everything else that debuggers want goes.
        cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
        cargo.env("CARGO_PROFILE_RELEASE_PANIC", "abort");
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-C target-feature=+simd128");
        cargo.env("CARGO_TERM_COLOR", "never");
        cargo.current_dir(self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.route.apply(&mut cargo);
        cargo
    }
}

fn read_all(source: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // What was read before a failure is still of use.
        let _ = source.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The module among the artifacts that cargo lists, one JSON object a line.
fn module(artifacts: &str) -> Option<PathBuf> {
    let is_module = |path: &&str| path.ends_with(".wasm");
    let files = |line: &str| {
        let artifact: serde_json::Value = serde_json::from_str(line).ok()?;
        let names = artifact.get("filenames")?.as_array()?;
        names.iter().filter_map(|name| name.as_str()).find(is_module).map(PathBuf::from)
    };
    artifacts.lines().filter_map(files).next_back()
}

/// From the first error on; all lines if none says so.
fn errors(lines: &[String]) -> String {
    let first = lines.iter().position(|line| line.starts_with("error")).unwrap_or_default();
    lines.iter().skip(first).take(SHOWN_LINES).map(String::as_str).collect::<Vec<_>>().join("\n")
}
