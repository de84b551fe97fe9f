//! What a component is by its bytes and its types: the first eight bytes, then
//! the interfaces it imports and exports, all of which must be known.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wit_component::DecodedWasm;

use super::Interfaces;
use crate::base::{Error, Result, closest};

/// The package of our interfaces; any version that is compatible will do.
const PACKAGE: &str = "quern:udf/";
/// The versions of it that this host speaks.
const VERSION: &str = "@0.1.";
/// Interfaces that may be imported, with what they allow in words.
pub(in crate::proc) const INTERFACES: [(&str, Option<&str>); 6] = [
    ("types", None),
    ("declare", None),
    ("job", None),
    ("tables", Some("reads and writes the tables of its run")),
    ("tensors", Some("computes tensors")),
    ("models", Some("reads and writes models")),
];
/// What only test builds import.
pub(in crate::proc) const TESTING: &str = "testing";
/// What only test builds export.
pub(in crate::proc) const TESTS: &str = "tests";
/// The interface that every component exports.
const ENTRY: &str = "entry";

/// The first eight bytes tell components, core modules and all else apart.
pub(in crate::proc) fn check_magic(bytes: &[u8]) -> Result<()> {
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

/// The interfaces of a component, which are all known.
pub(super) fn examine(bytes: &[u8]) -> Result<Interfaces> {
    check_magic(bytes)?;
    let interfaces = names(bytes)?;
    check(&interfaces)?;
    Ok(interfaces)
}

fn names(bytes: &[u8]) -> Result<Interfaces> {
    let decoded = catch_unwind(AssertUnwindSafe(|| wit_component::decode(bytes)))
        .map_err(|_| unusable("its types cannot be read"))?
        .map_err(|e| unusable(&format!("its types cannot be read: {}", e.root_cause())))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(unusable("it is a WIT package without code; build a component with `quern proc build`"));
    };
    let world = resolve.worlds.get(world).ok_or_else(|| unusable("its types cannot be read"))?;
    let imports = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    let exports = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    Ok(Interfaces { imports, exports })
}

/// `tables` of `quern:udf/tables@0.1.0`.
pub(in crate::proc) fn own_name(interface: &str) -> Option<&str> {
    let (name, patch) = interface.strip_prefix(PACKAGE)?.split_once(VERSION)?;
    patch.parse::<u32>().ok().map(|_| name)
}

fn check(interfaces: &Interfaces) -> Result<()> {
    for import in &interfaces.imports {
        let known =
            own_name(import).is_some_and(|name| name == TESTING || INTERFACES.iter().any(|(known, _)| *known == name));
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
    if !interfaces.exports.iter().any(|export| own_name(export) == Some(ENTRY)) {
        return Err(unusable(
            "it does not export `quern:udf/entry@0.1.0`; declare its procs with `procs!` of quern-udf",
        ));
    }
    Ok(())
}

/// The error for a component that cannot be used; whoever knows its name puts it in.
pub(in crate::proc) fn unusable(reason: &str) -> Error {
    Error::Component { what: "the file".to_owned(), reason: reason.to_owned() }
}
