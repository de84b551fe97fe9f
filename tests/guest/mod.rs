//! The guest's side: crates become components, new crates build anywhere, and
//! components ask for no more than they use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod build;
mod fixture;
mod procs;
mod template;
mod testing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

/// The component of a crate of this repository, for example `udfs/mnist` or
/// `tests/evil/hostile`; built once per test process.
pub(crate) fn component(crate_folder: &str) -> Vec<u8> {
    static BUILT: LazyLock<Mutex<HashMap<String, Vec<u8>>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    built.entry(crate_folder.to_owned()).or_insert_with(|| build_to_bytes(&root().join(crate_folder))).clone()
}

/// Builds a crate into a folder of its own and reads the component.
fn build_to_bytes(folder: &Path) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out.wasm");
    let built = quern::proc::build::build(folder, Some(&output), &mut |_| {});
    let built = built.unwrap_or_else(|error| panic!("{} does not build: {}", folder.display(), error.chain()));
    assert_eq!(built.path, output);
    let bytes = std::fs::read(&output).unwrap();
    assert_eq!(built.size_bytes, bytes.len() as u64);
    bytes
}

/// Names of the interfaces that a component imports, sorted.
fn imports(component: &[u8]) -> Vec<String> {
    let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap() else {
        panic!("not a component");
    };
    let mut names: Vec<_> = resolve.worlds[world].imports.iter().map(|(key, _)| resolve.name_world_key(key)).collect();
    names.sort();
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
