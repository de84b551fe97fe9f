//! The libraries of CUDA, found where they usually are and opened by absolute
//! path, so that nobody has to set `LD_LIBRARY_PATH`. What is opened here under
//! its own name is what cudarc finds when it asks for that name later.
//!
//! Every function that is called later is looked up here first: cudarc panics
//! where a library or a function is missing.

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Folders to look in before all others, separated by colons.
pub const FOLDERS_VARIABLE: &str = "QUERN_CUDA_LIBS";

/// Where drivers and toolkits put their libraries.
const USUAL_FOLDERS: [&str; 12] = [
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib64",
    "/usr/lib64/nvidia",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
    "/opt/cuda/lib64",
    "/opt/cuda/targets/x86_64-linux/lib",
];

/// Where Python's wheels of CUDA put theirs, below `site-packages`.
const WHEEL_FOLDERS: [&str; 4] = ["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib", "nvidia/cublas/lib", "nvidia/cu12/lib"];

/// One of the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The driver.
    Driver,
    /// The compiler of kernels.
    Nvrtc,
    /// Products of matrices.
    Cublas,
}

impl Library {
    /// What it is, for messages.
    const fn what(self) -> &'static str {
        match self {
            Self::Driver => "the NVIDIA driver",
            Self::Nvrtc => "NVRTC, the CUDA compiler",
            Self::Cublas => "cuBLAS",
        }
    }

    /// How to come by it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Driver => "install the NVIDIA driver",
            Self::Nvrtc => "install the CUDA toolkit, or `pip install nvidia-cuda-nvrtc`",
            Self::Cublas => "install the CUDA toolkit, or `pip install nvidia-cublas`",
        }
    }

    /// The file names it has, the preferred first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["libcuda.so.1", "libcuda.so"],
            Self::Nvrtc => &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
            Self::Cublas => &["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
        }
    }

    /// How the names of the files begin that must be open before it.
    const fn companion(self) -> Option<&'static str> {
        match self {
            Self::Driver => None,
            Self::Nvrtc => Some("libnvrtc-builtins.so."),
            Self::Cublas => Some("libcublasLt.so."),
        }
    }

    /// The functions that are called.
    const fn functions(self) -> &'static [&'static CStr] {
        match self {
            Self::Driver => DRIVER_FUNCTIONS,
            Self::Nvrtc => NVRTC_FUNCTIONS,
            Self::Cublas => CUBLAS_FUNCTIONS,
        }
    }
}

const DRIVER_FUNCTIONS: &[&CStr] = &[
    c"cuInit",
    c"cuDriverGetVersion",
    c"cuDeviceGet",
    c"cuDeviceGetCount",
    c"cuDeviceGetName",
    c"cuDeviceGetAttribute",
    c"cuDeviceTotalMem_v2",
    c"cuDevicePrimaryCtxRetain",
    c"cuDevicePrimaryCtxRelease_v2",
    c"cuDevicePrimaryCtxReset_v2",
    c"cuCtxSetCurrent",
    c"cuMemGetInfo_v2",
    c"cuMemAlloc_v2",
    c"cuMemFree_v2",
    c"cuMemHostAlloc",
    c"cuMemFreeHost",
    c"cuMemcpyHtoDAsync_v2",
    c"cuMemcpyDtoHAsync_v2",
    c"cuMemcpyDtoDAsync_v2",
    c"cuMemsetD8Async",
    c"cuStreamCreate",
    c"cuStreamDestroy_v2",
    c"cuStreamSynchronize",
    c"cuStreamBeginCapture_v2",
    c"cuStreamEndCapture",
    c"cuGraphInstantiateWithFlags",
    c"cuGraphLaunch",
    c"cuGraphDestroy",
    c"cuGraphExecDestroy",
    c"cuEventCreate",
    c"cuEventDestroy_v2",
    c"cuEventRecord",
    c"cuEventQuery",
    c"cuEventSynchronize",
    c"cuEventElapsedTime_v2",
    c"cuModuleLoadData",
    c"cuModuleUnload",
    c"cuModuleGetFunction",
    c"cuFuncSetAttribute",
    c"cuLaunchKernel",
    c"cuGetErrorName",
    c"cuGetErrorString",
];

const NVRTC_FUNCTIONS: &[&CStr] = &[
    c"nvrtcVersion",
    c"nvrtcCreateProgram",
    c"nvrtcCompileProgram",
    c"nvrtcDestroyProgram",
    c"nvrtcGetCUBIN",
    c"nvrtcGetCUBINSize",
    c"nvrtcGetProgramLog",
    c"nvrtcGetProgramLogSize",
];

const CUBLAS_FUNCTIONS: &[&CStr] = &[
    c"cublasCreate_v2",
    c"cublasDestroy_v2",
    c"cublasSetStream_v2",
    c"cublasSetWorkspace_v2",
    c"cublasGemmStridedBatchedEx",
];

/// Why a library cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is nowhere.
    NotFound {
        /// Which.
        library: Library,
        /// Where it was looked for, after the system's own places.
        looked: Vec<PathBuf>,
        /// The files of that name that could not be opened, and why.
        refused: Vec<String>,
    },
    /// It lacks a function.
    TooOld {
        /// Which.
        library: Library,
        /// The first function it lacks.
        function: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { library, looked, refused } => {
                let name = library.names().first().copied().unwrap_or_default();
                write!(f, "{} ({name}) is not installed; looked where the system keeps libraries", library.what())?;
                if !looked.is_empty() {
                    let folders: Vec<_> = looked.iter().map(|folder| folder.display().to_string()).collect();
                    write!(f, " and in {}", folders.join(", "))?;
                }
                if !refused.is_empty() {
                    write!(f, "; could not be opened: {}", refused.join(", "))?;
                }
                write!(f, "; {} or name its folder in ${FOLDERS_VARIABLE}", library.remedy())
            }
            Self::TooOld { library, function } => {
                write!(f, "{} is too old: it has no {function}; CUDA 12.8 or newer is needed", library.what())
            }
        }
    }
}

/// Opens a library, once for the process; what was found stays open.
pub(super) fn open(library: Library) -> Result<(), &'static Missing> {
    static OPENED: [OnceLock<Result<(), Missing>>; 3] = [const { OnceLock::new() }; 3];
    let opened = &OPENED[library as usize];
    opened.get_or_init(|| find(library, &folders())).as_ref().copied()
}

/// The folders to look in, those that exist, the preferred first.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = chosen_folders();
    folders.extend(USUAL_FOLDERS.iter().map(PathBuf::from));
    for root in wheel_roots() {
        folders.extend(WHEEL_FOLDERS.iter().map(|folder| root.join(folder)));
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// The folders of the environment variable.
fn chosen_folders() -> Vec<PathBuf> {
    let value = std::env::var_os(FOLDERS_VARIABLE).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| path.is_absolute()).collect()
}

/// Folders in which Python packages are: of an active environment, the user's, the system's.
fn wheel_roots() -> Vec<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let environments = [of("VIRTUAL_ENV"), of("CONDA_PREFIX"), of("HOME").map(|home| home.join(".local"))];
    let fixed = ["/usr/local", "/usr", "/opt/conda"].map(PathBuf::from);
    let mut roots = Vec::new();
    for prefix in environments.into_iter().flatten().chain(fixed) {
        let mut pythons: Vec<PathBuf> = std::fs::read_dir(prefix.join("lib"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("python3"))
            .map(|entry| entry.path())
            .collect();
        pythons.sort();
        roots
            .extend(pythons.iter().rev().flat_map(|python| ["site-packages", "dist-packages"].map(|s| python.join(s))));
    }
    roots
}

/// Opens the first file of that library, in the folders that were chosen, where
/// the system keeps libraries, in all others.
fn find(library: Library, folders: &[PathBuf]) -> Result<(), Missing> {
    let n_chosen = chosen_folders().iter().filter(|folder| folder.is_dir()).count();
    let (chosen, usual) = folders.split_at(n_chosen.min(folders.len()));
    let mut refused = Vec::new();
    let mut opened = chosen.iter().find_map(|folder| open_in(library, folder, &mut refused));
    opened = opened.or_else(|| library.names().iter().find_map(|name| load(Path::new(name)).ok()));
    opened = opened.or_else(|| usual.iter().find_map(|folder| open_in(library, folder, &mut refused)));
    let Some(opened) = opened else {
        return Err(Missing::NotFound { library, looked: folders.to_vec(), refused });
    };
    match library.functions().iter().find(|function| !opened.has(function)) {
        Some(function) => Err(Missing::TooOld { library, function: function.to_string_lossy().into_owned() }),
        None => Ok(()),
    }
}

/// Opens the library in one folder, its companions before it.
fn open_in(library: Library, folder: &Path, refused: &mut Vec<String>) -> Option<Opened> {
    let file = library.names().iter().map(|name| folder.join(name)).find(|file| file.is_file())?;
    if let Some(companion) = library.companion() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(companion) {
                // The library itself says what it lacks.
                let _ = load(&entry.path());
            }
        }
    }
    load(&file).map_err(|reason| refused.push(reason)).ok()
}

/// A library that stays open.
struct Opened(*mut c_void);

impl Opened {
    fn has(&self, function: &CStr) -> bool {
        // SAFETY: the handle is open, the name ends with a zero.
        unsafe { !libc::dlsym(self.0, function.as_ptr()).is_null() }
    }
}

/// Opens a library for good; the error names the file.
fn load(file: &Path) -> Result<Opened, String> {
    let name = CString::new(file.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: the name ends with a zero. Opening runs the library's own set-up, and
    // its place was chosen by the system or by the user.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(Opened(handle));
    }
    // SAFETY: after a failure it gives a text that is valid until the next call on this thread.
    let reason = unsafe {
        let text = libc::dlerror();
        if text.is_null() { file.display().to_string() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    Err(reason)
}
