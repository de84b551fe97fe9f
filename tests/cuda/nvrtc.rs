//! Every kernel that the tests of operations need, compiled by NVIDIA's own compiler
//! for old and new GPUs; that needs no GPU. `setup/nvrtc.sh` fetches it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quern::device::cuda::{FOLDERS_VARIABLE, Module, compile};

use super::bench::{Fake, in_child};

/// The oldest and the newest devices that kernels are compiled for.
const CAPABILITIES: [(u32, u32); 2] = [(7, 5), (9, 0)];

/// Has the compiler say what each kernel needs.
const VERBOSE: &str = "--ptxas-options=-v";

/// Names the folder of texts for the child process.
const TEXTS_VARIABLE: &str = "QUERN_RECORDED_TEXTS";

/// Generated kernels that are compiled together: each text begins with the same
/// prelude, which takes longer than they do.
const TOGETHER: usize = 48;

/// The folder of the real NVRTC.
fn folder() -> PathBuf {
    let cache = std::env::var_os("QUERN_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/quern"));
    let folder = cache.join("nvrtc/nvidia/cu13/lib");
    assert!(folder.join("libnvrtc.so.13").is_file(), "NVRTC is not in {}; run setup/nvrtc.sh", folder.display());
    folder
}

/// What the compiler says of a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    kernel: String,
    registers: u64,
    stack_bytes: u64,
    spilled_bytes: u64,
}

/// Warnings that mean nothing in generated texts: a variable that is not used, a
/// comparison whose outcome is known.
const OF_GENERATED: [&str; 2] = ["warning #177-D", "warning #186-D"];

/// What a log of [`VERBOSE`] says: of the kernels, and besides.
fn parse(log: &str) -> (Vec<Needs>, Vec<&str>) {
    let (mut needs, mut warnings) = (Vec::<Needs>::new(), Vec::new());
    // The number before `what`.
    let before = |line: &str, what: &str| -> Option<u64> {
        line.split_once(what)?.0.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap().to_owned();
            needs.push(Needs { kernel, registers: 0, stack_bytes: 0, spilled_bytes: 0 });
        } else if let Some(stack_bytes) = before(line, " bytes stack frame") {
            let last = needs.last_mut().unwrap();
            last.stack_bytes = stack_bytes;
            let spilled = [" bytes spill stores", " bytes spill loads"].map(|what| before(line, what).unwrap());
            last.spilled_bytes = spilled.iter().sum();
        } else if let Some(registers) = before(line, " registers") {
            needs.last_mut().unwrap().registers = registers;
        } else if line.contains("warning #") || line.contains("ptxas warning") {
            warnings.push(line);
        }
    }
    (needs, warnings)
}

/// The recorded texts as modules, those that begin alike as one.
fn modules(texts: &Path) -> Vec<Module> {
    // By name and by what all texts of that name begin with: what follows.
    let mut parts: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(texts).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "cu") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, text) = text.split_once("\n#line 1 \"").unwrap();
        let (name, text) = text.split_once("\"\n").unwrap();
        let (start, rest): (_, Vec<String>) = match text.split_once("KERNEL chain_") {
            Some((start, chains)) => {
                (start, chains.split("KERNEL chain_").map(|chain| format!("KERNEL chain_{chain}")).collect())
            }
            None => {
                // What a family is instantiated for is its last line.
                let (start, instance) = text.trim_end_matches('\n').rsplit_once('\n').unwrap();
                (start, vec![format!("\n{instance}\n")])
            }
        };
        parts.entry((name.to_owned(), start.to_owned())).or_default().extend(rest);
    }
    let mut modules = Vec::new();
    for ((name, start), rest) in parts {
        let rest: Vec<String> = rest.into_iter().collect();
        for some in rest.chunks(TOGETHER) {
            modules.push(Module::new(name.clone(), [&start, some.concat().as_str()].concat()));
        }
    }
    modules
}

/// Compiles modules for all capabilities, on all cores: what is wrong, and how many
/// kernels there were.
fn faults(modules: &[Module]) -> (Vec<String>, usize) {
    let work: Vec<_> = modules.iter().flat_map(|module| CAPABILITIES.map(|capability| (module, capability))).collect();
    let (next, n_kernels, found) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let compile_all = || {
        while let Some((module, capability)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = format!("{} for {capability:?}", module.name());
            let mut faults = Vec::new();
            match compile(module, *capability, &[VERBOSE]) {
                Ok(image) => {
                    let (needs, warnings) = parse(&image.log);
                    n_kernels.fetch_add(needs.len(), Ordering::Relaxed);
                    let is_generated = module.name() == "elementwise";
                    let counts = |warning: &&&str| !is_generated || !OF_GENERATED.iter().any(|w| warning.contains(w));
                    faults.extend(warnings.iter().filter(counts).map(|warning| format!("{name}: {warning}")));
                    let spilling = needs.iter().filter(|kernel| kernel.spilled_bytes + kernel.stack_bytes > 0);
                    faults.extend(spilling.map(|kernel| format!("{name}: {kernel:?}")));
                    if needs.is_empty() || image.bytes.is_empty() {
                        faults.push(format!("{name}: no kernel in it"));
                    }
                }
                Err(error) => faults.push(format!("{name}: {}", error.chain())),
            }
            found.lock().unwrap().extend(faults);
        }
    };
    let n_threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| (0..n_threads).for_each(|_| drop(scope.spawn(compile_all))));
    (found.into_inner().unwrap(), n_kernels.into_inner())
}

/// Macros that make the kernels of a family for a type, in all texts of the tensor layer.
fn macros() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src/tensor");
    let families = std::fs::read_dir(root.join("ops")).unwrap().map(|entry| entry.unwrap().path().join("kernels.cu"));
    let texts = families.filter(|file| file.is_file()).map(|file| std::fs::read_to_string(file).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| Some(line.strip_prefix("#define ")?.split_once("(tag, ")?.0.to_owned()))
        .collect()
}

#[test]
fn every_kernel_compiles_for_old_and_new_gpus_and_keeps_its_values_in_registers() {
    let texts = tempfile::tempdir().unwrap();
    Fake::PLAIN.run_recorded(texts.path(), || crate::tensor::all_on_fake());
    let real = |command: &mut std::process::Command| {
        command.env(FOLDERS_VARIABLE, folder()).env(TEXTS_VARIABLE, texts.path());
    };
    in_child("NVRTC", real, || {
        let modules = modules(Path::new(&std::env::var_os(TEXTS_VARIABLE).unwrap()));
        let all: String = modules.iter().map(Module::text).collect();
        let missing: Vec<_> = macros().into_iter().filter(|name| !all.contains(&format!("\n{name}("))).collect();
        assert!(missing.is_empty(), "no test needs the kernels of {missing:?}");
        assert!(modules.iter().any(|module| module.name() == "sort"), "no test sorts");
        let start = std::time::Instant::now();
        let (faults, n_kernels) = faults(&modules);
        println!("{n_kernels} kernels in {} modules, {} s", modules.len(), start.elapsed().as_secs());
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(n_kernels > 500, "{n_kernels}");
    });
}

#[test]
fn a_kernel_that_spills_or_is_warned_of_is_found() {
    let real = |command: &mut std::process::Command| {
        command.env(FOLDERS_VARIABLE, folder());
    };
    in_child("NVRTC", real, || {
        // 200 values in use at once, and at most 64 registers for each of 1024 threads.
        let text = r#"
            extern "C" __global__ void __launch_bounds__(1024) crowded(float* x, int n) {
                float v[200];
                #pragma unroll
                for (int i = 0; i < 200; i++) v[i] = x[i * n];
                for (int j = 0; j < n; j++)
                    #pragma unroll
                    for (int i = 0; i < 200; i++) v[i] = v[i] * v[(i + 7) % 200] + x[j];
                #pragma unroll
                for (int i = 0; i < 200; i++) x[i * n + threadIdx.x] = v[i];
            }
            extern "C" __global__ void modest(float* x, int n) { int unused; x[threadIdx.x] += n; }
        "#;
        let module = Module::new("crowded", text);
        let (found, n_kernels) = faults(std::slice::from_ref(&module));
        assert_eq!(n_kernels, 2 * CAPABILITIES.len());
        let told = |what: &str| found.iter().filter(|fault| fault.contains(what)).count();
        assert_eq!((told("kernel: \"crowded\""), told("kernel: \"modest\"")), (2, 0), "{found:?}");
        assert_eq!(told("variable \"unused\" was declared but never referenced"), 2, "{found:?}");
        let log = compile(&module, (9, 0), &[VERBOSE]).unwrap().log;
        let (needs, _) = parse(&log);
        let crowded = needs.iter().find(|needs| needs.kernel == "crowded").unwrap();
        assert!(crowded.spilled_bytes > 0 && (1..=64).contains(&crowded.registers), "{crowded:?}");
        let error = compile(&Module::new("wrong.cu", "\nint x = y;\n"), (7, 5), &[]).unwrap_err().chain();
        let start =
            "kernels `wrong.cu` do not compile for sm_75 (NvrtcError(NVRTC_ERROR_COMPILATION)): wrong.cu(2): error: ";
        assert!(error.starts_with(start), "{error}");
    });
}
