//! PyTorch and JAX on the same network and data, as programs of their own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What one of them reached.
pub(super) struct Baseline {
    pub(super) epoch: Duration,
    pub(super) accuracy: f64,
    pub(super) version: String,
}

/// Runs both with so many threads; none where it is not installed.
pub(super) fn run(threads: usize) -> [(&'static str, Option<Baseline>); 2] {
    [("PyTorch", "mnist_torch.py"), ("JAX", "mnist_jax.py")].map(|(name, script)| (name, baseline(script, threads)))
}

fn baseline(script: &str, threads: usize) -> Option<Baseline> {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python())
        .arg(tests.join("bench/baselines").join(script))
        .arg(threads.to_string())
        .arg(tests.join("data/mnist"))
        .env("OMP_NUM_THREADS", threads.to_string())
        .output()
        .ok()?;
    let answer: serde_json::Value = serde_json::from_slice(output.stdout.trim_ascii()).ok()?;
    let epochs = answer["epochs_s"].as_array()?;
    let shortest = epochs.iter().filter_map(serde_json::Value::as_f64).fold(f64::INFINITY, f64::min);
    Some(Baseline {
        epoch: Duration::from_secs_f64(shortest),
        accuracy: answer["accuracy"].as_f64()?,
        version: answer["version"].as_str()?.to_owned(),
    })
}

/// A Python with torch and jax: `QUERN_BASELINES`, else beside the test readers.
fn python() -> PathBuf {
    std::env::var_os("QUERN_BASELINES").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/quern/baselines/bin/python"),
        PathBuf::from,
    )
}
