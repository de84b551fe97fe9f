//! From a component's bytes to machine code. Compiling is no boundary of the
//! sandbox: a file can be made so that reading its types or compiling it takes
//! very long or very much memory. So both happen in a child process (`child`) of
//! this program, which has limits of processor time and memory and can write no
//! file; this process (`parent`) feeds it, waits for it no longer than it may
//! take, and tells from how it ended which limit it met.
//!
//! A program that only embeds this library has no such child, unless
//! `QUERN_BIN` names a `quern` to be it; it compiles in its own process.

mod child;
mod examine;
mod parent;

use std::ffi::OsString;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use child::{ChildLimits, compile_component};
use examine::TESTING;
pub(super) use examine::{INTERFACES, TESTS, check_magic, own_name, unusable};

use crate::base::Result;
use crate::proc::engine::Bounds;

/// The environment variable that names the program which compiles components.
pub const PROGRAM_VARIABLE: &str = "QUERN_BIN";

/// The subcommand of `quern` that is the child.
pub const SUBCOMMAND: &str = "compile-component";

/// This program, wherever it lies now and even where it was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// What a component imports and exports, by full names of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Interfaces {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

impl Interfaces {
    /// Whether it was built with tests.
    pub(super) fn is_test_build(&self) -> bool {
        self.imports.iter().chain(&self.exports).any(|name| is_of_tests(name))
    }
}

/// Whether only builds with tests import or export this interface.
pub(super) fn is_of_tests(name: &str) -> bool {
    matches!(own_name(name), Some(TESTING | TESTS))
}

/// A component as machine code.
pub(super) struct Compiled {
    pub(super) interfaces: Interfaces,
    pub(super) code: Vec<u8>,
    pub(super) elapsed: Duration,
    pub(super) source: CodeSource,
}

/// Where code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeSource {
    /// A child process with limits compiled it.
    ChildProcess,
    /// This process compiled it, without limits.
    ThisProcess,
    /// It was compiled before.
    Cache,
}

static IS_QUERN: OnceLock<()> = OnceLock::new();

/// Lets this program be the child process: it understands [`SUBCOMMAND`].
pub fn compile_with_this_program() {
    IS_QUERN.get_or_init(|| ());
}

/// The program that is started as a child, if there is one.
fn program() -> Option<OsString> {
    match IS_QUERN.get() {
        Some(()) => Some(THIS_PROGRAM.into()),
        None => std::env::var_os(PROGRAM_VARIABLE).filter(|path| !path.is_empty()),
    }
}

/// Compiles `bytes` for `engine` in this process.
pub(super) fn compile_here(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Compiled> {
    let begun = Instant::now();
    let (interfaces, code) = child::compile(engine, bytes)?;
    Ok(Compiled { interfaces, code, elapsed: begun.elapsed(), source: CodeSource::ThisProcess })
}

/// Compiles `bytes` for `engine`, or for a child's engine with the same settings.
pub(super) fn compile(engine: &wasmtime::Engine, bytes: &[u8], bounds: Bounds<'_>) -> Result<Compiled> {
    let begun = Instant::now();
    let Some(program) = program() else { return compile_here(engine, bytes) };
    let (interfaces, code) = parent::compile(&program, bytes, bounds)?;
    Ok(Compiled { interfaces, code, elapsed: begun.elapsed(), source: CodeSource::ChildProcess })
}
