//! One device: where columns and tensors live, and what a run may use of it.
//!
//! [`Block`]s are aligned pieces of memory that a [`Pool`] hands out and takes
//! back; [`Buffer`]s are immutable views of them; a [`ColumnBuffer`] grows past
//! the end of the views that others hold. A [`Quota`] counts what a run holds
//! and a [`KillSwitch`] ends it. Nothing here knows tables or tensors.
//! [`cuda`] finds the GPUs; [`list`] shows all devices, and a [`Choice`] picks one.

mod block;
mod buffer;
mod choice;
pub mod cuda;
mod idle;
mod kill;
mod list;
mod pool;
mod priority;
mod quota;
mod source;

use std::sync::Arc;

use crate::base::Result;

pub use block::{ALIGNMENT_BYTES, Block, Owner};
pub use buffer::{Buffer, ColumnBuffer};
pub use choice::Choice;
pub use idle::{Idle, tick};
pub use kill::{KillSwitch, Subscription, coarse_ms};
pub use list::{Listed, Use, list};
pub use pool::Pool;
pub use priority::lower_priority;
pub use quota::{Charge, Prepared, Quota};

/// A description of a device, as shown in `quern.devices` and in receipts.
#[derive(Clone, Debug)]
pub struct Device {
    /// `cpu`, `cuda:0`, ….
    pub name: String,
    /// Threads that compute.
    pub cores: usize,
    /// Memory that columns and tensors may use together.
    pub memory_bytes: u64,
    /// Where its memory comes from.
    pub pool: Arc<Pool>,
}

impl Device {
    /// The processor: `cores` threads and a memory budget.
    pub fn cpu(cores: usize, memory_bytes: u64) -> Self {
        Self { name: "cpu".to_owned(), cores: cores.max(1), memory_bytes, pool: Pool::new() }
    }

    /// A GPU, `cuda:N`, with nine tenths of its memory; `cores` threads do what is
    /// done on the host. It is opened when something is first put there, so that
    /// commands that use no device do not wait for it.
    pub fn cuda(ordinal: usize, cores: usize) -> Result<Self> {
        let memory_bytes = cuda::Cuda::find(ordinal)?.memory_bytes / 10 * 9;
        Self::cuda_with(ordinal, cores, memory_bytes)
    }

    /// The same with a memory budget.
    pub fn cuda_with(ordinal: usize, cores: usize, memory_bytes: u64) -> Result<Self> {
        cuda::Cuda::find(ordinal)?;
        let pool = Pool::of_gpu(ordinal, memory_bytes);
        Ok(Self { name: format!("cuda:{ordinal}"), cores: cores.max(1), memory_bytes, pool })
    }

    /// Whether its memory is the machine's.
    pub fn is_host(&self) -> bool {
        self.pool.is_host()
    }

    /// The processor with all cores this process may use and half of the
    /// machine's memory.
    pub fn cpu_of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::cpu(cores, machine_memory_bytes() / 2)
    }
}

/// Memory of the machine, or 8 GiB where the system does not say.
fn machine_memory_bytes() -> u64 {
    // SAFETY: sysconf only reads numbers of the system.
    let (pages, page_bytes) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    match (u64::try_from(pages), u64::try_from(page_bytes)) {
        (Ok(pages), Ok(page_bytes)) if pages > 0 => pages.saturating_mul(page_bytes),
        _ => 8 << 30,
    }
}
