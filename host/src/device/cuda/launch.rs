//! Kernels: their text and their launch.

use std::borrow::Cow;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cudarc::driver::result;
use cudarc::driver::sys;
use sha2::{Digest, Sha256};

use super::gpu::Gpu;
use crate::base::{Error, Result};

/// Dynamic shared memory that a kernel has without being asked for more.
const PLAIN_SHARED_BYTES: u32 = 48 << 10;

/// The text of one or more kernels, in CUDA C++ without includes. What stands
/// before it is in `preamble.cuh`.
#[derive(Clone, Debug)]
pub struct Module {
    name: Cow<'static, str>,
    text: Cow<'static, str>,
    pub(super) key: [u8; 32],
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
    pub(super) function: sys::CUfunction,
    /// The address of what its device shares.
    pub(super) of: usize,
    /// The number of its module there.
    pub(super) module: u64,
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

impl Gpu {
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
        self.modules.borrow().check(&kernel)?;
        if self.is_capturing.get() {
            self.modules.borrow_mut().record(&kernel);
        }
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
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}
