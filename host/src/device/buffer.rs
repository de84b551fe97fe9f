//! Immutable views of device memory, and column buffers that grow under them.

use std::borrow::Cow;
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
        unsafe { write(&block, 0, bytes)? }
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

    /// A copy on the device of `pool`, where it is, made there.
    pub fn copy(&self, pool: &Pool) -> Result<Self> {
        let Some(cuda) = self.block.cuda() else { return Self::from_slice(pool, self.as_slice()) };
        let block = pool.take(self.len_bytes, Owner::WRITER)?;
        if !block.is_on(cuda) {
            return Self::from_slice(pool, &self.read()?);
        }
        let (from, to, len_bytes) = (address(self.as_ptr()), address(block.as_ptr()), self.len_bytes);
        cuda.run(|gpu| gpu.copy(from, to, len_bytes))?;
        Ok(Self { block, offset_bytes: 0, len_bytes })
    }

    /// The bytes on the host: those of a GPU are copied from there, after all that
    /// is on its stream.
    pub fn read(&self) -> Result<Cow<'_, [u8]>> {
        if self.block.cuda().is_none() {
            return Ok(Cow::Borrowed(self.as_slice()));
        }
        let mut bytes = vec![0; self.len_bytes];
        self.read_into(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// Copies the bytes to `target`, which is as long.
    pub fn read_into(&self, target: &mut [u8]) -> Result<()> {
        self.read_counted(target, &mut 0)
    }

    /// As [`Self::read_into`]. What came from a GPU is added to `moved_bytes`, also
    /// where the copy as a whole fails.
    pub fn read_counted(&self, target: &mut [u8], moved_bytes: &mut u64) -> Result<()> {
        if target.len() != self.len_bytes {
            let (len, room) = (self.len_bytes, target.len());
            return Err(Error::OutOfRange(format!("a buffer of {len} bytes does not fit {room}")));
        }
        match self.block.cuda() {
            None => target.copy_from_slice(self.as_slice()),
            Some(cuda) => {
                let from = address(self.as_ptr());
                cuda.run(|gpu| gpu.download_counted(from, target, moved_bytes))?;
            }
        }
        Ok(())
    }

    /// The block it is in.
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The bytes, where they are on the host; none of those on a GPU, see [`Self::read`].
    pub fn as_slice(&self) -> &[u8] {
        if self.block.cuda().is_some() {
            return &[];
        }
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

    /// The first byte; see [`Block::as_ptr`].
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // The offset lies inside the block.
        self.block.as_ptr().wrapping_add(self.offset_bytes)
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
        self.reserve(bytes.len())?;
        // SAFETY: `reserve` made room; no view reaches past `len_bytes` and this
        // is the only writer.
        unsafe { write(&self.block, self.len_bytes, bytes)? }
        self.len_bytes += bytes.len();
        Ok(())
    }

    /// Appends the bytes of a buffer, on the device where that is on the same.
    pub fn append_buffer(&mut self, source: &Buffer) -> Result<()> {
        let Some(cuda) = source.block.cuda() else { return self.append(source.as_slice()) };
        self.reserve(source.len())?;
        if !self.block.is_on(cuda) {
            return self.append(&source.read()?);
        }
        let (from, to) = (address(source.as_ptr()), address(self.block.as_ptr().wrapping_add(self.len_bytes)));
        cuda.run(|gpu| gpu.copy(from, to, source.len()))?;
        self.len_bytes += source.len();
        Ok(())
    }

    /// Overwrites bytes from `at` on with those of a buffer, on the device where that is
    /// on the same. Only for columns of which no view was handed out.
    pub fn overwrite(&mut self, at: usize, source: &Buffer) -> Result<()> {
        if at.checked_add(source.len()).is_none_or(|end| end > self.len_bytes) {
            let (asked, len) = (source.len(), self.len_bytes);
            return Err(Error::OutOfRange(format!("{asked} bytes from {at} on lie outside a column of {len} bytes")));
        }
        match source.block.cuda() {
            Some(cuda) if self.block.is_on(cuda) => {
                let (from, to) = (address(source.as_ptr()), address(self.block.as_ptr().wrapping_add(at)));
                cuda.run(|gpu| gpu.copy(from, to, source.len()))
            }
            // SAFETY: it fits, and nobody else has a view.
            _ => unsafe { write(&self.block, at, &source.read()?) },
        }
    }

    /// Forgets what comes after the first `len_bytes`. Only for columns of which no
    /// view was handed out.
    pub fn truncate(&mut self, len_bytes: usize) {
        self.len_bytes = self.len_bytes.min(len_bytes);
    }

    /// [`Error::DeviceLost`] when what was appended was lost with its device.
    pub fn check(&self) -> Result<()> {
        self.block.check()
    }

    /// Appends `count` bytes of value `byte`.
    pub fn append_filled(&mut self, byte: u8, count: usize) -> Result<()> {
        self.reserve(count)?;
        let target = self.block.as_ptr().wrapping_add(self.len_bytes);
        match self.block.cuda() {
            // SAFETY: as in `append`.
            None => unsafe { std::ptr::write_bytes(target, byte, count) },
            Some(cuda) => {
                let to = address(target);
                cuda.run(|gpu| gpu.fill(to, byte, count))?;
            }
        }
        self.len_bytes += count;
        Ok(())
    }

    /// What has been appended so far.
    pub fn view(&self) -> Buffer {
        Buffer { block: self.block.clone(), offset_bytes: 0, len_bytes: self.len_bytes }
    }

    /// Makes room for `additional` bytes.
    pub fn reserve(&mut self, additional: usize) -> Result<()> {
        let needed = self.len_bytes.saturating_add(additional);
        if needed > self.block.size_bytes() {
            let with_spare = needed.max(self.len_bytes.saturating_add(self.len_bytes / 2));
            let grown = match self.pool.take(with_spare, Owner::TABLES) {
                Err(Error::OutOfMemory { .. }) if needed < with_spare => self.pool.take(needed, Owner::TABLES)?,
                taken => taken?,
            };
            let (from, to, len_bytes) = (self.block.as_ptr(), grown.as_ptr(), self.len_bytes);
            match self.block.cuda() {
                // SAFETY: both are at least `len_bytes` long and do not overlap.
                None => unsafe { std::ptr::copy_nonoverlapping(from, to, len_bytes) },
                Some(cuda) if grown.is_on(cuda) => {
                    let (from, to) = (address(from), address(to));
                    cuda.run(|gpu| gpu.copy(from, to, len_bytes))?;
                }
                // The device was lost, and with it what was in the column.
                Some(cuda) => cuda.check()?,
            }
            self.block = grown;
        }
        Ok(())
    }
}

/// Writes `bytes` to a block from byte `at` on.
///
/// # Safety
/// They fit, and nobody reads or writes that part.
unsafe fn write(block: &Block, at: usize, bytes: &[u8]) -> Result<()> {
    let target = block.as_ptr().wrapping_add(at);
    match block.cuda() {
        // SAFETY: as the caller promises.
        None => unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) },
        Some(cuda) => {
            let to = address(target);
            cuda.run(|gpu| gpu.upload(bytes, to))?;
        }
    }
    Ok(())
}

/// Where that is on its GPU.
fn address(pointer: *mut u8) -> u64 {
    pointer.addr() as u64
}
