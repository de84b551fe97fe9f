//! What is said of GPUs that are there, and why none can be used.

use std::process::Command;

use super::bench::{Fake, Installed};

/// `quern devices` with that much of CUDA installed: its output, and its notes.
fn devices(installed: Installed) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(crate::support::quern_binary());
    command.arg("--data").arg(folder.path().join("none")).arg("devices");
    Fake { installed, ..Fake::PLAIN }.prepare(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_gpu_is_listed_with_its_name_and_memory() {
    let (out, err) = devices(Installed::All);
    assert_eq!(err, "");
    let line = out.lines().nth(3).unwrap();
    let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["cuda:0", "present", "fake GPU", "–", "1.0 GiB", "–", "–", "–"], "{out}");
}

#[test]
fn a_driver_without_a_device_is_told_of() {
    let (out, err) = devices(Installed::NoDevice);
    assert!(out.contains("\ncuda    absent "), "{out}");
    assert_eq!(
        err,
        "no cuda: the NVIDIA driver is installed but shows no GPU; look at `nvidia-smi` and $CUDA_VISIBLE_DEVICES\n"
    );
}

#[test]
fn a_library_that_is_missing_is_named_with_the_places_it_was_looked_for() {
    let (out, err) = devices(Installed::DriverOnly);
    assert!(out.contains("cuda    absent   fake GPU ") || err.is_empty(), "the GPU is named: {out}");
    // A machine may have NVRTC of its own.
    if !err.is_empty() {
        let start = "no cuda: NVRTC, the CUDA compiler (libnvrtc.so.13) is not installed; \
                     looked where the system keeps libraries and in /";
        assert!(err.starts_with(start), "{err}");
        // So is the next one.
        assert!(err.contains("$QUERN_CUDA_LIBS; and cuBLAS (libcublas.so.13) is not installed; looked"), "{err}");
        let end = "; install the CUDA toolkit, or `pip install nvidia-cublas` or name its folder in $QUERN_CUDA_LIBS\n";
        assert!(err.ends_with(end), "{err}");
        assert!(err.contains("/driver, "), "{err}");
    }
    let (_, err) = devices(Installed::NoCublas);
    if !err.is_empty() {
        assert!(err.starts_with("no cuda: cuBLAS (libcublas.so.13) is not installed; looked where"), "{err}");
    }
}

#[test]
fn a_driver_that_lacks_functions_is_too_old() {
    let (_, err) = devices(Installed::OldDriver);
    assert_eq!(err, "no cuda: the NVIDIA driver is too old: it has no cuInit; CUDA 12.8 or newer is needed\n");
}
