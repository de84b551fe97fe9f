//! The one WebAssembly engine of the process and the components it has ready:
//! in memory, and as files of code in a [`CodeCache`] when one is given.

mod cache;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use cache::CodeCache;
use sha2::{Digest, Sha256};
use wasmtime::component::{self, HasSelf, Linker};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::compile::{self, Compiled, Interfaces, Place, TESTS, own_name, unusable};
use super::interfaces::{Proc, ProcPre, TestKit};
use super::sandbox::State;
use crate::base::{Error, Limits, Result};
use crate::device::KillSwitch;

/// Time between two looks at the kill switch of a guest that computes.
const TICK: Duration = Duration::from_millis(5);
/// Instances that can exist at once in this process, over all its folders.
pub const MAX_INSTANCES: u32 = 256;
/// Elements of one guest table; the limit `table_elements` is below, and counts
/// all tables of an instance.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
/// Modules of one component, as they are instantiated; the encoder of Rust procs makes 3.
const MAX_MODULES: u32 = 16;
/// Memories and tables of one component; Rust procs have 1 and 2. With these
/// bounds no component can use up the places of others.
const MAX_MEMORIES: u32 = 2;
const MAX_TABLES: u32 = 8;
/// Guest stack, `stack_bytes` in messages; a deeper recursion ends the
/// instance. It is fixed, because a guest's stack lies on that of its thread and
/// wasmtime knows one size for all guests of an engine.
pub(super) const STACK_BYTES: usize = 512 << 10;
/// Compiled components kept in memory.
const KEPT_COMPONENTS: usize = 64;

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
    pub place: Place,
}

/// What holds for the compilation of a component.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Its time and memory.
    pub limits: &'a Limits,
    /// Ends it, and the wait for somebody else's.
    pub kill: &'a KillSwitch,
}

/// Components in memory by sha256, with the time of their last use.
#[derive(Default)]
struct Kept {
    /// Those that somebody reads or compiles now; who needs them too waits.
    making: HashSet<String>,
    components: HashMap<String, (Arc<Component>, u64)>,
    clock: u64,
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
        let engine = wasmtime::Engine::new(config().epoch_interruption(guard == Guard::On))?;
        let mut linker = Linker::new(&engine);
        Proc::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let mut test_linker = linker.clone();
        TestKit::add_to_linker::<_, HasSelf<_>>(&mut test_linker, |state| state)?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self { engine, linker, test_linker, ticker, kept: Mutex::default(), made: Condvar::new(), guard })
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
        if let Some(component) = self.kept().get(sha256) {
            if let Some((cache, path)) = file.filter(|(_, path)| !path.exists())
                && let Ok(code) = component.pre.instance_pre().component().serialize()
            {
                cache.write(&path, &component.interfaces, &code);
            }
            return Ok(component);
        }
        let kept = file.as_ref().and_then(|(cache, path)| cache.read(path)).and_then(|(interfaces, code)| {
            let made = Compiled { interfaces, code, elapsed: begun.elapsed(), place: Place::Cache };
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
        self.kept().put(component.clone());
        Ok(component)
    }

    /// Waits until nobody else makes this component; nothing to wait for where it is there.
    fn turn(&self, sha256: &str, kill: &KillSwitch) -> Result<Option<Turn<'_>>> {
        let mut kept = self.kept();
        while !kept.components.contains_key(sha256) {
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
        let elapsed = match made.place {
            Place::Cache => made.elapsed + begun.elapsed(),
            _ => made.elapsed,
        };
        let code = Code { code_bytes: made.code.len() as u64, elapsed, place: made.place };
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
        self.ticker.instances.load(Ordering::Acquire)
    }

    /// Keeps time ticking while the guard lives.
    pub(super) fn ticking(&self) -> Ticking {
        self.ticker.hold();
        Ticking(self.ticker.clone())
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

impl Kept {
    fn get(&mut self, sha256: &str) -> Option<Arc<Component>> {
        self.clock += 1;
        let (component, used) = self.components.get_mut(sha256)?;
        *used = self.clock;
        Some(component.clone())
    }

    fn put(&mut self, component: Arc<Component>) {
        self.clock += 1;
        if self.components.len() >= KEPT_COMPONENTS {
            let oldest = self.components.iter().min_by_key(|(_, (_, used))| *used).map(|(sha256, _)| sha256.clone());
            oldest.map(|sha256| self.components.remove(&sha256));
        }
        self.components.insert(component.sha256.clone(), (component, self.clock));
    }
}

/// An engine that compiles as the one of this process does, and executes nothing.
pub(super) fn compiler() -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(&language()).map_err(|e| Error::Internal(root_cause(&e)))
}

/// wasmtime's settings: a pool, so that an instance starts in microseconds; no
/// concurrency support, which halves the cost of a call of the host; only features
/// of WebAssembly that procs need and that have long been in use.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_MODULES * MAX_INSTANCES)
        .total_memories(MAX_MEMORIES * MAX_INSTANCES)
        .total_tables(MAX_TABLES * MAX_INSTANCES)
        .max_core_instances_per_component(MAX_MODULES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .total_stacks(0)
        .total_gc_heaps(0)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(64 << 10)
        .max_unused_warm_slots(16);
    let mut config = language();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The settings that compiled code depends on.
fn language() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false);
    config
}

/// Advances the engine's epoch while an instance exists, and sleeps otherwise.
struct Ticker {
    instances: AtomicU64,
    lock: Mutex<()>,
    wake: Condvar,
}

/// An instance that needs ticks.
pub(super) struct Ticking(Arc<Ticker>);

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self { instances: AtomicU64::new(0), lock: Mutex::new(()), wake: Condvar::new() });
        let own = ticker.clone();
        std::thread::Builder::new().name("quern-epoch".into()).spawn(move || own.tick(&engine))?;
        Ok(ticker)
    }

    fn tick(&self, engine: &wasmtime::Engine) {
        loop {
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while self.instances.load(Ordering::Acquire) == 0 {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            drop(guard);
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    fn hold(&self) {
        if self.instances.fetch_add(1, Ordering::AcqRel) == 0 {
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_one();
        }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::AcqRel);
    }
}

/// 64 hex digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The innermost cause, without the backtrace that wasmtime adds.
pub(super) fn root_cause(error: &wasmtime::Error) -> String {
    error.root_cause().to_string()
}
