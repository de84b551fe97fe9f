//! A column's rows on a device: an immutable prefix of a buffer that may grow.

use super::home::Home;
use crate::base::{ColumnType, Error, Result};
use crate::device::{Buffer, KillSwitch};

/// Bytes, or rows, that are copied between two looks at the kill switch.
const PIECE_BYTES: usize = 4 << 20;

/// All rows of one column of a view.
#[derive(Clone, Debug)]
pub struct DeviceColumn {
    pub(super) column_type: ColumnType,
    pub(super) rows: u64,
    pub(super) null_count: u64,
    pub(super) values: Buffer,
    pub(super) offsets: Option<Buffer>,
    pub(super) validity: Option<Buffer>,
    /// The same where the processor can look at it.
    pub(super) present: Option<Buffer>,
    pub(super) home: Home,
}

/// A copy of some rows in the layout of `buffers` in `wit/types.wit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnCopy {
    /// Number of rows.
    pub rows: u64,
    /// Bitmap, least significant bit first, 1 = present; absent when no row is null.
    pub validity: Option<Vec<u8>>,
    /// `rows + 1` × i64 from 0, little-endian, for types of variable width.
    pub offsets: Option<Vec<u8>>,
    /// Packed values (bool as one byte), or the bytes that `offsets` divides.
    pub values: Vec<u8>,
}

impl ColumnCopy {
    /// Bytes in all.
    pub fn size_bytes(&self) -> u64 {
        let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        (self.values.len() + optional(&self.offsets) + optional(&self.validity)) as u64
    }
}

impl DeviceColumn {
    /// Its type.
    pub fn column_type(&self) -> &ColumnType {
        &self.column_type
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows without a value. Their bytes in `values` are zeros.
    pub fn null_count(&self) -> u64 {
        self.null_count
    }

    /// Fixed width: packed rows, tensors row-major, bool one byte a row. Variable
    /// width: the bytes of all rows one after the other.
    pub fn values_buffer(&self) -> &Buffer {
        &self.values
    }

    /// `rows + 1` × i64 from 0, for types of variable width.
    pub fn offsets_buffer(&self) -> Option<&Buffer> {
        self.offsets.as_ref()
    }

    /// One byte per row, 1 = present; absent when no row is null.
    pub fn validity_buffer(&self) -> Option<&Buffer> {
        self.validity.as_ref()
    }

    /// As [`Self::values_buffer`], as bytes; none of those on a GPU.
    pub fn values(&self) -> &[u8] {
        self.values.as_slice()
    }

    /// Whether row `row` has a value.
    pub fn is_present(&self, row: usize) -> bool {
        self.present.as_ref().is_none_or(|bytes| bytes.as_slice().get(row).is_some_and(|byte| *byte != 0))
    }

    /// Bytes of its rows.
    pub fn size_bytes(&self) -> u64 {
        let optional = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::len);
        (self.values.len() + optional(&self.offsets) + optional(&self.validity)) as u64
    }

    /// Those of them that are on the device.
    pub fn device_bytes(&self) -> u64 {
        match self.home {
            Home::Device => self.size_bytes(),
            Home::Host => 0,
        }
    }

    /// Bytes of a copy of rows that came from the device.
    pub fn moved_bytes(&self, copy: &ColumnCopy) -> u64 {
        match self.home {
            Home::Device if self.is_on_gpu() => copy.values.len() as u64,
            Home::Device => copy.size_bytes(),
            Home::Host => 0,
        }
    }

    /// The rows from row `first` on, `most` at most, of a column of fixed width.
    pub(super) fn rows_from(&self, first: u64, most: u64) -> Result<Self> {
        let outside = || Error::OutOfRange(format!("row {first} is outside a column of {} rows", self.rows));
        let rows = self.rows.checked_sub(first).ok_or_else(outside)?.min(most);
        let (skipped, count) = (usize::try_from(first), usize::try_from(rows));
        let (skipped, count) = (skipped.map_err(|_| outside())?, count.map_err(|_| outside())?);
        let width = self.column_type.row_bytes().ok_or_else(outside)?;
        let part = |buffer: &Option<Buffer>| buffer.as_ref().map(|b| b.slice(skipped, count)).transpose();
        let present = part(&self.present)?;
        let nulls = present.as_ref().map_or(0, |bytes| bytes.as_slice().iter().filter(|byte| **byte == 0).count());
        Ok(Self {
            rows,
            null_count: nulls as u64,
            values: self.values.slice(skipped * width, count * width)?,
            validity: part(&self.validity)?.filter(|_| nulls > 0),
            present: present.filter(|_| nulls > 0),
            ..self.clone()
        })
    }

    /// Whether the processor cannot look at the values.
    pub(super) fn is_on_gpu(&self) -> bool {
        self.values.block().cuda().is_some()
    }

    /// The bytes of row `row`; empty for a null of variable width. Not of a column
    /// on a GPU, which is read in larger parts.
    pub fn row_bytes(&self, row: usize) -> Result<&[u8]> {
        if self.is_on_gpu() {
            return Err(Error::Internal("single rows of a column on a GPU".to_owned()));
        }
        let range = match &self.offsets {
            Some(offsets) => offset_at(offsets, row)..offset_at(offsets, row.saturating_add(1)),
            None => {
                let width = self.column_type.row_bytes().unwrap_or_default();
                row.saturating_mul(width)..row.saturating_add(1).saturating_mul(width)
            }
        };
        self.values()
            .get(range)
            .filter(|_| (row as u64) < self.rows)
            .ok_or_else(|| Error::OutOfRange(format!("row {row} is outside a column of {} rows", self.rows)))
    }

    /// Copies rows `[start, start + rows)` out, unless `kill` is thrown meanwhile.
    pub fn read(&self, start: u64, rows: u64, kill: &KillSwitch) -> Result<ColumnCopy> {
        let end = start.checked_add(rows).filter(|end| *end <= self.rows).ok_or_else(|| {
            Error::OutOfRange(format!("rows {start} to {start} + {rows} lie outside a column of {} rows", self.rows))
        })?;
        let usize_of =
            |n: u64| usize::try_from(n).map_err(|_| Error::OutOfRange(format!("row {n} cannot be addressed")));
        let (start, end) = (usize_of(start)?, usize_of(end)?);
        let (range, offsets) = match &self.offsets {
            Some(offsets) => {
                let (first, last) = (offset_at(offsets, start), offset_at(offsets, end));
                let mut rebased = Vec::with_capacity((end - start + 1) * 8);
                for row in start..=end {
                    if row % PIECE_BYTES == 0 {
                        kill.check()?;
                    }
                    rebased.extend_from_slice(&((offset_at(offsets, row) - first) as u64).to_le_bytes());
                }
                (first..last, Some(rebased))
            }
            None => {
                let width = self.column_type.row_bytes().unwrap_or_default();
                (start * width..end * width, None)
            }
        };
        let mut values = Vec::with_capacity(range.len());
        for at in range.clone().step_by(PIECE_BYTES) {
            kill.check()?;
            let piece = self.values.slice(at, PIECE_BYTES.min(range.end - at))?;
            values.extend_from_slice(&piece.read()?);
        }
        Ok(ColumnCopy { rows, validity: self.bitmap(start, end), offsets, values })
    }

    fn bitmap(&self, start: usize, end: usize) -> Option<Vec<u8>> {
        let present = self.present.as_ref()?.as_slice().get(start..end)?;
        if present.iter().all(|byte| *byte != 0) {
            return None;
        }
        let pack = |bytes: &[u8]| bytes.iter().enumerate().fold(0, |bits, (i, byte)| bits | u8::from(*byte != 0) << i);
        Some(present.chunks(8).map(pack).collect())
    }
}

/// Offset `row` of a buffer of i64 that this module wrote.
fn offset_at(offsets: &Buffer, row: usize) -> usize {
    let bytes = row.checked_mul(8).and_then(|at| offsets.as_slice().get(at..at.checked_add(8)?));
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    usize::try_from(i64::from_le_bytes(bytes)).unwrap_or_default()
}
