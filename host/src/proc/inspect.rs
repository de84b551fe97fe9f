//! Looks at a component file alone, step by step, cheapest first:
//! * its size and its first bytes;
//! * its imports and exports, all of which must be known;
//! * whether it compiles and fits the host's interfaces;
//! * what it declares when `describe` runs in an instance where only `declare`
//!   and `job.log` work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compile::{INTERFACES, check_magic, is_of_tests, own_name, unusable};
use super::engine::{Code, CodeCache, Component, Engine};
use super::sandbox::{self, Phase, State};
use super::{TestComponent, trap};
use crate::base::{Error, Limits, Result};
use crate::catalog::{Declarations, ProcSpec};

/// What no component can ask for.
const NEVER: [&str; 5] = ["SQL", "network", "files", "clock", "environment"];
/// Wall time of `describe`.
const DESCRIBE_TIME: Duration = Duration::from_millis(500);
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
    /// How it was compiled.
    pub code: Code,
    /// What the imports allow and what they do not, in words.
    pub capabilities: Capabilities,
    /// The procs it declares.
    pub procs: Vec<ProcSpec>,
    /// How long `describe` took.
    pub describe_time: Duration,
}

/// What a component can do and what it cannot, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// What it asks for by its imports.
    pub asks: Vec<String>,
    /// What it could ask for and does not.
    pub asks_not: Vec<String>,
    /// What no component can have.
    pub never: Vec<String>,
}

impl Capabilities {
    /// What it asks for, on one line.
    pub fn asked(&self) -> String {
        match self.asks.is_empty() {
            true => "nothing beyond its parameters and results".to_owned(),
            false => self.asks.join(" · "),
        }
    }
}

impl std::fmt::Display for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; no {}", self.asked(), [self.asks_not.as_slice(), &self.never].concat().join(", "))
    }
}

/// Inspects the file `bytes`, called `what` in errors, that is to be created.
pub fn inspect(
    engine: &Engine,
    what: &str,
    bytes: &[u8],
    limits: &Limits,
    cache: Option<&CodeCache>,
) -> Result<Inspection> {
    let (found, _) = inspect_any(engine, what, bytes, limits, cache)?;
    let of_tests = |name: &&String| is_of_tests(name);
    let (imported, exported) = (found.imports.iter().find(of_tests), found.exports.iter().find(of_tests));
    let has = match (imported, exported) {
        (None, None) => return Ok(found),
        (Some(name), _) => format!("imports `{name}`"),
        (None, Some(name)) => format!("exports `{name}`"),
    };
    let reason = format!("it {has}, which only tests have; build it without its tests, with `quern proc build`");
    Err(Error::Component { what: what.to_owned(), reason })
}

/// Inspects a test build.
pub fn inspect_tests(
    what: &str,
    bytes: &[u8],
    limits: &Limits,
    cache: Option<&CodeCache>,
) -> Result<(Inspection, TestComponent)> {
    let (found, component) = inspect_any(Engine::get()?, what, bytes, limits, cache)?;
    let component = TestComponent::new(component).map_err(|error| error.of_component(what))?;
    Ok((found, component))
}

fn inspect_any(
    engine: &Engine,
    what: &str,
    bytes: &[u8],
    limits: &Limits,
    cache: Option<&CodeCache>,
) -> Result<(Inspection, Arc<Component>)> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > limits.component_bytes {
        return Err(Limits::exceeded("component_bytes", size_bytes, limits.component_bytes));
    }
    let named = |error: Error| error.of_component(what);
    check_magic(bytes).map_err(named)?;
    let component = engine.compile(bytes, limits, cache).map_err(named)?;
    let begun = Instant::now();
    let procs = describe(engine, &component, limits).map_err(named)?;
    let interfaces = component.interfaces();
    let found = Inspection {
        sha256: component.sha256().to_owned(),
        size_bytes,
        code: component.code(),
        capabilities: capabilities(&interfaces.imports),
        imports: interfaces.imports.clone(),
        exports: interfaces.exports.clone(),
        procs,
        describe_time: begun.elapsed(),
    };
    Ok((found, component))
}

/// What a component with these imports can do.
fn capabilities(imports: &[String]) -> Capabilities {
    let asks_for = |name: &str| imports.iter().any(|import| own_name(import) == Some(name));
    let (mut asks, mut asks_not) = (Vec::new(), Vec::new());
    for (name, words) in INTERFACES {
        match words {
            Some(words) if asks_for(name) => asks.push(words.to_owned()),
            Some(_) => asks_not.push(name.to_owned()),
            None => {}
        }
    }
    Capabilities { asks, asks_not, never: NEVER.map(str::to_owned).to_vec() }
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
    let refused = store.data().refused.as_ref().map(|reason| format!("`declare` refused: {reason}"));
    called.map_err(|error| match trap::explain(error, store.data_mut(), "describe", None) {
        Error::Trap { reason, .. } => {
            unusable(&refused.clone().unwrap_or_else(|| format!("`describe` stopped: {reason}")))
        }
        Error::Denied(reason) => unusable(&format!("`describe` stopped: {reason}")),
        // Nobody can raise those of `describe`.
        Error::Limit { limit, requested, allowed, unit, .. } => {
            let exceeded = Error::Limit { limit, requested, allowed, unit, hint: String::new() };
            unusable(&format!("`describe` stopped: {exceeded}"))
        }
        other => other,
    })?;
    if let Some(refused) = refused {
        return Err(unusable(&refused));
    }
    match store.into_data().phase {
        Phase::Describe(declarations) => declarations.finish().map_err(|error| unusable(&error.to_string())),
        Phase::Run(_) | Phase::Test(_) => {
            Err(Error::Internal("`describe` ended in another phase than it began".into()))
        }
    }
}
