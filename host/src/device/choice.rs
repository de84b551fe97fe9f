//! Which device is asked for: the processor, a GPU by its number, or the best
//! that is present. What cannot be had is an error, never another device.

use std::fmt;
use std::str::FromStr;

use super::{Device, cuda};
use crate::base::{Error, Result};

/// A device by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// `cpu`.
    Cpu,
    /// `cuda:N`.
    Cuda(usize),
    /// `best`: the GPU with the most memory; the processor where there is none.
    #[default]
    Best,
}

impl Choice {
    /// The device, with `cores` threads; all that this process may use where absent.
    pub fn device(self, cores: Option<usize>) -> Result<Device> {
        let processor = Device::cpu_of_this_machine();
        let cores = cores.unwrap_or(processor.cores);
        match self.resolved() {
            Self::Cuda(ordinal) => Device::cuda(ordinal, cores),
            Self::Cpu | Self::Best => Ok(Device::cpu(cores, processor.memory_bytes)),
        }
    }

    /// The device that is best, where that was asked for.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Best => {
                let gpus = cuda::probe().unwrap_or_default();
                gpus.iter().max_by_key(|gpu| rank(gpu)).map_or(Self::Cpu, |gpu| Self::Cuda(gpu.ordinal))
            }
            named => named,
        }
    }

    /// Why a GPU that may be there is not used, where the best device was asked for and
    /// it would be that.
    pub fn regret(self) -> Option<String> {
        let absent = cuda::probe().err().filter(|absent| self == Self::Best && absent.is_fault())?;
        let gpu = match absent.models() {
            [] => "a GPU".to_owned(),
            models => models.join(", "),
        };
        Some(format!("the processor is used and not {gpu}: {absent}; with `--device cpu` this is not said"))
    }

    /// Whether the device of this name is what was asked for.
    pub fn allows(self, device: &str) -> bool {
        self == Self::Best || self.to_string() == device
    }
}

/// The most memory, then the first.
fn rank(gpu: &cuda::Info) -> (u64, usize) {
    (gpu.memory_bytes, usize::MAX - gpu.ordinal)
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Best => f.write_str("best"),
        }
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (text, text.strip_prefix("cuda:").and_then(number)) {
            ("cpu", _) => Ok(Self::Cpu),
            ("best", _) => Ok(Self::Best),
            (_, Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            _ => Err(Error::Invalid(format!(
                "no device is called `{text}`; ask for cpu, cuda:0 (or another number) or best"
            ))),
        }
    }
}
