//! Pieces of a device's memory, and who may see what was left in them.

use std::ptr::NonNull;
use std::sync::Weak;

use super::Pool;
use super::cuda::Cuda;
use super::source::Source;

/// Every block starts at a multiple of this and its size is one.
pub const ALIGNMENT_BYTES: usize = 64;

/// A piece of memory, aligned and padded to [`ALIGNMENT_BYTES`].
///
/// Whoever writes through [`Block::as_ptr`] must know that nobody reads the
/// same bytes at that time; [`super::Buffer`] and the executors keep this.
pub struct Block {
    pub(super) start: NonNull<u8>,
    pub(super) size_bytes: usize,
    pub(super) owner: Owner,
    pub(super) source: Source,
    pub(super) pool: Weak<Pool>,
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
    pub(super) fn may_see(self, last: Self) -> bool {
        matches!(self, Self::WRITER | Self::TABLES) || self == last
    }
}

// SAFETY: a block owns plain bytes; who may touch them when is the users' contract above.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// The first byte. Of memory of a GPU it is the address there, at which the
    /// processor must not look.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Usable size, a multiple of [`ALIGNMENT_BYTES`].
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The GPU it is on, unless it is host memory.
    pub fn cuda(&self) -> Option<&Cuda> {
        self.source.cuda()
    }

    /// [`crate::base::Error::DeviceLost`] once the GPU that it is on was lost.
    pub fn check(&self) -> crate::base::Result<()> {
        self.cuda().map_or(Ok(()), Cuda::check)
    }

    /// Whether it is memory of just this GPU; after that was lost and opened again
    /// what was there before is not.
    pub fn is_on(&self, cuda: &Cuda) -> bool {
        self.cuda().is_some_and(|own| std::ptr::eq(own, cuda))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.pool.upgrade().is_some_and(|pool| pool.keep(self)) {
            return;
        }
        // SAFETY: given by this source with this size, and not kept by the pool.
        unsafe { self.source.give_back(self.start, self.size_bytes) }
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Block({} bytes)", self.size_bytes)
    }
}
