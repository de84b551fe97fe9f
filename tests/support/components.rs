//! Components of this repository's crates.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use quern::proc::build;

/// The component of the crate in `folder` of the repository, for example
/// `udfs/mnist` or `tests/evil/hostile`; built once per process.
pub(crate) fn component(folder: &str) -> &'static [u8] {
    static BUILT: Mutex<Option<HashMap<String, &'static [u8]>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let built = built.get_or_insert_default();
    if let Some(bytes) = built.get(folder) {
        return bytes;
    }
    let bytes: &'static [u8] = component_of(&super::root().join(folder)).leak();
    built.insert(folder.to_owned(), bytes);
    bytes
}

/// Builds the crate in `folder`, wherever it lies, and reads its component.
pub(crate) fn component_of(folder: &Path) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out.wasm");
    let mut said = Vec::new();
    let built = build::build(folder, Some(&output), &mut |line| said.push(line.to_owned()))
        .unwrap_or_else(|e| panic!("{} does not build: {}\n{}", folder.display(), e.chain(), said.join("\n")));
    assert_eq!(built.path, output);
    let bytes = std::fs::read(&output).unwrap();
    assert_eq!(built.size_bytes, bytes.len() as u64);
    bytes
}
