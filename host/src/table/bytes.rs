//! Bytes of an output column. They grow without ending the process where the
//! machine has no memory for them, and are aligned for every Arrow type.

use arrow::buffer::Buffer;

use crate::base::{Error, Result};

/// Bytes of one word.
const WORD_BYTES: usize = size_of::<i128>();

/// Bytes that are zero until they are written.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    words: Vec<i128>,
    length: usize,
}

impl Bytes {
    /// Makes room for `length` bytes in all.
    pub(super) fn reserve(&mut self, length: usize) -> Result<()> {
        reserve(&mut self.words, length.div_ceil(WORD_BYTES))
    }

    /// Sets the length; new bytes are zero. Memory is given back once it is more
    /// than half of what is held.
    pub(super) fn resize(&mut self, length: usize) {
        let kept = self.length.min(length);
        self.words.resize(length.div_ceil(WORD_BYTES), 0);
        self.length = length;
        // The rest of the last word may hold what was written before.
        if let Some(rest) = bytemuck::cast_slice_mut::<_, u8>(&mut self.words).get_mut(length..) {
            rest.fill(0);
        }
        if kept == length && self.words.capacity() / 2 > self.words.len() {
            self.words.shrink_to_fit();
        }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Bytes `[start, end)`.
    pub(super) fn get(&self, start: usize, end: usize) -> Option<&[u8]> {
        bytemuck::cast_slice(&self.words).get(..self.length)?.get(start..end)
    }

    /// Bytes `[start, end)`, to be overwritten.
    pub(super) fn get_mut(&mut self, start: usize, end: usize) -> Option<&mut [u8]> {
        bytemuck::cast_slice_mut(&mut self.words).get_mut(..self.length)?.get_mut(start..end)
    }

    /// Memory held.
    pub(super) fn held_bytes(&self) -> usize {
        self.words.capacity() * WORD_BYTES
    }

    /// As Arrow has it, without a copy.
    pub(super) fn into_buffer(self) -> Buffer {
        Buffer::from_vec(self.words).slice_with_length(0, self.length)
    }
}

/// Makes room for `length` elements in all, with some to spare as a vector grows.
pub(super) fn reserve<T>(vector: &mut Vec<T>, length: usize) -> Result<()> {
    let further = length.saturating_sub(vector.len());
    vector.try_reserve(further).or_else(|_| vector.try_reserve_exact(further)).map_err(|_| Error::Limit {
        limit: "memory of the machine",
        requested: (length as u64).saturating_mul(size_of::<T>() as u64),
        allowed: (vector.capacity() as u64).saturating_mul(size_of::<T>() as u64),
        unit: "bytes",
        hint: "it has no more to give; make fewer rows at a time".to_owned(),
    })
}
