//! Kernels from text to what a device executes, by NVRTC, or from the user's cache.
//! A file there is named by a hash of the text, the device's kind, the options and
//! the compiler's version, so that none is ever out of date.

use std::ffi::{CStr, CString};
use std::path::PathBuf;

use cudarc::nvrtc::result::{self, NvrtcError};
use cudarc::nvrtc::sys;
use sha2::{Digest, Sha256};

use super::cache;
use super::launch::Module;
use super::libraries::{self, Library};
use crate::base::{Error, Result};

/// What stands before every text.
const PREAMBLE: &str = include_str!("preamble.cuh");

/// The same sums on every device, also on the processor: no fused multiply-add.
const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// Compiled kernels.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What the driver loads.
    pub(super) image: Vec<u8>,
    /// Whether it came from the cache.
    pub(super) was_cached: bool,
    file: Option<PathBuf>,
}

impl Compiled {
    /// Removes it from the cache.
    pub(super) fn forget(&self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// A module compiled for devices of one kind.
#[derive(Clone, Debug)]
pub struct Image {
    /// What a device loads.
    pub bytes: Vec<u8>,
    /// What the compiler remarked.
    pub log: String,
}

/// Compiles a module for devices of that capability, with `options` of NVRTC besides
/// the usual ones. This needs no device, looks into no cache and leaves nothing there.
pub fn compile(module: &Module, capability: (u32, u32), options: &[&str]) -> Result<Image> {
    libraries::open(Library::Nvrtc).map_err(|missing| Error::Unsupported(missing.to_string()))?;
    translate(module, &arch(capability), options)
}

/// The kernels of a module for a device of that capability, from the cache or compiled.
pub(super) fn cached(module: &Module, capability: (u32, u32)) -> Result<Compiled> {
    libraries::open(Library::Nvrtc).map_err(|missing| Error::Unsupported(missing.to_string()))?;
    let arch = arch(capability);
    let file = cache::folder().map(|folder| folder.join(file_name(module.text(), &arch)));
    if let Some(image) = file.as_deref().and_then(cache::read) {
        return Ok(Compiled { image, was_cached: true, file });
    }
    let image = translate(module, &arch, &[])?.bytes;
    if let Some(file) = &file {
        // Without the file it is only compiled again.
        let _ = cache::write(file, &image);
    }
    Ok(Compiled { image, was_cached: false, file })
}

/// What NVRTC calls devices of that capability.
fn arch((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}")
}

/// What a text is called in the cache.
fn file_name(text: &str, arch: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [PREAMBLE, text, arch, &OPTIONS.join(" "), &version()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digest}.{}", cache::EXTENSION)
}

/// The compiler's version.
fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes to the two numbers.
    let _ = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    format!("{major}.{minor}")
}

/// A program of NVRTC, destroyed when it is dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program`, and not used any more.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

/// Compiles a module.
fn translate(module: &Module, arch: &str, further: &[&str]) -> Result<Image> {
    let name = module.name();
    let zero = |_| Error::Internal(format!("the text of kernels `{name}` holds a zero"));
    let told = |error: NvrtcError| Error::library(format!("kernels `{name}` cannot be compiled for {arch}"), error);
    // Both must outlive the program.
    let (source, c_name) = (
        CString::new(format!("{PREAMBLE}\n#line 1 \"{name}\"\n{}", module.text())).map_err(zero)?,
        CString::new(name).map_err(zero)?,
    );
    let program = Program(result::create_program(&source, Some(&c_name)).map_err(told)?);
    let mut options = vec![format!("--gpu-architecture={arch}")];
    options.extend(OPTIONS.iter().chain(further).map(|option| (*option).to_owned()));
    // SAFETY: the program was just made.
    let compiled = unsafe { result::compile_program(program.0, &options) };
    // SAFETY: as above.
    let log = unsafe { result::get_program_log(program.0) }.map_err(told)?;
    // SAFETY: the log ends with a zero.
    let log = unsafe { CStr::from_ptr(log.as_ptr()) }.to_string_lossy().into_owned();
    if let Err(error) = compiled {
        return Err(Error::library(format!("kernels `{name}` do not compile for {arch} ({error:?})"), log));
    }
    let mut size_bytes = 0;
    // SAFETY: the program was compiled; the vector has the size that it tells.
    unsafe {
        sys::nvrtcGetCUBINSize(program.0, &raw mut size_bytes).result().map_err(told)?;
        let mut bytes = vec![0u8; size_bytes];
        sys::nvrtcGetCUBIN(program.0, bytes.as_mut_ptr().cast()).result().map_err(told)?;
        Ok(Image { bytes, log })
    }
}
