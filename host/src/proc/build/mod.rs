//! From a crate to a component: find a way to compile for WebAssembly
//! (`route`), let cargo build the crate, wrap the module as a component
//! (`encode`), put it beside the crate. Nothing here executes what was built.

mod cargo;
mod encode;
mod route;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::{Error, Result};
use crate::proc::testing::NO_TESTS;

pub use encode::componentize;
pub use route::{ROUTE_VARIABLE, Route};

/// The environment variable that names the folder for what cargo compiles,
/// shared by all procs so that the standard library is compiled once.
pub const TARGET_VARIABLE: &str = "QUERN_GUEST_TARGET";

/// A component that was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// Where the component lies.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// How long all of it took.
    pub elapsed: Duration,
}

/// What is built of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flavour {
    /// Its procs.
    Procs,
    /// Its procs and the tests of `tests!`.
    Tests,
}

/// A component with its crate's tests.
#[derive(Clone, Debug)]
pub struct BuiltTests {
    /// The crate's name.
    pub name: String,
    /// The component.
    pub bytes: Vec<u8>,
    /// How long all of it took.
    pub elapsed: Duration,
}

/// Builds the crate in `folder` with its tests; nothing is written beside it.
pub fn build_tests(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<BuiltTests> {
    let begun = Instant::now();
    let (name, core) = module(folder, Flavour::Tests, progress)?;
    let bytes = componentize(&core, &name).map_err(|error| match error {
        Error::Component { what, reason } if reason.contains("quern:udf/tests") => {
            Error::Component { what, reason: NO_TESTS.to_owned() }
        }
        other => other,
    })?;
    Ok(BuiltTests { name, bytes, elapsed: begun.elapsed() })
}

/// The crate's name and its core module.
fn module(folder: &Path, flavour: Flavour, progress: &mut dyn FnMut(&str)) -> Result<(String, Vec<u8>)> {
    let package = package_name(folder)?;
    let route = Route::find(folder, progress)?;
    let target = target_folder(folder);
    // From here to the reading: another build of a crate of this name would
    // replace the module.
    let _alone = cargo::lock(&target, &package)?;
    cargo::forget_other_flavour(&target, &package, flavour)?;
    let module = cargo::Build { folder, route: &route, target: &target, flavour }.run(progress)?;
    let core = std::fs::read(&module).map_err(|e| Error::io("read", &module, e))?;
    progress("Encoding the component");
    Ok((package, core))
}

/// Builds the crate in `folder` and writes the component to `output`, or to
/// `<package>.wasm` in the crate. `progress` gets cargo's lines as they come.
pub fn build(folder: &Path, output: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Built> {
    let begun = Instant::now();
    let (package, core) = module(folder, Flavour::Procs, progress)?;
    let component = componentize(&core, &package)?;
    let path = output.map_or_else(|| folder.join(format!("{package}.wasm")), Path::to_path_buf);
    write_whole(&path, &component)?;
    Ok(Built { path, size_bytes: component.len() as u64, elapsed: begun.elapsed() })
}

/// The name in the crate's `Cargo.toml`.
fn package_name(folder: &Path) -> Result<String> {
    let path = folder.join("Cargo.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Invalid(format!(
                "no Cargo.toml in {}; name the folder of a proc, or make one with `quern proc new NAME`",
                folder.display()
            )));
        }
        Err(e) => return Err(Error::io("read", path, e)),
    };
    let table: toml::Table =
        text.parse().map_err(|e| Error::library(format!("cannot understand {}", path.display()), e))?;
    let name = table.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    name.map(str::to_owned).ok_or_else(|| {
        Error::Invalid(format!("{} names no package; name the folder of one crate, not of a workspace", path.display()))
    })
}

/// `$QUERN_GUEST_TARGET`, else a folder in the user's cache, else in the crate.
fn target_folder(folder: &Path) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = |home: OsString| Path::new(&home).join(".cache/quern/guest-target");
    set(TARGET_VARIABLE).map(PathBuf::from).or_else(|| set("HOME").map(cache)).unwrap_or_else(|| folder.join("target"))
}

/// Replaces the file at `path` in one step, so that nobody reads half of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        let message = format!("{} is a folder or a device; name a file to write", path.display());
        return Err(Error::Invalid(message));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // What is left of it is of no use.
        let _ = std::fs::remove_file(&part);
    }
    written.map_err(|e| Error::io("write", path, e))
}
