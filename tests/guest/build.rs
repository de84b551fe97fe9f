//! `quern proc build`: what comes out, and what is said when it cannot.

use quern::proc::build::{build, componentize};

use super::imports;
use crate::support::components::component;

/// Full names of interfaces of the contract.
fn contract(interfaces: &[&str]) -> Vec<String> {
    interfaces.iter().map(|name| format!("quern:udf/{name}@0.1.0")).collect()
}

#[test]
fn components_import_only_the_interfaces_they_call() {
    let mnist = imports(component("udfs/mnist"));
    assert_eq!(mnist, contract(&["declare", "job", "models", "tables", "tensors", "types"]));
    let sum_of_squares = imports(component("udfs/sum-of-squares"));
    assert_eq!(sum_of_squares, contract(&["declare", "job", "tables", "tensors", "types"]));
    let timed = imports(component("tests/bench/guest"));
    assert!(!timed.contains(&"quern:udf/models@0.1.0".to_owned()), "{timed:?}");
}

#[test]
fn an_import_from_elsewhere_stays_in_the_component_for_create_to_refuse() {
    let clock = imports(component("tests/evil/clock"));
    assert!(clock.contains(&"wasi:clocks/wall-clock@0.2.0".to_owned()), "{clock:?}");
}

#[test]
fn function_names_stay_in_the_component_and_other_debug_information_goes() {
    let bytes = component("tests/evil/hostile");
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("evil_hostile8recurses"), "no names");
    assert!(!has(".debug_info"), "debug information");
    assert!(bytes.len() < 200_000, "{} bytes", bytes.len());
}

#[test]
fn a_folder_without_a_crate_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = build(folder.path(), None, &mut |_| {}).unwrap_err().chain();
    assert!(error.starts_with(&format!("no Cargo.toml in {}", folder.path().display())), "{error}");
}

#[test]
fn a_crate_that_does_not_compile_shows_the_compilers_error() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("broken");
    quern::proc::template::create(&folder).unwrap();
    std::fs::write(folder.join("src/lib.rs"), "pub fn broken() -> u32 { \"seven\" }\n").unwrap();
    let error = build(&folder, None, &mut |_| {}).unwrap_err().chain();
    assert!(error.contains("error[E0308]: mismatched types"), "{error}");
    assert!(error.contains("src/lib.rs:1:26"), "{error}");
    assert!(!folder.join("broken.wasm").exists());
}

#[test]
fn a_crate_that_is_no_cdylib_is_told_what_its_manifest_needs() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("plain");
    quern::proc::template::create(&folder).unwrap();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest.replace("\"cdylib\", ", "")).unwrap();
    let error = build(&folder, None, &mut |_| {}).unwrap_err().chain();
    assert!(error.contains("crate-type = [\"cdylib\"]"), "{error}");
}

#[test]
fn a_file_that_is_no_module_is_refused() {
    let error = componentize(b"not WebAssembly", "notes").unwrap_err().chain();
    assert!(error.starts_with("`notes` is not a usable component: "), "{error}");
}
