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

/// Builds the crate in `folder` and writes the component to `output`, or to
/// `<package>.wasm` in the crate. `progress` gets cargo's lines as they come.
pub fn build(folder: &Path, output: Option<&Path>, progress: &mut dyn FnMut(&str)) -> Result<Built> {
    let begun = Instant::now();
    let package = package_name(folder)?;
    let route = Route::find(folder, progress)?;
    let module = cargo::build(folder, &route, &target_folder(folder), progress)?;
    let core = std::fs::read(&module).map_err(|e| Error::io("read", &module, e))?;
    progress("Encoding the component");
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

/// Replaces `path` in one step, so that nobody reads half a component.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    std::fs::write(&part, bytes).map_err(|e| Error::io("write", &part, e))?;
    std::fs::rename(&part, path).map_err(|e| Error::io("replace", path, e))
}
