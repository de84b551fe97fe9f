//! Kernels: their text, where their compiled form is kept, and their launch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{CString, c_void};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;
use sha2::{Digest, Sha256};

use super::compile;
use super::gpu::Gpu;
use super::owner::Cuda;
use crate::base::{Error, Result};

/// Dynamic shared memory that a kernel has without being asked for more.
const PLAIN_SHARED_BYTES: u32 = 48 << 10;

/// The text of one or more kernels, in CUDA C++ without includes. What stands
/// before it is in `preamble.cuh`.
#[derive(Clone, Debug)]
pub struct Module {
    name: Cow<'static, str>,
    text: Cow<'static, str>,
    key: [u8; 32],
}

impl Module {
    /// A module; its name is for messages.
    pub fn new(name: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        let (name, text) = (name.into(), text.into());
        Self { key: Sha256::digest(text.as_bytes()).into(), name, text }
    }

    /// For messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A kernel that is on a device.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    function: sys::CUfunction,
    /// The address of what its device shares.
    of: usize,
}

// SAFETY: the function is only used on the owner thread of its device.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// An argument of a kernel, by value, as wide as the kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg<'a> {
    /// A pointer to memory of the device.
    Address(u64),
    /// `int`.
    I32(i32),
    /// `unsigned`.
    U32(u32),
    /// `long long`.
    I64(i64),
    /// `unsigned long long`.
    U64(u64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
    /// A struct of 64-bit words, as many as the kernel's; at most 4 KiB.
    Words(&'a [u64]),
}

impl Arg<'_> {
    fn as_ptr(&self) -> *mut c_void {
        let start: *const c_void = match self {
            Self::Address(value) | Self::U64(value) => (&raw const *value).cast(),
            Self::I32(value) => (&raw const *value).cast(),
            Self::U32(value) => (&raw const *value).cast(),
            Self::I64(value) => (&raw const *value).cast(),
            Self::F32(value) => (&raw const *value).cast(),
            Self::F64(value) => (&raw const *value).cast(),
            Self::Words(words) => words.as_ptr().cast(),
        };
        start.cast_mut()
    }
}

/// How many threads execute a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

impl Grid {
    /// Blocks of `threads` threads in a line, at least one thread for each of `n`
    /// things as long as that needs no more than 2^31 - 1 blocks.
    pub fn line(n: usize, threads: u32) -> Self {
        let blocks = n.div_ceil(threads.max(1) as usize).clamp(1, i32::MAX as usize);
        Self { blocks: [blocks as u32, 1, 1], threads: [threads.max(1), 1, 1], shared_bytes: 0 }
    }

    fn check(&self) -> Result<()> {
        let n_threads = self.threads.iter().map(|n| u64::from(*n)).product::<u64>();
        let fits = n_threads <= 1024
            && self.threads.iter().chain(&self.blocks).all(|n| *n > 0)
            && self.blocks.iter().skip(1).all(|n| *n <= 65_535);
        if fits { Ok(()) } else { Err(Error::Internal(format!("a kernel cannot be launched as {self:?}"))) }
    }
}

/// How far a module is.
#[derive(Default)]
pub(super) enum Stage {
    /// A text.
    #[default]
    Text,
    /// Compiled by [`Cuda::compile`], for the device's thread to load.
    Compiled(compile::Compiled),
    /// On the device.
    Loaded,
}

/// The modules of a device, wherever they are used. Who holds a stage compiles.
#[derive(Default)]
pub(super) struct Stages(Mutex<HashMap<[u8; 32], Arc<Mutex<Stage>>>>);

impl Stages {
    fn of(&self, module: &Module) -> Arc<Mutex<Stage>> {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.entry(module.key).or_default().clone()
    }
}

fn locked(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cuda {
    /// Whether a module is on the device.
    pub fn has(&self, module: &Module) -> bool {
        // While it is compiled it is not there.
        self.shared.stages.of(module).try_lock().is_ok_and(|stage| matches!(*stage, Stage::Loaded))
    }

    /// Compiles a module on the calling thread, so that [`Gpu::kernel`] need not on the
    /// device's, which others wait for meanwhile.
    pub fn compile(&self, module: &Module) -> Result<()> {
        self.check()?;
        let stage = self.shared.stages.of(module);
        let mut stage = locked(&stage);
        if matches!(*stage, Stage::Text) {
            *stage = Stage::Compiled(compile::cached(module, self.info().capability)?);
        }
        Ok(())
    }
}

/// The modules that are on a device.
#[derive(Default)]
pub(super) struct Modules {
    loaded: HashMap<[u8; 32], Loaded>,
}

struct Loaded {
    module: sys::CUmodule,
    kernels: HashMap<String, Kernel>,
}

impl Modules {
    /// Gives all back; nothing of it is executed any more.
    pub(super) fn close(self) {
        for loaded in self.loaded.into_values() {
            // SAFETY: loaded once, and not used any more.
            let _ = unsafe { result::module::unload(loaded.module) };
        }
    }
}

impl Gpu {
    /// A kernel of a module, which is compiled when it is first asked for and not
    /// in the user's cache.
    pub fn kernel(&self, module: &Module, name: &str) -> Result<Kernel> {
        self.ready()?;
        let mut modules = self.modules.borrow_mut();
        let loaded = match modules.loaded.entry(module.key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.ready_outside_graph("a kernel was compiled")?;
                new.insert(Loaded { module: self.load(module)?, kernels: HashMap::new() })
            }
        };
        if let Some(kernel) = loaded.kernels.get(name) {
            return Ok(*kernel);
        }
        let c_name = CString::new(name).map_err(|_| Error::Internal(format!("kernel `{name}`")))?;
        // SAFETY: the module is loaded, and stays until the device is closed.
        let function = unsafe { result::module::get_function(loaded.module, c_name) };
        let function = self.told("cuModuleGetFunction", function).map_err(|error| match error {
            lost @ Error::DeviceLost { .. } => lost,
            _ => Error::Internal(format!("module `{}` has no kernel `{name}`", module.name)),
        })?;
        let kernel = Kernel { function, of: self.identity() };
        loaded.kernels.insert(name.to_owned(), kernel);
        Ok(kernel)
    }

    /// Loads a module, compiled anew where what the cache holds is refused.
    fn load(&self, module: &Module) -> Result<sys::CUmodule> {
        let stage = self.shared.stages.of(module);
        let mut stage = locked(&stage);
        let compiled = match std::mem::take(&mut *stage) {
            Stage::Compiled(compiled) => compiled,
            Stage::Text | Stage::Loaded => compile::cached(module, self.info.capability)?,
        };
        let load = |image: &[u8]| {
            // SAFETY: an image of NVRTC, which the driver checks.
            self.told("cuModuleLoadData", unsafe { result::module::load_data(image.as_ptr().cast()) })
        };
        let loaded = match load(&compiled.image) {
            Err(error) if compiled.was_cached && !self.shared.is_lost() => {
                compiled.forget();
                let fresh = compile::cached(module, self.info.capability)?;
                if fresh.was_cached { Err(error) } else { load(&fresh.image) }
            }
            answer => answer,
        }?;
        *stage = Stage::Loaded;
        Ok(loaded)
    }

    /// Executes a kernel.
    ///
    /// The arguments must be those of the kernel, in number, order and width, and
    /// the memory that they point to as large as it expects: nothing checks this.
    pub fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.ready()?;
        if kernel.of != self.identity() {
            return Err(Error::Internal("a kernel of another device was launched".to_owned()));
        }
        grid.check()?;
        if grid.shared_bytes > PLAIN_SHARED_BYTES {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let shared_bytes = i32::try_from(grid.shared_bytes).unwrap_or(i32::MAX);
            // SAFETY: a function of this device.
            let set = unsafe { result::function::set_function_attribute(kernel.function, attribute, shared_bytes) };
            self.told("cuFuncSetAttribute", set)?;
        }
        let mut pointers: Vec<*mut c_void> = args.iter().map(Arg::as_ptr).collect();
        let ([bx, by, bz], [tx, ty, tz]) = (grid.blocks, grid.threads);
        // SAFETY: the driver copies the arguments, which live until it returns; that
        // they are the kernel's is the caller's part.
        let launched = unsafe {
            let (blocks, threads) = ((bx, by, bz), (tx, ty, tz));
            result::launch_kernel(kernel.function, blocks, threads, grid.shared_bytes, self.stream, &mut pointers)
        };
        self.told("cuLaunchKernel", launched)?;
        self.shared.counts.launches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A number that no other open device has.
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}
