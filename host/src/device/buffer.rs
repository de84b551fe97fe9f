//! Immutable views of device memory, and column buffers that grow under them.

use std::sync::Arc;

use super::{Block, Owner, Pool};
use crate::base::{Error, Result};

/// A range of bytes that never changes while the view lives. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Buffer {
    block: Arc<Block>,
    offset_bytes: usize,
    len_bytes: usize,
}

impl Buffer {
    /// A copy of `bytes`.
    pub fn from_slice(pool: &Pool, bytes: &[u8]) -> Result<Self> {
        let block = pool.take(bytes.len(), Owner::WRITER)?;
        // SAFETY: the block is new, at least as long, and nobody else holds it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), block.as_ptr(), bytes.len()) }
        Ok(Self { block, offset_bytes: 0, len_bytes: bytes.len() })
    }

    /// The first `len_bytes` of a block that nobody will write to any more
    /// while this view lives.
    pub(crate) fn of_block(block: Arc<Block>, len_bytes: usize) -> Self {
        Self { len_bytes: len_bytes.min(block.size_bytes()), block, offset_bytes: 0 }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len_bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: offset and length were checked against the block, whose bytes
        // are initialised and, in this range, not written while views live.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len_bytes) }
    }

    /// The part `[start, start + len)` in bytes, without a copy.
    pub fn slice(&self, start: usize, len: usize) -> Result<Self> {
        if start.checked_add(len).is_none_or(|end| end > self.len_bytes) {
            return Err(Error::OutOfRange(format!(
                "bytes {start} to {start} + {len} lie outside a buffer of {} bytes",
                self.len_bytes
            )));
        }
        Ok(Self { block: self.block.clone(), offset_bytes: self.offset_bytes + start, len_bytes: len })
    }

    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // SAFETY: the offset lies inside the block.
        unsafe { self.block.as_ptr().add(self.offset_bytes) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// A column's memory on the device. Appending writes past the end of every view
/// handed out before, so a snapshot is a prefix that stays valid and unchanged.
#[derive(Debug)]
pub struct ColumnBuffer {
    pool: Arc<Pool>,
    block: Arc<Block>,
    len_bytes: usize,
}

impl ColumnBuffer {
    /// An empty buffer with room for `capacity_bytes`.
    pub fn new(pool: &Arc<Pool>, capacity_bytes: usize) -> Result<Self> {
        Ok(Self { pool: pool.clone(), block: pool.take(capacity_bytes, Owner::TABLES)?, len_bytes: 0 })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len_bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// Bytes it holds of the device, used or not.
    pub fn capacity_bytes(&self) -> usize {
        self.block.size_bytes()
    }

    /// Appends `bytes`; grows by half where there is no room, and then views
    /// handed out before keep the old memory.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let target = self.reserve(bytes.len())?;
        // SAFETY: `reserve` made room; no view reaches past `len_bytes` and this
        // is the only writer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) }
        self.len_bytes += bytes.len();
        Ok(())
    }

    /// Appends `count` bytes of value `byte`.
    pub fn append_filled(&mut self, byte: u8, count: usize) -> Result<()> {
        let target = self.reserve(count)?;
        // SAFETY: as in `append`.
        unsafe { std::ptr::write_bytes(target, byte, count) }
        self.len_bytes += count;
        Ok(())
    }

    /// What has been appended so far.
    pub fn view(&self) -> Buffer {
        Buffer { block: self.block.clone(), offset_bytes: 0, len_bytes: self.len_bytes }
    }

    /// Makes room for `additional` bytes and returns where they go.
    fn reserve(&mut self, additional: usize) -> Result<*mut u8> {
        let needed = self.len_bytes.saturating_add(additional);
        if needed > self.block.size_bytes() {
            let grown = self.pool.take(needed.max(self.len_bytes.saturating_add(self.len_bytes / 2)), Owner::TABLES)?;
            // SAFETY: both are at least `len_bytes` long and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(self.block.as_ptr(), grown.as_ptr(), self.len_bytes) }
            self.block = grown;
        }
        // SAFETY: the block is at least `needed` long.
        Ok(unsafe { self.block.as_ptr().add(self.len_bytes) })
    }
}
