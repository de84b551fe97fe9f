//! What several tests need, the bench and the fuzzer as well: the built binary,
//! components of this repository's crates, instances without a database, Python's
//! readers, the data, and how large a run is asked for.

pub(crate) mod backend;
pub(crate) mod components;
pub(crate) mod database;
pub(crate) mod guarded;
pub(crate) mod instance;
pub(crate) mod journal;
pub(crate) mod latency;
pub(crate) mod network;
pub(crate) mod sequence;

use std::path::{Path, PathBuf};

use quern::base::RunId;
use quern::storage::{RunRecord, Storage};

/// The `quern` binary: `QUERN_BIN`, else the one beside the running test.
pub(crate) fn quern_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUERN_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().unwrap().parent().unwrap().join("quern");
    assert!(binary.exists(), "{} is missing; run `make test`, which builds it", binary.display());
    binary
}

/// The Python interpreter that has DuckDB, pyarrow and safetensors.
pub(crate) fn python() -> PathBuf {
    let path = std::env::var_os("QUERN_PYTHON").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/quern/python/bin/python"),
        PathBuf::from,
    );
    assert!(path.exists(), "{} is missing; run `make test`, which installs it", path.display());
    path
}

/// Stores the record of a new run; its number.
pub(crate) fn create_run(storage: &Storage, run: &RunRecord) -> RunId {
    let id = storage.next_run();
    let mut write = storage.begin();
    write.create_run(RunRecord { id, ..run.clone() });
    write.commit_later(|error| panic!("{error}")).unwrap();
    id
}

/// The folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the tests and their data.
pub(crate) fn tests_folder() -> PathBuf {
    root().join("tests")
}

/// How often to repeat: `small` in `make test`, `full` in `make soak`.
pub(crate) fn repeats(small: u64, full: u64) -> u64 {
    if std::env::var_os("QUERN_SOAK").is_some() { full } else { small }
}

/// How often a second the disk of a folder makes a small write durable.
pub(crate) fn syncs_per_second(folder: &Path) -> f64 {
    use std::io::Write as _;
    let path = folder.join("sync-rate");
    let mut file = std::fs::File::create(&path).unwrap();
    let begun = std::time::Instant::now();
    let n = 50;
    for _ in 0..n {
        file.write_all(&[0; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    let rate = f64::from(n) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}
