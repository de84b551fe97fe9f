//! What `inspect` accepts, what it says about it, and what it refuses.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quern::base::{Error, Limits};
use quern::catalog::ExecutionMode;
use quern::device::KillSwitch;
use quern::proc::{Bounds, CodeCache, Engine, inspect};
use sha2::Digest;

use crate::support::components::component;

fn refusal(bytes: &[u8]) -> String {
    inspect(Engine::get().unwrap(), "x.wasm", bytes, &Limits::default(), None)
        .expect_err("it should be refused")
        .chain()
}

#[test]
fn an_inspection_tells_procs_imports_and_what_they_allow() {
    let bytes = component("udfs/mnist");
    let found = inspect(Engine::get().unwrap(), "mnist.wasm", bytes, &Limits::default(), None).unwrap();
    assert_eq!(found.size_bytes, bytes.len() as u64);
    assert_eq!(found.sha256.len(), 64);
    assert_eq!(found.exports, ["quern:udf/entry@0.1.0"]);
    assert!(found.imports.iter().all(|import| import.starts_with("quern:udf/")), "{:?}", found.imports);
    assert_eq!(
        found.capabilities.to_string(),
        "reads and writes the tables of its run · computes tensors · reads and writes models; \
         no SQL, network, files, clock, environment"
    );
    let procs: Vec<(&str, ExecutionMode)> = found.procs.iter().map(|p| (p.name.as_str(), p.mode)).collect();
    assert_eq!(
        procs,
        [
            ("train", ExecutionMode::Nondistributed),
            ("infer", ExecutionMode::Distributed),
            ("vote", ExecutionMode::Distributed)
        ]
    );
    let train = &found.procs[0];
    assert_eq!(train.inputs[0].columns[0].class.to_string(), "tensor(uint8,[28,28])");
    assert!(train.outputs[0].models);
    assert_eq!(train.params[0].default.as_deref(), Some("5"));
}

#[test]
fn what_is_no_component_is_refused_with_the_way_to_make_one() {
    assert_eq!(
        refusal(b"hello"),
        "x.wasm is not a usable component: it is not WebAssembly; give the .wasm file that `quern proc build` made"
    );
    assert_eq!(
        refusal(b""),
        "x.wasm is not a usable component: it is not WebAssembly; give the .wasm file that `quern proc build` made"
    );
    assert_eq!(
        refusal(b"\0asm\x01\0\0\0"),
        "x.wasm is not a usable component: it is a core WebAssembly module; make a component of its crate with `quern proc build`"
    );
    assert_eq!(
        refusal(b"\x7fELF\x02\x01\x01\0\0\0\0\0"),
        "x.wasm is not a usable component: it is machine code, which is never accepted; give the .wasm file it was made from"
    );
    let cut = component("udfs/mnist");
    let text = refusal(&cut[..cut.len() / 2]);
    assert!(text.starts_with("x.wasm is not a usable component: its types cannot be read: "), "{text}");
}

#[test]
fn an_empty_component_lacks_the_entry() {
    assert_eq!(
        refusal(b"\0asm\x0d\0\x01\0"),
        "x.wasm is not a usable component: it does not export `quern:udf/entry@0.1.0`; declare its procs with `procs!` of quern-udf"
    );
}

#[test]
fn an_unknown_import_is_refused_by_name() {
    assert_eq!(
        refusal(component("tests/evil/clock")),
        "x.wasm is not a usable component: it imports `wasi:clocks/wall-clock@0.2.0`, which procs cannot have; \
         procs have no WASI, build for the target wasm32-unknown-unknown with `quern proc build`"
    );
}

#[test]
fn describe_cannot_look_at_tables() {
    assert_eq!(
        refusal(component("tests/evil/nosy")),
        "x.wasm is not a usable component: `describe` stopped: \
         `tables.inputs` is not available in `describe`, where only `declare` and `job.log` are"
    );
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let limits = Limits { component_bytes: 1000, ..Limits::default() };
    let refused = inspect(Engine::get().unwrap(), "x.wasm", &[0; 1001], &limits, None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "limit `component_bytes`: 1001 bytes asked, 1000 bytes allowed; \
         raise it with --limit component_bytes=N of `quern proc create`"
    );
}

/// Set for the second process of the next test: the folder of compiled code.
const CODE_FOLDER: &str = "QUERN_TEST_CODE_FOLDER";

#[test]
fn code_of_an_earlier_process_is_used_while_it_is_whole() {
    let engine = Engine::get().unwrap();
    if let Some(folder) = std::env::var_os(CODE_FOLDER) {
        let sha256 = std::env::var("QUERN_TEST_SHA256").unwrap();
        let cache = CodeCache::new(folder);
        let bounds = Bounds { limits: &Limits::default(), kill: &KillSwitch::new() };
        let found =
            engine.load(&sha256, bounds, Some(&cache), || Err(Error::Unsupported("it has to be compiled".into())));
        println!("second process: {}", found.map_or_else(|e| e.to_string(), |_| "found".to_owned()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let code = folder.path().join("code");
    let compiled =
        engine.compile(component("udfs/sum-of-squares"), &Limits::default(), Some(&CodeCache::new(&code))).unwrap();
    let files: Vec<_> = std::fs::read_dir(&code).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.file_name().unwrap().to_string_lossy();
    assert!(name.starts_with(compiled.sha256()) && name.ends_with(".code"), "{name}");

    let second_process = || {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args([
            "proc::inspecting::code_of_an_earlier_process_is_used_while_it_is_whole",
            "--exact",
            "--nocapture",
        ]);
        process.env(CODE_FOLDER, &code).env("QUERN_TEST_SHA256", compiled.sha256());
        let output = String::from_utf8(process.output().unwrap().stdout).unwrap();
        output.lines().find_map(|line| Some(line.split_once("second process: ")?.1.to_owned())).expect(&output)
    };
    assert_eq!(second_process(), "found");
    // What others could have written is machine code that nobody vouches for.
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(file, 0o620);
    assert_eq!(second_process(), "it has to be compiled");
    allow(file, 0o600);
    allow(&code, 0o770);
    assert_eq!(second_process(), "it has to be compiled");
    allow(&code, 0o700);
    assert_eq!(second_process(), "found");
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    assert_eq!(second_process(), "it has to be compiled");
}

#[test]
fn compiling_within_too_little_time_or_memory_is_refused_by_the_limit() {
    let refused = |name: &str, value: u64| {
        let mut limits = Limits::default();
        limits.set(name, value).unwrap();
        inspect(Engine::get().unwrap(), "x.wasm", component("tests/bench/guest"), &limits, None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused("compile_cpu_ms", 5),
        "limit `compile_cpu_ms`: 6 ms asked, 5 ms allowed; \
         raise it with --limit compile_cpu_ms=N where the component is created or executed"
    );
    assert_eq!(
        refused("compile_memory_bytes", 100 << 20),
        "limit `compile_memory_bytes`: 104857601 bytes asked, 104857600 bytes allowed; \
         raise it with --limit compile_memory_bytes=N where the component is created or executed"
    );
}

#[test]
fn a_component_whose_stored_bytes_changed_is_refused() {
    let engine = Engine::get().unwrap();
    let wanted = "0".repeat(64);
    let bounds = Bounds { limits: &Limits::default(), kill: &KillSwitch::new() };
    let refused = engine.load(&wanted, bounds, None, || Ok(b"other bytes".to_vec())).err().unwrap().to_string();
    assert!(refused.starts_with(&format!("component {wanted}: the stored bytes have sha256 ")), "{refused}");
}

/// A component with a checksum of its own: what follows its end is a custom section.
fn another(name: &str) -> (Vec<u8>, String) {
    let mut bytes = component("udfs/sum-of-squares").to_vec();
    let length = u8::try_from(name.len()).unwrap();
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    let sha256 = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (bytes, sha256)
}

#[test]
fn a_component_that_many_need_at_once_is_compiled_once() {
    let engine = Engine::get().unwrap();
    let (bytes, sha256) = another("needed by many");
    let (limits, kill, compiled) = (Limits::default(), KillSwitch::new(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            let bounds = Bounds { limits: &limits, kill: &kill };
            engine.load(&sha256, bounds, None, || {
                compiled.fetch_add(1, Ordering::SeqCst);
                Ok(bytes.clone())
            })
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        for one in all {
            assert_eq!(one.join().unwrap().unwrap().sha256(), sha256);
        }
    });
    assert_eq!(compiled.into_inner(), 1);
}

#[test]
fn a_kill_ends_a_compilation_and_the_wait_for_one() {
    let engine = Engine::get().unwrap();
    let (bytes, sha256) = another("killed");
    let limits = Limits::default();
    let (compiling, waiting) = (KillSwitch::new(), KillSwitch::new());
    let told = std::thread::scope(|scope| {
        let waits = || {
            let bounds = Bounds { limits: &limits, kill: &waiting };
            engine.load(&sha256, bounds, None, || Err(Error::Invalid("not its turn".into())))
        };
        // The compiler is fed when the kill comes, and somebody waits for it.
        let told = engine.load(&sha256, Bounds { limits: &limits, kill: &compiling }, None, || {
            let waits = scope.spawn(waits);
            std::thread::sleep(Duration::from_millis(50));
            waiting.kill("ana".to_owned());
            let told = waits.join().unwrap().err().unwrap().to_string();
            assert_eq!(told, "the run was killed by ana");
            compiling.kill("bob".to_owned());
            Ok(bytes.clone())
        });
        told.err().unwrap().to_string()
    });
    assert_eq!(told, "the run was killed by bob");
    let bounds = Bounds { limits: &limits, kill: &KillSwitch::new() };
    engine.load(&sha256, bounds, None, || Ok(bytes)).unwrap();
}
