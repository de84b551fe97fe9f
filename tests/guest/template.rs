//! `quern proc new`: a crate that builds from nothing but itself.

use std::collections::BTreeSet;
use std::path::Path;

use quern::proc::template::{create, vendored};

use super::imports;
use crate::support::components::component_of;
use crate::support::root;

/// All files under `folder`, as paths within the repository.
fn repository_files(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            repository_files(&path, found);
        } else {
            found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
}

/// The entries of a crate's lock file, in whatever order.
fn packages(folder: &Path) -> BTreeSet<String> {
    let lock = std::fs::read_to_string(folder.join("Cargo.lock")).unwrap();
    lock.split("\n\n").map(|entry| entry.trim_end().to_owned()).collect()
}

#[test]
fn a_new_crate_takes_every_file_of_the_sdk_and_the_contract() {
    let mut expected = BTreeSet::from(["udf-sdk/Cargo.toml".to_owned()]);
    repository_files(&root().join("udf-sdk/src"), &mut expected);
    repository_files(&root().join("wit"), &mut expected);
    assert_eq!(vendored().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_new_crate_builds_to_a_component_that_offers_its_name() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("bring-to-scale");
    assert_eq!(create(&folder).unwrap(), "bring-to-scale");
    let lock = packages(&folder);
    let component = component_of(&folder);
    assert!(imports(&component).iter().all(|name| name.starts_with("quern:udf/")));
    let text = b"bring_to_scale";
    assert!(component.windows(text.len()).any(|part| part == text));
    // The versions are those that this repository was built with.
    assert!(packages(&folder) == lock, "cargo had to change Cargo.lock");
}

#[test]
fn the_plain_functions_of_a_new_crate_pass_their_test_without_a_database() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("rescale");
    create(&folder).unwrap();
    let target = Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/quern/guest-test");
    let run = std::process::Command::new("cargo")
        .args(["test", "--quiet", "--lib"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTC")
        .output()
        .unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn names_that_cannot_be_a_function_and_folders_in_use_are_refused() {
    let place = tempfile::tempdir().unwrap();
    for name in ["Upper", "9lives", "with space", "match", "std", "quern-udf"] {
        let error = create(&place.path().join(name)).unwrap_err().chain();
        assert!(error.contains(name) && error.contains("cannot name a proc"), "{error}");
        assert!(!place.path().join(name).exists());
    }
    let used = place.path().join("used");
    std::fs::create_dir(&used).unwrap();
    std::fs::write(used.join("notes"), "mine").unwrap();
    assert!(create(&used).unwrap_err().chain().contains("exists already"));
    assert_eq!(std::fs::read_to_string(used.join("notes")).unwrap(), "mine");
}
