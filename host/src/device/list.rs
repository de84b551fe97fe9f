//! The devices of a machine as users see them, in `quern devices` and in the
//! table `quern.devices`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Device, cuda};

/// One device, or why a kind of device is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// `cpu`, `cuda:0`, …; `cuda` where there is none.
    pub name: String,
    /// `cpu` or `cuda`.
    pub kind: String,
    /// Whether it is used.
    pub state: Use,
    /// What its maker calls it.
    pub model: Option<String>,
    /// Threads that compute.
    pub cores: Option<u64>,
    /// Its memory; of the processor what columns and tensors may use together.
    pub memory_bytes: Option<u64>,
    /// Memory that columns of tables hold.
    pub tables_bytes: Option<u64>,
    /// Memory that programs hold: tensors, variables, models.
    pub programs_bytes: Option<u64>,
    /// Memory that neither holds.
    pub free_bytes: Option<u64>,
    /// Why it is absent.
    pub reason: Option<String>,
}

/// Whether a device is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// The folder's tables and tensors are on it.
    Used,
    /// It could be used.
    Present,
    /// There is none.
    Absent,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "used",
            Self::Present => "present",
            Self::Absent => "absent",
        })
    }
}

/// All devices of this machine, with the one that a folder uses.
pub fn list(used: Option<&Device>) -> Vec<Listed> {
    let processor = match used {
        Some(device) if device.name == "cpu" => Listed::used(device),
        _ => Listed { state: Use::Present, ..Listed::used(&Device::cpu_of_this_machine()) },
    };
    let mut listed = vec![processor];
    match cuda::probe() {
        Ok(gpus) => listed.extend(gpus.into_iter().map(|gpu| Listed::gpu(gpu, used))),
        Err(absent) => {
            let model = Some(absent.models().join(", ")).filter(|models| !models.is_empty());
            let reason = Some(absent.to_string());
            listed.push(Listed { model, reason, ..Listed::new("cuda".to_owned(), "cuda", Use::Absent) });
        }
    }
    listed
}

impl Listed {
    fn new(name: String, kind: &str, state: Use) -> Self {
        Self {
            name,
            kind: kind.to_owned(),
            state,
            model: None,
            cores: None,
            memory_bytes: None,
            tables_bytes: None,
            programs_bytes: None,
            free_bytes: None,
            reason: None,
        }
    }

    fn used(device: &Device) -> Self {
        let (tables, programs) = (device.pool.tables_bytes(), device.pool.programs_bytes());
        Self {
            model: processor_model(),
            cores: Some(device.cores as u64),
            memory_bytes: Some(device.memory_bytes),
            tables_bytes: Some(tables),
            programs_bytes: Some(programs),
            free_bytes: Some(device.memory_bytes.saturating_sub(tables.saturating_add(programs))),
            ..Self::new(device.name.clone(), "cpu", Use::Used)
        }
    }

    fn gpu(gpu: cuda::Info, used: Option<&Device>) -> Self {
        let listed = Self {
            model: Some(gpu.model),
            memory_bytes: Some(gpu.memory_bytes),
            ..Self::new(format!("cuda:{}", gpu.ordinal), "cuda", Use::Present)
        };
        let Some(device) = used.filter(|device| device.name == listed.name) else { return listed };
        // What is free is what other processes have left, too; unknown of one that is not open.
        let free = device.pool.opened().and_then(|cuda| cuda.run(|gpu| gpu.free_bytes()).ok());
        Self {
            state: Use::Used,
            tables_bytes: Some(device.pool.tables_bytes()),
            programs_bytes: Some(device.pool.programs_bytes()),
            free_bytes: free,
            ..listed
        }
    }
}

/// What the maker calls the processor, where the system says.
fn processor_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
