//! Aligned memory and the pool that keeps freed pieces for the next taker, so
//! that steps of a loop do not fault fresh pages in again and again. What one
//! instance left in a piece no other can see: it is zeroed on the way.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::base::{Error, Result};

/// Every block starts at a multiple of this and its size is one.
pub const ALIGNMENT_BYTES: usize = 64;

/// Freed memory that a pool keeps at most.
const KEPT_BYTES: usize = 256 << 20;

/// Blocks up to this size come from the allocator and are zeroed by writing to them.
const WRITTEN_BYTES: usize = 2 << 20;

/// How many kept blocks of a size are looked through for one of the same owner.
const LOOKED_AT: usize = 16;

/// Larger blocks go back to the system at once.
const KEPT_BLOCK_BYTES: usize = 64 << 20;

/// A piece of memory, aligned and padded to [`ALIGNMENT_BYTES`].
///
/// Whoever writes through [`Block::as_ptr`] must know that nobody reads the
/// same bytes at that time; [`super::Buffer`] and the executor keep this.
pub struct Block {
    start: NonNull<u8>,
    size_bytes: usize,
    owner: Owner,
    pool: Weak<Pool>,
}

/// Who may see what was left in a block: one instance, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Writer,
    Tables,
    Instance(u64),
}

impl Owner {
    /// Who overwrites all of a block before anybody reads it.
    pub const WRITER: Self = Self(Kind::Writer);

    /// The columns of tables, which do the same.
    pub const TABLES: Self = Self(Kind::Tables);

    /// An instance; no two have the same number.
    pub const fn instance(number: u64) -> Self {
        Self(Kind::Instance(number))
    }

    /// Whether this taker may see what `last` left.
    fn may_see(self, last: Self) -> bool {
        matches!(self, Self::WRITER | Self::TABLES) || self == last
    }
}

// SAFETY: a block owns plain bytes; who may touch them when is the users' contract above.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// The first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Usable size, a multiple of [`ALIGNMENT_BYTES`].
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// A block of zeros straight from the system.
    fn from_system(size_bytes: usize, owner: Owner, pool: Weak<Pool>) -> Result<Self> {
        let full = || Error::Limit {
            limit: "device memory",
            requested: size_bytes as u64,
            allowed: 0,
            unit: "bytes",
            hint: "the machine has no memory left; free some or use smaller batches".to_owned(),
        };
        let layout = Layout::from_size_align(size_bytes, ALIGNMENT_BYTES).map_err(|_| full())?;
        let start = obtain(layout).ok_or_else(full)?;
        Ok(Self { start, size_bytes, owner, pool })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.pool.upgrade().is_some_and(|pool| pool.keep(self)) {
            return;
        }
        // SAFETY: made by `from_system` with this size, and not kept by the pool.
        unsafe { give_back(self.start, self.size_bytes) }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} bytes)", self.size_bytes)
    }
}

/// Freed blocks by size.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<Free>,
    of_tables_bytes: AtomicU64,
    of_programs_bytes: AtomicU64,
    this: Weak<Pool>,
}

/// What a pool keeps.
#[derive(Debug, Default)]
struct Free {
    by_size: HashMap<usize, Vec<Kept>>,
    kept_bytes: usize,
}

/// The start of a kept block, which only its new owner will touch, and its last owner.
#[derive(Debug)]
struct Kept(NonNull<u8>, Owner);

// SAFETY: the pointer is the only one to memory that nobody uses.
unsafe impl Send for Kept {}

impl Pool {
    /// An empty pool.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            free: Mutex::default(),
            of_tables_bytes: AtomicU64::new(0),
            of_programs_bytes: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    /// A block of at least `size_bytes`. It holds zeros, or what `owner` itself
    /// left in it; arbitrary but initialised bytes for [`Owner::WRITER`].
    pub fn take(&self, size_bytes: usize, owner: Owner) -> Result<Arc<Block>> {
        let size_bytes = size_class(size_bytes);
        let Some(Kept(start, last)) = self.reuse(size_bytes, owner) else {
            // Zeroed, because reading uninitialised memory is undefined and fresh
            // pages of the system are zero anyway.
            return self.take_zeroed(size_bytes, owner);
        };
        if !owner.may_see(last) {
            // SAFETY: the block has this size and no other owner.
            unsafe { wipe(start, size_bytes) }
        }
        self.used(owner).fetch_add(size_bytes as u64, Ordering::Relaxed);
        Ok(Arc::new(Block { start, size_bytes, owner, pool: self.this.clone() }))
    }

    /// A block of zeros.
    pub fn take_zeroed(&self, size_bytes: usize, owner: Owner) -> Result<Arc<Block>> {
        let block = Block::from_system(size_class(size_bytes), owner, self.this.clone())?;
        self.used(owner).fetch_add(block.size_bytes as u64, Ordering::Relaxed);
        Ok(Arc::new(block))
    }

    /// Bytes of blocks that columns of tables hold.
    pub fn tables_bytes(&self) -> u64 {
        self.of_tables_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of blocks that programs hold: tensors, variables, models.
    pub fn programs_bytes(&self) -> u64 {
        self.of_programs_bytes.load(Ordering::Relaxed)
    }

    /// Where blocks of `owner` are counted.
    fn used(&self, owner: Owner) -> &AtomicU64 {
        match owner {
            Owner::TABLES => &self.of_tables_bytes,
            _ => &self.of_programs_bytes,
        }
    }

    /// A kept block of this size, rather one that `owner` has left.
    fn reuse(&self, size_bytes: usize, owner: Owner) -> Option<Kept> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = free.by_size.get_mut(&size_bytes)?;
        let own = kept.iter().rev().take(LOOKED_AT).position(|Kept(_, last)| *last == owner);
        let found = match own {
            Some(from_end) => kept.swap_remove(kept.len() - 1 - from_end),
            None => kept.pop()?,
        };
        free.kept_bytes -= size_bytes;
        Some(found)
    }

    /// Bytes of freed blocks kept for the next taker.
    pub fn kept_bytes(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).kept_bytes
    }

    /// Keeps a block that is freed, if there is room.
    fn keep(&self, block: &Block) -> bool {
        let Block { start, size_bytes, owner, .. } = *block;
        self.used(owner).fetch_sub(size_bytes as u64, Ordering::Relaxed);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = size_bytes <= KEPT_BLOCK_BYTES && free.kept_bytes + size_bytes <= KEPT_BYTES;
        if fits {
            free.kept_bytes += size_bytes;
            free.by_size.entry(size_bytes).or_default().push(Kept(start, owner));
        }
        fits
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let free = self.free.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (size_bytes, kept) in free.by_size.drain() {
            for Kept(start, _) in kept {
                // SAFETY: kept blocks were made with this size and have no owner.
                unsafe { give_back(start, size_bytes) }
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

/// Sizes are rounded up to an eighth of their power of two, so that few
/// different ones occur and at most 12.5 % is lost.
fn size_class(size_bytes: usize) -> usize {
    let size_bytes = size_bytes.max(1);
    let step = (size_bytes.checked_next_power_of_two().unwrap_or(usize::MAX / 2) / 8).max(ALIGNMENT_BYTES);
    size_bytes.checked_next_multiple_of(step).unwrap_or(isize::MAX as usize)
}
