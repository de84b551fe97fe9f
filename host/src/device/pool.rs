//! The memory of a device: the pool keeps freed blocks for the next taker, so that
//! steps of a loop do not fault fresh pages in, or make a GPU wait, again and again.
//! What one instance left in a block no other can see: it is zeroed on the way.
//! Memory of a GPU that nobody took for a while goes back to it.
//!
//! A GPU that was lost is opened again by the first taker after that. Blocks of the
//! lost one stay what they are, and whoever uses them gets its error.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::cuda::Cuda;
use super::idle::{Keepers, Shortage};
use super::source::Source;
use super::{ALIGNMENT_BYTES, Block, Idle, Owner};
use crate::base::{Error, Result};

/// Freed host memory that a pool keeps at most.
const KEPT_BYTES: usize = 256 << 20;

/// Larger blocks of the host go back to the system at once.
const KEPT_BLOCK_BYTES: usize = 64 << 20;

/// How many kept blocks of a size are looked through for one of the same owner.
const LOOKED_AT: usize = 16;

/// What a block shall hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contents {
    Zeros,
    /// Zeros, or what its owner left.
    Own,
    Any,
}

/// What was in a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// It is wiped.
    Wiped,
    /// It is left there.
    Left,
}

/// How often those that can give memory up are asked for one block.
const REQUESTS: usize = 8;

/// For how long freed memory of a GPU is kept when nobody takes any.
const KEPT_TIME: Duration = Duration::from_secs(5);

/// Time between two looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Freed blocks by size.
pub struct Pool {
    place: Place,
    free: Mutex<Free>,
    /// Asked before a GPU is called full.
    keepers: Keepers,
    /// Whether a thread waits to give kept blocks back.
    is_watched: AtomicBool,
    of_tables_bytes: AtomicU64,
    of_programs_bytes: AtomicU64,
    this: Weak<Pool>,
}

/// Whose memory it is.
#[derive(Debug)]
enum Place {
    Host,
    Gpu {
        ordinal: usize,
        allowed_bytes: u64,
        /// Opened by the first taker, and again when the device was lost.
        open: Mutex<Option<Arc<Cuda>>>,
    },
}

/// What a pool keeps.
#[derive(Debug, Default)]
struct Free {
    by_size: HashMap<usize, Vec<Kept>>,
    kept_bytes: usize,
    /// When a block was last kept or taken.
    last_used: Option<Instant>,
}

/// The start of a kept block, which only its new owner will touch, and its last owner.
#[derive(Debug)]
struct Kept {
    start: NonNull<u8>,
    last: Owner,
    source: Source,
}

// SAFETY: the pointer is the only one to memory that nobody uses.
unsafe impl Send for Kept {}

impl Pool {
    /// An empty pool of the host's memory.
    pub fn new() -> Arc<Self> {
        Self::of(Place::Host)
    }

    /// An empty pool of a GPU's memory, of which blocks may take `allowed_bytes`.
    pub fn of_gpu(ordinal: usize, allowed_bytes: u64) -> Arc<Self> {
        Self::of(Place::Gpu { ordinal, allowed_bytes, open: Mutex::default() })
    }

    /// Whether it is the host's memory.
    pub fn is_host(&self) -> bool {
        matches!(self.place, Place::Host)
    }

    /// The GPU if it is open and was not lost.
    pub fn opened(&self) -> Option<Arc<Cuda>> {
        let Place::Gpu { open, .. } = &self.place else { return None };
        let open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().filter(|cuda| cuda.check().is_ok()).cloned()
    }

    fn of(place: Place) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            place,
            free: Mutex::default(),
            keepers: Keepers::default(),
            is_watched: AtomicBool::new(false),
            of_tables_bytes: AtomicU64::new(0),
            of_programs_bytes: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    /// The GPU, opened if it is not or was lost; none for the host.
    pub fn cuda(&self) -> Result<Option<Arc<Cuda>>> {
        match self.source()? {
            Source::Host => Ok(None),
            Source::Cuda(cuda) => Ok(Some(cuda)),
        }
    }

    /// A block of at least `size_bytes`. It holds zeros, or what `owner` itself
    /// left in it; anything for [`Owner::WRITER`], of the host initialised bytes.
    pub fn take(&self, size_bytes: usize, owner: Owner) -> Result<Arc<Block>> {
        let contents = if owner.may_see(Owner::WRITER) { Contents::Any } else { Contents::Own };
        self.take_with(contents, size_class(size_bytes), owner)
    }

    /// A block of zeros.
    pub fn take_zeroed(&self, size_bytes: usize, owner: Owner) -> Result<Arc<Block>> {
        self.take_with(Contents::Zeros, size_class(size_bytes), owner)
    }

    /// A kept block, else a new one.
    fn take_with(&self, contents: Contents, size_bytes: usize, owner: Owner) -> Result<Arc<Block>> {
        let source = self.source()?;
        let Some(kept) = self.reuse(size_bytes, owner) else {
            return self.fresh(size_bytes, owner, source, contents);
        };
        let before = match contents {
            Contents::Zeros => Before::Wiped,
            Contents::Own if !owner.may_see(kept.last) => Before::Wiped,
            Contents::Own | Contents::Any => Before::Left,
        };
        self.block(kept.start, size_bytes, owner, (kept.source, before))
    }

    /// Memory that was not kept. The host's holds zeros.
    fn fresh(&self, size_bytes: usize, owner: Owner, source: Source, contents: Contents) -> Result<Arc<Block>> {
        let before = match (contents, &source) {
            (Contents::Any, _) | (_, Source::Host) => Before::Left,
            (Contents::Zeros | Contents::Own, Source::Cuda(_)) => Before::Wiped,
        };
        let start = match &source {
            Source::Host => source.obtain(size_bytes)?,
            Source::Cuda(cuda) => self.obtain_or_reclaim(size_bytes, cuda, &source)?,
        };
        self.block(start, size_bytes, owner, (source, before))
    }

    /// A block that is counted, and zeroed where that is wanted.
    fn block(
        &self,
        start: NonNull<u8>,
        size_bytes: usize,
        owner: Owner,
        (source, before): (Source, Before),
    ) -> Result<Arc<Block>> {
        self.used(owner).fetch_add(size_bytes as u64, Ordering::Relaxed);
        if before == Before::Wiped {
            // SAFETY: the memory has this size and no owner.
            unsafe { source.wipe(start, size_bytes) }.inspect_err(|_| {
                // Nobody is given what could not be wiped.
                self.used(owner).fetch_sub(size_bytes as u64, Ordering::Relaxed);
                // SAFETY: as above.
                unsafe { source.give_back(start, size_bytes) }
            })?;
        }
        Ok(Arc::new(Block { start, size_bytes, owner, source, pool: self.this.clone() }))
    }

    /// From now on `idle` is asked before a GPU is called full, as long as it lives.
    pub fn on_shortage(&self, idle: Weak<dyn Idle>) {
        self.keepers.add(idle);
    }

    /// Memory of a GPU; what others can give up makes room.
    fn obtain_or_reclaim(&self, size_bytes: usize, cuda: &Cuda, source: &Source) -> Result<NonNull<u8>> {
        for _ in 0..REQUESTS {
            match self.obtain_within(size_bytes, cuda, source) {
                Err(Error::OutOfMemory { .. }) => {}
                answer => return answer,
            }
            let keepers = self.keepers.living();
            let idle_bytes = keepers.idle_bytes();
            let short = |free_bytes| Shortage { wanted_bytes: size_bytes as u64, free_bytes };
            match self.obtain_within(size_bytes, cuda, source) {
                Err(Error::OutOfMemory { free, .. }) if keepers.reclaim(&short(free), idle_bytes) => {}
                answer => return answer,
            }
        }
        self.obtain_within(size_bytes, cuda, source)
    }

    /// Gives `bytes` of a GPU back to it, or as many as are kept and can leave, for those
    /// who take memory past the pool; whether there were any.
    pub fn spare(&self, bytes: u64) -> bool {
        let free_bytes = self.kept_bytes() as u64;
        if free_bytes < bytes {
            let keepers = self.keepers.living();
            let idle_bytes = keepers.idle_bytes();
            let wanted_bytes = bytes.min(free_bytes.saturating_add(idle_bytes));
            keepers.reclaim(&Shortage { wanted_bytes, free_bytes }, idle_bytes);
        }
        let spared = self.kept_bytes() > 0;
        self.empty();
        spared
    }

    /// Memory of a GPU within what is allowed; kept blocks go back to make room.
    fn obtain_within(&self, size_bytes: usize, cuda: &Cuda, source: &Source) -> Result<NonNull<u8>> {
        let allowed = match &self.place {
            Place::Host => u64::MAX,
            Place::Gpu { allowed_bytes, .. } => *allowed_bytes,
        };
        let in_use = || self.tables_bytes().saturating_add(self.programs_bytes());
        let asked = size_bytes as u64;
        if in_use().saturating_add(self.kept_bytes() as u64).saturating_add(asked) > allowed {
            self.empty();
        }
        if in_use().saturating_add(asked) > allowed {
            let free = allowed.saturating_sub(in_use());
            return Err(Error::OutOfMemory { device: cuda.name().to_owned(), requested: asked, allowed, free });
        }
        match source.obtain(size_bytes) {
            Err(Error::OutOfMemory { .. }) if self.kept_bytes() > 0 => {
                self.empty();
                source.obtain(size_bytes)
            }
            answer => answer,
        }
    }

    /// Where memory comes from now.
    fn source(&self) -> Result<Source> {
        let Place::Gpu { ordinal, open, .. } = &self.place else { return Ok(Source::Host) };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cuda) = open.as_ref().filter(|cuda| cuda.check().is_ok()) {
            return Ok(Source::Cuda(Arc::clone(cuda)));
        }
        *open = None;
        self.empty();
        Ok(Source::Cuda(Arc::clone(open.insert(Cuda::open(*ordinal)?))))
    }

    /// A kept block of this size, rather one that `owner` has left.
    fn reuse(&self, size_bytes: usize, owner: Owner) -> Option<Kept> {
        let mut free = self.free();
        let kept = free.by_size.get_mut(&size_bytes)?;
        let own = kept.iter().rev().take(LOOKED_AT).position(|kept| kept.last == owner);
        let found = match own {
            Some(from_end) => kept.swap_remove(kept.len() - 1 - from_end),
            None => kept.pop()?,
        };
        free.kept_bytes -= size_bytes;
        free.last_used = Some(Instant::now());
        Some(found)
    }

    /// Bytes of freed blocks kept for the next taker.
    pub fn kept_bytes(&self) -> usize {
        self.free().kept_bytes
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

    /// Keeps a block that is freed, if there is room.
    pub(super) fn keep(&self, block: &Block) -> bool {
        let Block { start, size_bytes, owner, ref source, .. } = *block;
        self.used(owner).fetch_sub(size_bytes as u64, Ordering::Relaxed);
        let mut free = self.free();
        let fits = match source {
            Source::Host => size_bytes <= KEPT_BLOCK_BYTES && free.kept_bytes + size_bytes <= KEPT_BYTES,
            // What is kept counts as taken; of a lost device nothing is.
            Source::Cuda(cuda) => cuda.check().is_ok(),
        };
        if fits {
            free.kept_bytes += size_bytes;
            free.by_size.entry(size_bytes).or_default().push(Kept { start, last: owner, source: source.clone() });
            free.last_used = Some(Instant::now());
        }
        drop(free);
        if fits && !self.is_host() && !self.is_watched.swap(true, Ordering::AcqRel) {
            self.watch();
        }
        fits
    }

    /// Gives kept blocks of a GPU back, where others can have them, once nobody took
    /// or freed any for a while.
    fn watch(&self) {
        let this = self.this.clone();
        let watch = move || {
            loop {
                std::thread::sleep(LOOK_EVERY);
                let Some(pool) = this.upgrade() else { return };
                let last_used = pool.free().last_used;
                if last_used.is_none_or(|at| at.elapsed() >= KEPT_TIME) {
                    pool.is_watched.store(false, Ordering::Release);
                    pool.empty();
                    return;
                }
            }
        };
        if std::thread::Builder::new().name("quern-trim".to_owned()).spawn(watch).is_err() {
            // The next block that is freed asks for a thread again.
            self.is_watched.store(false, Ordering::Release);
        }
    }

    /// Gives all kept blocks back.
    fn empty(&self) {
        let kept = std::mem::take(&mut *self.free());
        kept.give_back();
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn give_back(self) {
        for (size_bytes, kept) in self.by_size {
            for Kept { start, source, .. } in kept {
                // SAFETY: kept blocks have this size and no owner.
                unsafe { source.give_back(start, size_bytes) }
            }
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.empty();
    }
}

/// Sizes are rounded up to an eighth of their power of two, so that few
/// different ones occur and at most 12.5 % is lost.
fn size_class(size_bytes: usize) -> usize {
    let size_bytes = size_bytes.max(1);
    let step = (size_bytes.checked_next_power_of_two().unwrap_or(usize::MAX / 2) / 8).max(ALIGNMENT_BYTES);
    size_bytes.checked_next_multiple_of(step).unwrap_or(isize::MAX as usize)
}
