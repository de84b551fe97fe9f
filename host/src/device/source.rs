//! Where the memory of blocks comes from: pages of the system, or a GPU.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use super::ALIGNMENT_BYTES;
use super::cuda::Cuda;
use crate::base::{Error, Result};

/// Blocks up to this size come from the allocator and are zeroed by writing to them.
const WRITTEN_BYTES: usize = 2 << 20;

/// Where memory comes from, and goes back to.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The machine's memory.
    Host,
    /// A GPU's.
    Cuda(Arc<Cuda>),
}

impl Source {
    /// The GPU, if it is one.
    pub(super) fn cuda(&self) -> Option<&Cuda> {
        match self {
            Self::Host => None,
            Self::Cuda(cuda) => Some(cuda),
        }
    }

    /// New memory of a size that is not 0: zeros of the host, anything of a GPU.
    pub(super) fn obtain(&self, size_bytes: usize) -> Result<NonNull<u8>> {
        match self {
            Self::Host => {
                let full = || Error::Limit {
                    limit: "device memory",
                    requested: size_bytes as u64,
                    allowed: 0,
                    unit: "bytes",
                    hint: "the machine has no memory left; free some or use smaller batches".to_owned(),
                };
                let layout = Layout::from_size_align(size_bytes, ALIGNMENT_BYTES).map_err(|_| full())?;
                obtain(layout).ok_or_else(full)
            }
            Self::Cuda(cuda) => {
                let address = cuda.run(|gpu| gpu.allocate(size_bytes))?;
                let start =
                    usize::try_from(address).ok().and_then(|at| NonNull::new(std::ptr::without_provenance_mut(at)));
                start.ok_or_else(|| Error::Internal(format!("{} gave no memory", cuda.name())))
            }
        }
    }

    /// Zeroes memory, on a GPU before all that is put on its stream from now on.
    ///
    /// # Safety
    /// Given by this source with this size, and nobody else uses it.
    pub(super) unsafe fn wipe(&self, start: NonNull<u8>, size_bytes: usize) -> Result<()> {
        match self {
            Self::Host => {
                // SAFETY: as the caller promises.
                unsafe { wipe(start, size_bytes) }
                Ok(())
            }
            Self::Cuda(cuda) => {
                let address = start.as_ptr().addr() as u64;
                cuda.run(|gpu| gpu.fill(address, 0, size_bytes))
            }
        }
    }

    /// Gives memory back. A GPU does so after all that uses it on its stream.
    ///
    /// # Safety
    /// Given by this source with this size, and nobody uses it any more.
    pub(super) unsafe fn give_back(&self, start: NonNull<u8>, size_bytes: usize) {
        match self {
            // SAFETY: as the caller promises.
            Self::Host => unsafe { give_back(start, size_bytes) },
            Self::Cuda(cuda) => {
                let address = start.as_ptr().addr() as u64;
                cuda.later(move |gpu| {
                    // A device that is lost has lost its memory.
                    // SAFETY: as the caller promises.
                    let _ = unsafe { gpu.free(address) };
                });
            }
        }
    }
}

/// Zeros of a layout whose size is not 0. Large blocks are pages of the system,
/// which are zero when they are touched: the allocator would write to all of an
/// aligned one at once, which takes longer than a kill may wait.
fn obtain(layout: Layout) -> Option<NonNull<u8>> {
    if layout.size() <= WRITTEN_BYTES {
        // SAFETY: the size is not 0, `Pool::take` rounds it up.
        return NonNull::new(unsafe { alloc_zeroed(layout) });
    }
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory without a file; pages are aligned more strictly than blocks.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), layout.size(), access, kind, -1, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

/// Returns what [`obtain`] gave for this size.
///
/// # Safety
/// Nobody uses it any more.
unsafe fn give_back(start: NonNull<u8>, size_bytes: usize) {
    if size_bytes <= WRITTEN_BYTES {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(start.as_ptr(), Layout::from_size_align_unchecked(size_bytes, ALIGNMENT_BYTES)) }
    } else {
        // SAFETY: mapped with this size.
        unsafe { libc::munmap(start.as_ptr().cast(), size_bytes) };
    }
}

/// Zeroes a block. The pages of a large one go back to the system instead, which
/// gives zeros for them as they are touched: writing all of it at once would take
/// longer than a kill may wait.
///
/// # Safety
/// The block has this size, and nobody else uses it.
unsafe fn wipe(start: NonNull<u8>, size_bytes: usize) {
    // SAFETY: sysconf only reads numbers of the system.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 12).max(1);
    let address = start.as_ptr() as usize;
    let before = address.next_multiple_of(page_bytes) - address;
    let whole = size_bytes.saturating_sub(before) / page_bytes * page_bytes;
    // SAFETY: whole pages inside the block, which is private memory without a file.
    let returned = size_bytes > WRITTEN_BYTES
        && unsafe { libc::madvise(start.as_ptr().add(before).cast(), whole, libc::MADV_DONTNEED) } == 0;
    let (before, after) = if returned { (before, before + whole) } else { (size_bytes, size_bytes) };
    // SAFETY: both parts lie inside the block.
    unsafe {
        std::ptr::write_bytes(start.as_ptr(), 0, before);
        std::ptr::write_bytes(start.as_ptr().add(after), 0, size_bytes - after);
    }
}
