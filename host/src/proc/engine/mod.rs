//! The one WebAssembly engine of the process and the components it has ready:
//! in memory, and as files of code in a [`CodeCache`] when one is given.

mod cache;
mod settings;
mod ticker;

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use cache::CodeCache;
pub use settings::MAX_INSTANCES;
pub(super) use settings::{STACK_BYTES, compiler};
pub(super) use ticker::Ticking;
use ticker::{TICK, Ticker};
use wasmtime::component::{self, HasSelf, Linker};

use super::compile::{self, CodeSource, Compiled, Interfaces, TESTS, own_name, unusable};
use super::interfaces::{Proc, ProcPre, TestKit};
use super::recent::Recent;
use super::sandbox::State;
use crate::base::{Error, Limits, Result, sha256_hex};
use crate::device::KillSwitch;

/// Compiled components kept in memory.
const KEPT_COMPONENTS: u64 = 64;

/// Compiles components. One per process, from [`Engine::get`].
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    /// For test builds: what they import beside.
    test_linker: Linker<State>,
    ticker: Arc<Ticker>,
    kept: Mutex<Kept>,
    /// Somebody is done with a component, or has failed to make it.
    made: Condvar,
    guard: Guard,
}

/// Whether instances are held to limits of time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    On,
    Off,
}

/// A component, compiled and linked against the host's interfaces.
pub struct Component {
    sha256: String,
    interfaces: Interfaces,
    pre: ProcPre<State>,
    code: Code,
    guard: Guard,
}

/// How a component became machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Code {
    /// Size of the machine code.
    pub code_bytes: u64,
    /// How long it took to compile it, or to read it.
    pub elapsed: Duration,
    /// Where it came from.
    pub source: CodeSource,
}

/// What holds for the compilation of a component.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Its time and memory.
    pub limits: &'a Limits,
    /// Ends it, and the wait for somebody else's.
    pub kill: &'a KillSwitch,
}

/// Components in memory by sha256.
struct Kept {
    /// Those that somebody reads or compiles now; who needs them too waits.
    making: HashSet<String>,
    components: Recent<Component>,
}

impl Engine {
    /// The engine of this process.
    pub fn get() -> Result<&'static Self> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        Self::started(ENGINE.get_or_init(|| Self::new(Guard::On).map_err(|e| format!("{e:#}"))))
    }

    /// An engine whose instances nothing stops: it tells, in a bench, what the
    /// sandbox costs. Nothing else may use it.
    pub fn unguarded() -> Result<&'static Self> {
        static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
        Self::started(ENGINE.get_or_init(|| Self::new(Guard::Off).map_err(|e| format!("{e:#}"))))
    }

    fn started(made: &'static Result<Self, String>) -> Result<&'static Self> {
        made.as_ref().map_err(|reason| {
            Error::Unsupported(format!(
                "the WebAssembly engine does not start here: {reason} (it reserves address space; try `ulimit -v unlimited`)"
            ))
        })
    }

    fn new(guard: Guard) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(settings::pooled().epoch_interruption(guard == Guard::On))?;
        let mut linker = Linker::new(&engine);
        Proc::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let mut test_linker = linker.clone();
        TestKit::add_to_linker::<_, HasSelf<_>>(&mut test_linker, |state| state)?;
        let ticker = Ticker::start(engine.clone())?;
        let kept = Mutex::new(Kept { making: HashSet::new(), components: Recent::new(KEPT_COMPONENTS) });
        Ok(Self { engine, linker, test_linker, ticker, kept, made: Condvar::new(), guard })
    }

    /// Compiles a component, or takes it from memory or `cache`.
    pub fn compile(&self, bytes: &[u8], limits: &Limits, cache: Option<&CodeCache>) -> Result<Arc<Component>> {
        let sha256 = sha256_hex(bytes);
        let bounds = Bounds { limits, kill: &KillSwitch::new() };
        self.find(&sha256, cache, bounds.kill, || match self.guard {
            Guard::On => compile::compile(&self.engine, bytes, bounds),
            Guard::Off => compile::compile_here(&self.engine, bytes),
        })
    }

    /// The component with this checksum, from memory or `cache`; else compiled
    /// from what `bytes` gives, which must have the checksum.
    pub fn load(
        &self,
        sha256: &str,
        bounds: Bounds<'_>,
        cache: Option<&CodeCache>,
        bytes: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<Component>> {
        self.find(sha256, cache, bounds.kill, || {
            let bytes = bytes()?;
            let found = sha256_hex(&bytes);
            if found != sha256 {
                return Err(Error::Corrupt {
                    what: format!("component {sha256}"),
                    reason: format!("the stored bytes have sha256 {found}; create the component again"),
                });
            }
            compile::compile(&self.engine, &bytes, bounds)
        })
    }

    fn find(
        &self,
        sha256: &str,
        cache: Option<&CodeCache>,
        kill: &KillSwitch,
        make: impl FnOnce() -> Result<Compiled>,
    ) -> Result<Arc<Component>> {
        let begun = Instant::now();
        let file = cache.map(|cache| (cache, cache.file(&self.engine, sha256)));
        let _turn = self.turn(sha256, kill)?;
        if let Some(component) = self.kept().components.get(sha256) {
            if let Some((cache, path)) = file.filter(|(_, path)| !path.exists())
                && let Ok(code) = component.pre.instance_pre().component().serialize()
            {
                cache.write(&path, &component.interfaces, &code);
            }
            return Ok(component);
        }
        let kept = file.as_ref().and_then(|(cache, path)| cache.read(path)).and_then(|(interfaces, code)| {
            let made = Compiled { interfaces, code, elapsed: begun.elapsed(), source: CodeSource::Cache };
            self.link(sha256, made).ok()
        });
        let component = match kept {
            Some(component) => component,
            None => {
                let made = make()?;
                if let Some((cache, path)) = &file {
                    cache.write(path, &made.interfaces, &made.code);
                }
                self.link(sha256, made)?
            }
        };
        let component = Arc::new(component);
        self.kept().components.put(sha256, &component, 1);
        Ok(component)
    }

    /// Waits until nobody else makes this component; nothing to wait for where it is there.
    fn turn(&self, sha256: &str, kill: &KillSwitch) -> Result<Option<Turn<'_>>> {
        let mut kept = self.kept();
        while !kept.components.contains(sha256) {
            if kept.making.insert(sha256.to_owned()) {
                return Ok(Some(Turn { engine: self, sha256: sha256.to_owned() }));
            }
            kill.check()?;
            kept = self.made.wait_timeout(kept, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(None)
    }

    fn link(&self, sha256: &str, made: Compiled) -> Result<Component> {
        let begun = Instant::now();
        // SAFETY: the code was made by this process or by a child of it, which is
        // this program, or read from a file that only this user can have written,
        // whose checksum holds; `deserialize` checks version and settings again.
        let compiled = unsafe { component::Component::deserialize(&self.engine, &made.code) }
            .map_err(|e| unusable(&format!("no instance of it can be made: {}", root_cause(&e))))?;
        let linker = match made.interfaces.is_test_build() {
            true => &self.test_linker,
            false => &self.linker,
        };
        let pre = linker
            .instantiate_pre(&compiled)
            .and_then(ProcPre::new)
            .map_err(|e| unusable(&format!("it does not fit `quern:udf@0.1.0`: {}", root_cause(&e))))?;
        let elapsed = match made.source {
            CodeSource::Cache => made.elapsed + begun.elapsed(),
            _ => made.elapsed,
        };
        let code = Code { code_bytes: made.code.len() as u64, elapsed, source: made.source };
        Ok(Component { sha256: sha256.to_owned(), interfaces: made.interfaces, pre, code, guard: self.guard })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its instances are held to limits.
    pub(super) fn guard(&self) -> Guard {
        self.guard
    }

    /// The engine of wasmtime.
    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Instances that exist in this process now.
    pub fn instances(&self) -> u64 {
        self.ticker.instances()
    }

    /// Keeps time ticking while the guard lives.
    pub(super) fn ticking(&self) -> Ticking {
        self.ticker.hold()
    }
}

impl Component {
    /// The engine that it was compiled for.
    pub(super) fn engine(&self) -> Result<&'static Engine> {
        match self.guard {
            Guard::On => Engine::get(),
            Guard::Off => Engine::unguarded(),
        }
    }

    /// Of the file, 64 hex digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Whether it has tests.
    pub(super) fn has_tests(&self) -> bool {
        self.interfaces.exports.iter().any(|export| own_name(export) == Some(TESTS))
    }

    /// How it became machine code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it imports and exports.
    pub(super) fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Ready to be instantiated.
    pub(super) fn pre(&self) -> &ProcPre<State> {
        &self.pre
    }
}

/// The only one that makes a component now.
struct Turn<'a> {
    engine: &'a Engine,
    sha256: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.engine.kept().making.remove(&self.sha256);
        self.engine.made.notify_all();
    }
}

/// The innermost cause, without the backtrace that wasmtime adds.
pub(super) fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
