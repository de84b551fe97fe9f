//! Looks at a component file alone, step by step, cheapest first:
//! * its size and its first bytes;
//! * its imports and exports, all of which must be known;
//! * whether it compiles and fits the host's interfaces;
//! * what it declares when `describe` runs in an instance where only `declare`
//!   and `job.log` work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use wit_component::DecodedWasm;

use super::engine::{Component, Engine};
use super::sandbox::{self, Phase, State};
use super::trap;
use crate::base::{Error, Limits, Result, closest};
use crate::catalog::{Declarations, ProcSpec};

/// The package of our interfaces; any version that is compatible will do.
const PACKAGE: &str = "quern:udf/";
/// The versions of it that this host speaks.
const VERSION: &str = "@0.1.";
/// Interfaces that may be imported, with what they allow in words.
const INTERFACES: [(&str, Option<&str>); 6] = [
    ("types", None),
    ("declare", None),
    ("job", None),
    ("tables", Some("reads and writes the tables of its run")),
    ("tensors", Some("computes tensors")),
    ("models", Some("reads and writes models")),
];
/// What no component can ask for.
const NEVER: &str = "no files, no network, no clock";
/// The interface that every component exports.
const ENTRY: &str = "entry";
/// Wall time of `describe`.
const DESCRIBE_TIME: Duration = Duration::from_millis(100);
/// Guest memory of `describe`.
const DESCRIBE_BYTES: u64 = 64 << 20;
/// Bytes that `describe` may pass in one call.
const DESCRIBE_CALL_BYTES: u64 = 64 << 10;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Of the file, 64 hex digits.
    pub sha256: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Imported interfaces, for example `quern:udf/tables@0.1.0`.
    pub imports: Vec<String>,
    /// Exported interfaces.
    pub exports: Vec<String>,
    /// What the imports allow, and what is not asked for, in words on one line.
    pub capabilities: String,
    /// The procs it declares.
    pub procs: Vec<ProcSpec>,
}

/// Inspects the file `bytes`, called `what` in errors.
pub fn inspect(engine: &Engine, what: &str, bytes: &[u8], limits: &Limits) -> Result<Inspection> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > limits.component_bytes {
        return Err(Limits::exceeded("component_bytes", size_bytes, limits.component_bytes));
    }
    let named = |error: Error| match error {
        Error::Component { reason, .. } => Error::Component { what: what.to_owned(), reason },
        other => other,
    };
    check_magic(bytes).map_err(named)?;
    let (imports, exports) = interfaces(bytes).map_err(named)?;
    check_interfaces(&imports, &exports).map_err(named)?;
    let component = engine.compile(bytes, None).map_err(named)?;
    let procs = describe(engine, &component, limits).map_err(named)?;
    Ok(Inspection {
        sha256: component.sha256().to_owned(),
        size_bytes,
        capabilities: capabilities(&imports),
        imports,
        exports,
        procs,
    })
}

/// The first eight bytes tell components, core modules and all else apart.
fn check_magic(bytes: &[u8]) -> Result<()> {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            Err(unusable("it is a core WebAssembly module; make a component of its crate with `quern proc build`"))
        }
        Some([0, b'a', b's', b'm', ..]) => {
            Err(unusable("it is WebAssembly of an unknown version; build it with `quern proc build`"))
        }
        Some([0x7f, b'E', b'L', b'F', ..]) => {
            Err(unusable("it is machine code, which is never accepted; give the .wasm file it was made from"))
        }
        _ => Err(unusable("it is not WebAssembly; give the .wasm file that `quern proc build` made")),
    }
}

/// Names of the imported and exported interfaces.
fn interfaces(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>)> {
    let decoded = catch_unwind(AssertUnwindSafe(|| wit_component::decode(bytes)))
        .map_err(|_| unusable("its types cannot be read"))?
        .map_err(|e| unusable(&format!("its types cannot be read: {}", e.root_cause())))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(unusable("it is a WIT package without code; build a component with `quern proc build`"));
    };
    let world = resolve.worlds.get(world).ok_or_else(|| unusable("its types cannot be read"))?;
    let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    Ok((imports, exports))
}

/// `tables` of `quern:udf/tables@0.1.0`.
fn own_name(interface: &str) -> Option<&str> {
    let (name, patch) = interface.strip_prefix(PACKAGE)?.split_once(VERSION)?;
    patch.parse::<u32>().ok().map(|_| name)
}

fn check_interfaces(imports: &[String], exports: &[String]) -> Result<()> {
    for import in imports {
        let known = own_name(import).is_some_and(|name| INTERFACES.iter().any(|(known, _)| *known == name));
        if !known {
            let hint = if import.starts_with("wasi:") {
                "; procs have no WASI, build for the target wasm32-unknown-unknown with `quern proc build`".to_owned()
            } else {
                let names = INTERFACES.map(|(name, _)| format!("{PACKAGE}{name}@0.1.0"));
                closest(import, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
            };
            return Err(unusable(&format!("it imports `{import}`, which procs cannot have{hint}")));
        }
    }
    if !exports.iter().any(|export| own_name(export) == Some(ENTRY)) {
        return Err(unusable(
            "it does not export `quern:udf/entry@0.1.0`; declare its procs with `procs!` of quern-udf",
        ));
    }
    Ok(())
}

/// What a component with these imports can do, in words.
fn capabilities(imports: &[String]) -> String {
    let words: Vec<&str> = INTERFACES
        .iter()
        .filter(|(name, _)| imports.iter().any(|import| own_name(import) == Some(name)))
        .filter_map(|(_, words)| *words)
        .collect();
    let words =
        if words.is_empty() { "nothing beyond its parameters and results".to_owned() } else { words.join(" · ") };
    format!("{words}; {NEVER}")
}

/// Lets the component say what it offers.
fn describe(engine: &Engine, component: &Component, limits: &Limits) -> Result<Vec<ProcSpec>> {
    let limits = Limits {
        guest_memory_bytes: limits.guest_memory_bytes.min(DESCRIBE_BYTES),
        call_bytes: limits.call_bytes.min(DESCRIBE_CALL_BYTES),
        ..limits.clone()
    };
    let state = State::new(Phase::Describe(Declarations::new(&limits)), limits);
    let begun = Instant::now();
    let late = move || unusable(&format!("`describe` takes longer than {} ms", DESCRIBE_TIME.as_millis()));
    let _ticking = engine.ticking();
    let mut store =
        sandbox::store(engine, state, move || if begun.elapsed() < DESCRIBE_TIME { Ok(()) } else { Err(late()) });
    let called = component
        .pre()
        .instantiate(&mut store)
        .and_then(|instance| instance.quern_udf_entry().call_describe(&mut store));
    called.map_err(|error| match trap::explain(error, store.data(), "describe", None) {
        Error::Trap { reason, .. } => unusable(&format!("`describe` stopped: {reason}")),
        Error::Denied(reason) => unusable(&format!("`describe` stopped: {reason}")),
        other => other,
    })?;
    match store.into_data().phase {
        Phase::Describe(declarations) => declarations.finish().map_err(|error| unusable(&error.to_string())),
        Phase::Run(_) => Err(Error::Internal("`describe` ended in another phase than it began".into())),
    }
}

fn unusable(reason: &str) -> Error {
    Error::Component { what: "the file".to_owned(), reason: reason.to_owned() }
}
