//! The fake GPU: its libraries, built by g++ when a test first needs them, and
//! the child process in which a test uses them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// Names the test that a child process executes.
const CHILD_VARIABLE: &str = "QUERN_FAKE_CHILD";

/// The sources, for their hash.
const SOURCES: [&str; 5] = [
    include_str!("fake/driver.cpp"),
    include_str!("fake/fibers.h"),
    include_str!("fake/shim.h"),
    include_str!("fake/cublas.cpp"),
    include_str!("fake/nvrtc.cpp"),
];

/// A fake GPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fake {
    /// The order of threads: 0 forwards, 1 backwards, else a stride.
    pub(crate) order: u32,
    /// What checks the kernels and the driver.
    pub(crate) check: Check,
    /// Its memory.
    pub(crate) memory_bytes: u64,
    /// How much of CUDA is installed.
    pub(crate) installed: Installed,
}

/// A sanitizer of g++.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// None.
    Nothing,
    /// AddressSanitizer.
    Addresses,
    /// UndefinedBehaviorSanitizer.
    Undefined,
}

/// How much of CUDA is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// The driver, NVRTC and cuBLAS.
    All,
    /// The driver, which shows no device.
    NoDevice,
    /// The driver alone.
    DriverOnly,
    /// The driver and NVRTC.
    NoCublas,
    /// A libcuda without functions.
    OldDriver,
}

impl Fake {
    /// All there, forwards, nothing checked, 1 GiB.
    pub(crate) const PLAIN: Self =
        Self { order: 0, check: Check::Nothing, memory_bytes: 1 << 30, installed: Installed::All };

    /// Executes `test` in a child process that has this GPU. To be called by a test
    /// function, with a closure that captures nothing; the child is told to execute
    /// just this function, once for each call with another GPU.
    pub(crate) fn run<F: Fn()>(self, test: F) {
        in_child(&format!("{self:?}"), |command| self.prepare(command), test);
    }

    /// The same. Every text that was compiled meanwhile is written into `texts`, a
    /// folder; where kernels were kept before is not looked at.
    pub(crate) fn run_recorded<F: Fn()>(self, texts: &Path, test: F) {
        let prepare = |command: &mut Command| {
            self.prepare(command);
            command.env("QUERN_FAKE_TEXTS", texts).env("XDG_CACHE_HOME", texts);
        };
        in_child(&format!("recorded {self:?}"), prepare, test);
    }

    /// Sets the environment in which a process finds this GPU.
    pub(crate) fn prepare(self, command: &mut Command) {
        let folder = self.build();
        let libraries = folder.join(match self.installed {
            Installed::All | Installed::NoDevice => "all",
            Installed::DriverOnly => "driver",
            Installed::NoCublas => "no-cublas",
            Installed::OldDriver => "old",
        });
        let kernels = base().join("kernels");
        std::fs::create_dir_all(&kernels).unwrap();
        command
            .env("QUERN_CUDA_LIBS", libraries)
            .env("QUERN_FAKE_ORDER", self.order.to_string())
            .env("QUERN_FAKE_MEMORY", self.memory_bytes.to_string())
            .env("QUERN_FAKE_KERNELS", kernels)
            .env("QUERN_FAKE_SHIM", Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/fake"))
            .env("QUERN_FAKE_FLAGS", self.flags().join(" "))
            .env("XDG_CACHE_HOME", folder.join("cache"));
        if self.installed == Installed::NoDevice {
            command.env("QUERN_FAKE_NO_DEVICE", "1");
        }
        if self.check == Check::Addresses {
            let library = Command::new("g++").arg("-print-file-name=libasan.so").output().unwrap();
            command.env("LD_PRELOAD", String::from_utf8(library.stdout).unwrap().trim());
            command.env("ASAN_OPTIONS", "detect_leaks=0:verify_asan_link_order=0");
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self.check {
            Check::Nothing => &[],
            Check::Addresses => &["-fsanitize=address"],
            Check::Undefined => &["-fsanitize=undefined", "-fno-sanitize-recover=all"],
        }
    }

    /// The folder of the built libraries.
    fn build(self) -> PathBuf {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut hasher = DefaultHasher::new();
        (SOURCES, self.flags()).hash(&mut hasher);
        let folder = base().join(format!("{:016x}", hasher.finish()));
        if folder.exists() {
            return folder;
        }
        let part = tempfile::tempdir_in(base()).unwrap();
        for kind in ["all", "driver", "no-cublas", "old"] {
            std::fs::create_dir(part.path().join(kind)).unwrap();
        }
        std::fs::create_dir(part.path().join("cache")).unwrap();
        let all = part.path().join("all");
        self.compile("driver.cpp", &all.join("libcuda.so"));
        self.compile("nvrtc.cpp", &all.join("libnvrtc.so"));
        self.compile("cublas.cpp", &all.join("libcublas.so"));
        let copy = |kind: &str, library: &str| {
            std::fs::copy(all.join(library), part.path().join(kind).join(library)).unwrap();
        };
        copy("driver", "libcuda.so");
        copy("no-cublas", "libcuda.so");
        copy("no-cublas", "libnvrtc.so");
        std::fs::copy(all.join("libnvrtc.so"), part.path().join("old/libcuda.so")).unwrap();
        // Another process may have been quicker.
        let _ = std::fs::rename(part.keep(), &folder);
        folder
    }

    /// Compiles one library; its own name is the one that cudarc asks for first,
    /// so that no library of the system takes its place.
    fn compile(self, source: &str, library: &Path) {
        let name = library.file_name().unwrap().to_str().unwrap();
        let mut command = Command::new("g++");
        command.args(["-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-pthread"]).args(self.flags());
        command.arg(format!("-Wl,-soname,{name}")).arg("-o").arg(library);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/fake").join(source)).arg("-ldl");
        let output = command.output().unwrap_or_else(|e| panic!("g++ is needed for the fake GPU: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Executes `test` in a child process with the environment that `prepare` sets. `of`
/// tells it from other children of the same test.
pub(crate) fn in_child<F: Fn()>(of: &str, prepare: impl FnOnce(&mut Command), test: F) {
    let closure = std::any::type_name::<F>();
    let (_, path) = closure.split_once("::").unwrap();
    let name = path.split("::{{closure}}").next().unwrap();
    let this = format!("{name} {of}");
    match std::env::var(CHILD_VARIABLE) {
        Ok(child) if child == this => test(),
        Ok(_) => {}
        Err(_) => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD_VARIABLE, &this);
            prepare(&mut command);
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("running 1 test"), "{this} was not executed:\n{text}");
            assert!(output.status.success(), "{this} failed:\n{text}");
        }
    }
}

/// Where all of the fake GPU is built, in the target folder.
fn base() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-cuda");
    std::fs::create_dir_all(&base).unwrap();
    base
}

/// What the fake driver counted since the process began; `Counts` in `driver.cpp`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Calls of the driver.
    pub(crate) calls: u64,
    /// Bytes copied from the host to the device.
    pub(crate) uploaded: u64,
    /// Bytes copied from the device to the host.
    pub(crate) downloaded: u64,
    /// Bytes copied on the device.
    pub(crate) copied: u64,
    /// Kernels and products of matrices.
    pub(crate) launches: u64,
    /// Graphs.
    pub(crate) replays: u64,
    /// Device memory that is allocated.
    pub(crate) live_bytes: u64,
    /// Streams, events, modules and graphs that were not destroyed.
    pub(crate) live_objects: u64,
    /// Contexts that were reset.
    pub(crate) resets: u64,
}

/// What the fake driver counted; in a child process, after the driver was opened.
pub(crate) fn counts() -> Counts {
    let mut counts = Counts::default();
    // SAFETY: the function of `driver.cpp`, which writes to what it is given.
    unsafe {
        let read: extern "C" fn(*mut Counts) = std::mem::transmute(function(c"fake_counts"));
        read(&raw mut counts);
    }
    counts
}

/// Lets the `call`-th call from now fail with `code`; none for 0.
pub(crate) fn fail_at(call: u64, code: i32) {
    // SAFETY: the function of `driver.cpp`, which takes two numbers.
    unsafe {
        let set: extern "C" fn(u64, i32) = std::mem::transmute(function(c"fake_fail_at"));
        set(call, code);
    }
}

/// Whether the call that was to fail was made.
pub(crate) fn has_failed() -> bool {
    // SAFETY: the function of `driver.cpp`.
    unsafe {
        let read: extern "C" fn() -> i32 = std::mem::transmute(function(c"fake_failed"));
        read() != 0
    }
}

/// Lets the next launch of a graph fail with `code`.
pub(crate) fn fail_graph(code: i32) {
    // SAFETY: the function of `driver.cpp`.
    unsafe {
        let set: extern "C" fn(i32) = std::mem::transmute(function(c"fake_fail_graph"));
        set(code);
    }
}

/// Lets every kernel take that much longer.
pub(crate) fn slow_kernels(time: Duration) {
    // SAFETY: the function of `driver.cpp`.
    unsafe {
        let set: extern "C" fn(u32) = std::mem::transmute(function(c"fake_slow"));
        set(u32::try_from(time.as_micros()).unwrap());
    }
}

/// Lets the next handle of cuBLAS, or its next product, fail with a status; none for 0.
pub(crate) fn fail_blas(create: i32, product: i32) {
    // SAFETY: the function of `cublas.cpp`.
    unsafe {
        let set: extern "C" fn(i32, i32) = std::mem::transmute(function(c"fake_blas_fail"));
        set(create, product);
    }
}

/// Lets every compilation take that much longer.
pub(crate) fn slow_compiler(time: Duration) {
    // SAFETY: the function of `nvrtc.cpp`.
    unsafe {
        let set: extern "C" fn(u32) = std::mem::transmute(function(c"fake_compile_slow"));
        set(u32::try_from(time.as_millis()).unwrap());
    }
}

/// Whether texts compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// They do.
    Works,
    /// None does.
    Refuses,
}

/// Lets the compiler work, or refuse every text.
pub(crate) fn set_compiler(compiler: Compiler) {
    // SAFETY: the function of `nvrtc.cpp`.
    unsafe {
        let set: extern "C" fn(i32) = std::mem::transmute(function(c"fake_compile_fail"));
        set(i32::from(compiler == Compiler::Refuses));
    }
}

/// The most compilations that went on at once, and how many there were.
pub(crate) fn compilations() -> [u32; 2] {
    let mut counts = [0; 2];
    // SAFETY: the function of `nvrtc.cpp`, which writes to what it is given.
    unsafe {
        let read: extern "C" fn(*mut u32) = std::mem::transmute(function(c"fake_compilations"));
        read(counts.as_mut_ptr());
    }
    counts
}

fn function(name: &std::ffi::CStr) -> *mut libc::c_void {
    // SAFETY: looks in the libraries that are open for all.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!found.is_null(), "the fake driver is not open");
    found
}
