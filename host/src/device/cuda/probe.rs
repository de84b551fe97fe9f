//! Which GPUs there are, or why none can be used. Opens no context, so that
//! looking costs no memory of the device.

use std::fmt;
use std::panic::catch_unwind;
use std::sync::OnceLock;

use cudarc::driver::result::{self, DriverError, device};
use cudarc::driver::sys;

use super::libraries::{self, Library, Missing};

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// What its maker calls it.
    pub model: String,
    /// What its kernels are compiled for: 9 and 0 for `sm_90`.
    pub capability: (u32, u32),
    /// All its memory.
    pub memory_bytes: u64,
    /// The version of CUDA that its driver knows, 13000 for 13.0.
    pub driver_version: u32,
}

/// Why no GPU can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The driver cannot be used.
    Driver(Missing),
    /// The driver is there, a device is not.
    NoDevice,
    /// The driver does not start.
    Broken(String),
    /// There are GPUs, and libraries that cannot be used, at least one of each.
    Incomplete {
        /// The GPUs, by their makers' names.
        models: Vec<String>,
        /// The libraries.
        missing: Vec<Missing>,
    },
}

impl Absent {
    /// Whether there may be a GPU that whoever asks for the best device would rather have.
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Driver(missing) => matches!(missing, Missing::TooOld { .. }),
            Self::NoDevice => false,
            Self::Broken(_) | Self::Incomplete { .. } => true,
        }
    }

    /// The GPUs that are there all the same.
    pub fn models(&self) -> &[String] {
        match self {
            Self::Incomplete { models, .. } => models,
            _ => &[],
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(missing) => missing.fmt(f),
            Self::NoDevice => f.write_str(
                "the NVIDIA driver is installed but shows no GPU; look at `nvidia-smi` and $CUDA_VISIBLE_DEVICES",
            ),
            Self::Broken(reason) => f.write_str(reason),
            Self::Incomplete { missing, .. } => {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                f.write_str(&missing.join("; and "))
            }
        }
    }
}

/// The GPUs that can be used, at least one. The machine is looked at once, by the first
/// who asks; that is the answer for as long as this process lives.
pub fn probe() -> Result<Vec<Info>, Absent> {
    static FOUND: OnceLock<Result<Vec<Info>, Absent>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Result<Vec<Info>, Absent> {
    libraries::open(Library::Driver).map_err(|missing| Absent::Driver(missing.clone()))?;
    // Every function was looked up before; the driver is not trusted beyond that.
    let found = catch_unwind(infos).unwrap_or_else(|_| Err(Absent::Broken("the NVIDIA driver failed".to_owned())))?;
    let opened = [Library::Nvrtc, Library::Cublas].map(libraries::open);
    let missing: Vec<Missing> = opened.into_iter().filter_map(Result::err).cloned().collect();
    match missing.is_empty() {
        true => Ok(found),
        false => Err(Absent::Incomplete { models: found.into_iter().map(|info| info.model).collect(), missing }),
    }
}

/// All GPUs that the driver shows.
fn infos() -> Result<Vec<Info>, Absent> {
    let told = |error: DriverError| no_device(error);
    result::init().map_err(told)?;
    let n_devices = device::get_count().map_err(told)?;
    if n_devices < 1 {
        return Err(told(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)));
    }
    (0..n_devices).map(|ordinal| info(ordinal).map_err(told)).collect()
}

/// What the driver says about one.
fn info(ordinal: i32) -> Result<Info, DriverError> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    let device = device::get(ordinal)?;
    let mut driver_version = 0;
    // SAFETY: writes to the number it is given.
    unsafe { sys::cuDriverGetVersion(&raw mut driver_version) }.result()?;
    // SAFETY: the device was given by the driver.
    let (memory_bytes, major, minor) = unsafe {
        (device::total_mem(device)?, device::get_attribute(device, MAJOR)?, device::get_attribute(device, MINOR)?)
    };
    Ok(Info {
        ordinal: usize::try_from(ordinal).unwrap_or_default(),
        model: device::get_name(device)?,
        capability: (major.unsigned_abs(), minor.unsigned_abs()),
        memory_bytes: memory_bytes as u64,
        driver_version: driver_version.unsigned_abs(),
    })
}

fn no_device(error: DriverError) -> Absent {
    if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE {
        return Absent::NoDevice;
    }
    let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Absent::Broken(format!("the NVIDIA driver does not start: {name}; look at `nvidia-smi` and the system's log"))
}
