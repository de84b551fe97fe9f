//! How a crate can be compiled for WebAssembly on this machine: by rustup's
//! target, or by Debian's compiler with the standard library's sources.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::{Error, Result};

/// The environment variable that chooses the route: `rustup` or `debian`.
/// Unset, an installed target is taken, else Debian's compiler if it is there,
/// else rustup is asked for the target.
pub const ROUTE_VARIABLE: &str = "QUERN_WASM_ROUTE";

/// What guests are compiled for: WebAssembly without a system underneath.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_INSTALL: &str = "apt-get install --no-install-recommends rustc-web rust-web-src";
/// The oldest compiler that the SDK accepts, 1.95.
const OLDEST_MINOR: u32 = 95;

/// A way to compile for WebAssembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The standard library for the target is installed beside cargo's compiler.
    Installed,
    /// Debian's compiler builds the standard library from its sources.
    Debian {
        /// The WebAssembly linker of the other toolchain.
        linker: PathBuf,
    },
}

impl Route {
    /// The route for the crate in `folder`, whose `rust-toolchain.toml` counts.
    /// May run `rustup target add`, after a line to `progress`.
    pub fn find(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        if answer(folder, "cargo", &["--version"]).is_none() {
            return Err(missing("cargo", "install Rust from https://rustup.rs"));
        }
        let choice = std::env::var(ROUTE_VARIABLE).unwrap_or_default();
        match choice.as_str() {
            "debian" => Self::debian(folder),
            "rustup" => Self::rustup(folder, progress),
            // Whatever is there already comes before what must be fetched.
            "" if has_target(folder) => Ok(Self::Installed),
            "" => Self::debian(folder).or_else(|_| Self::rustup(folder, progress)),
            other => Err(Error::Invalid(format!("{ROUTE_VARIABLE} is `{other}`, it must be `rustup` or `debian`"))),
        }
    }

    fn rustup(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let how = format!(
            "run `rustup target add {TARGET}`; on Debian without rustup's server run `{DEBIAN_INSTALL}` \
             and set {ROUTE_VARIABLE}=debian"
        );
        if has_target(folder) {
            return Ok(Self::Installed);
        }
        progress(&format!("Installing the target {TARGET} with rustup"));
        answer(folder, "rustup", &["target", "add", TARGET]);
        if has_target(folder) { Ok(Self::Installed) } else { Err(missing("the WebAssembly target of Rust", &how)) }
    }

    fn debian(folder: &Path) -> Result<Self> {
        let version = answer(folder, DEBIAN_RUSTC, &["--version"])
            .ok_or_else(|| missing("Debian's Rust compiler", &format!("run `{DEBIAN_INSTALL}`")))?;
        if minor_version(&version).is_none_or(|minor| minor < OLDEST_MINOR) {
            let why = format!("it is `{version}`, 1.{OLDEST_MINOR} is needed: run `{DEBIAN_INSTALL}`");
            return Err(missing("a recent Debian compiler", &why));
        }
        let sources = sysroot(folder, DEBIAN_RUSTC).map(|root| root.join("lib/rustlib/src/rust/library/std"));
        if !sources.is_some_and(|path| path.is_dir()) {
            return Err(missing("the sources of Rust's standard library", &format!("run `{DEBIAN_INSTALL}`")));
        }
        let linker =
            linker(folder).ok_or_else(|| missing("the linker rust-lld", "install Rust from https://rustup.rs"))?;
        Ok(Self::Debian { linker })
    }

    /// Arguments and environment for cargo.
    pub(super) fn apply(&self, cargo: &mut Command) {
        if let Self::Debian { linker } = self {
            cargo.arg("-Zbuild-std=std,panic_abort");
            cargo.env("RUSTC", DEBIAN_RUSTC);
            // Without it a released compiler refuses to build its own library.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
}

fn has_target(folder: &Path) -> bool {
    sysroot(folder, "rustc").is_some_and(|root| root.join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// `rust-lld` of the compiler that cargo comes with.
fn linker(folder: &Path) -> Option<PathBuf> {
    let about = answer(folder, "rustc", &["-vV"])?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "))?;
    let path = sysroot(folder, "rustc")?.join("lib/rustlib").join(host).join("bin/rust-lld");
    path.is_file().then_some(path)
}

fn sysroot(folder: &Path, rustc: &str) -> Option<PathBuf> {
    answer(folder, rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

/// What a program prints, without the line's end; none if it is missing or fails.
fn answer(folder: &Path, program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUSTC")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// 95 of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn minor_version(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.split('.').nth(1)?.parse().ok()
}

fn missing(what: &str, how: &str) -> Error {
    Error::Invalid(format!("procs cannot be built because {what} is missing; {how}"))
}
