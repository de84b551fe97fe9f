//! `--device`: what is asked for is used, or refused with the reason.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::bench::{Fake, Installed};

/// `quern` with these arguments on a folder of a machine with that much of CUDA.
fn quern(data: &Path, installed: Installed, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::support::quern_binary());
    command.arg("--data").arg(data).args(arguments).env_remove("QUERN_DEVICE");
    Fake { installed, ..Fake::PLAIN }.prepare(&mut command);
    command.output().unwrap()
}

/// The names and states of devices that `quern devices` tells of a folder.
fn devices(data: &Path, arguments: &[&str]) -> Vec<(String, String)> {
    let output = quern(data, Installed::All, &[&["devices", "--json"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |device: &serde_json::Value, name: &str| device[name].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|device| (text(device, "name"), text(device, "state"))).collect()
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_device_that_is_asked_for_is_used_and_the_gpu_is_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let on_gpu = [("cpu", "present"), ("cuda:0", "used")].map(|(name, state)| (name.to_owned(), state.to_owned()));
    let on_cpu = [("cpu", "used"), ("cuda:0", "present")].map(|(name, state)| (name.to_owned(), state.to_owned()));
    assert_eq!(devices(data, &[]), on_gpu);
    assert_eq!(devices(data, &["--device", "best"]), on_gpu);
    assert_eq!(devices(data, &["--device", "cuda:0"]), on_gpu);
    assert_eq!(devices(data, &["--device", "cpu"]), on_cpu);
}

#[test]
fn a_device_that_cannot_be_had_is_an_error_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |installed, device| said(&quern(folder.path(), installed, &["--device", device, "sql", "select 1"]));
    let (code, text) = ask(Installed::NoDevice, "cuda:0");
    let no_device = "cuda:0 cannot be used: the NVIDIA driver is installed but shows no GPU; \
                     look at `nvidia-smi` and $CUDA_VISIBLE_DEVICES";
    assert!(code == Some(1) && text.contains(no_device), "{text}");
    let (code, text) = ask(Installed::OldDriver, "cuda:0");
    assert!(code == Some(1) && text.contains("cuda:0 cannot be used: the NVIDIA driver is too old"), "{text}");
    let (code, text) = ask(Installed::All, "cuda:7");
    assert!(code == Some(1) && text.contains("no device `cuda:7` in this machine; did you mean `cuda:0`?"), "{text}");
    let (code, text) = ask(Installed::All, "gpu");
    let unknown = "no device is called `gpu`; ask for cpu, cuda:0 (or another number) or best";
    assert!(code == Some(2) && text.contains(unknown), "{text}");
    // The best that is present is the processor.
    assert_eq!(ask(Installed::NoDevice, "best"), (Some(0), String::new()));
}

#[test]
fn a_client_that_asks_for_another_device_than_the_holder_uses_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut command = Command::new(crate::support::quern_binary());
    command.arg("--data").arg(data).args(["--device", "cuda:0", "serve"]).env_remove("QUERN_DEVICE");
    Fake::PLAIN.prepare(&mut command);
    let mut holder = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !data.join("quern.sock").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ask = |device: &[&str]| said(&quern(data, Installed::All, &[device, &["sql", "select 1"]].concat()));
    let answers = [&["--device", "cpu"][..], &["--device", "cuda:0"], &["--device", "best"], &[]].map(ask);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let refused = format!(
        "error: folder {} is held by process {}, which uses cuda:0, not cpu; leave out --device and $QUERN_DEVICE, \
         or stop that process (kill {}) and start it with this device\n",
        data.canonicalize().unwrap().display(),
        holder.id(),
        holder.id()
    );
    let fine = || (Some(0), String::new());
    assert_eq!(answers, [(Some(1), refused), fine(), fine(), fine()]);
}

#[test]
fn a_gpu_that_lacks_a_library_is_not_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |device| said(&quern(folder.path(), Installed::NoCublas, &["--device", device, "sql", "select 1"]));
    let (code, text) = ask("best");
    assert_eq!(code, Some(0));
    // A machine may have cuBLAS of its own.
    if !text.is_empty() {
        let start = "warning: the processor is used and not fake GPU: cuBLAS (libcublas.so.13) is not installed; \
                     looked where the system keeps libraries and in /";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("/no-cublas, "), "{text}");
        let end = "; install the CUDA toolkit, or `pip install nvidia-cublas` or name its folder in \
                   $QUERN_CUDA_LIBS; with `--device cpu` this is not said\n";
        assert!(text.ends_with(end), "{text}");
    }
    assert_eq!(ask("cpu"), (Some(0), String::new()));
    let (code, text) = said(&quern(folder.path(), Installed::OldDriver, &["sql", "select 1"]));
    let old = "warning: the processor is used and not a GPU: the NVIDIA driver is too old: it has no cuInit; ";
    assert!(code == Some(0) && text.starts_with(old), "{text}");
    // Quiet is quiet.
    let quiet = said(&quern(folder.path(), Installed::NoCublas, &["--quiet", "sql", "select 1"]));
    assert_eq!(quiet, (Some(0), String::new()));
}
