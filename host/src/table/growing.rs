//! The device memory of one column of one shard while it grows: Arrow arrays
//! are appended past the end of what views see.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::Buffer as ArrowBuffer;
use arrow::datatypes::DataType;

use super::DeviceColumn;
use crate::base::{Column, ColumnType, Error, Result};
use crate::device::{Buffer, ColumnBuffer, Pool};

/// A column that grows.
#[derive(Debug)]
pub(super) struct Growing {
    column: Column,
    pool: Arc<Pool>,
    rows: u64,
    values: ColumnBuffer,
    /// For types of variable width.
    offsets: Option<ColumnBuffer>,
    /// Made when the first null comes.
    validity: Option<ColumnBuffer>,
    /// Nulls among the first rows, at each number of rows that was reached.
    nulls: BTreeMap<u64, u64>,
}

impl Growing {
    /// An empty column with room for `rows` rows.
    pub(super) fn new(pool: &Arc<Pool>, column: &Column, rows: u64) -> Result<Self> {
        if let ColumnType::List(_) = column.column_type {
            return Err(Error::Unsupported(format!(
                "column `{}` is {}, which procs cannot read; leave it out of the input's columns",
                column.name, column.column_type
            )));
        }
        let width = column.column_type.row_bytes();
        let rows = usize::try_from(rows).map_err(|_| Error::OutOfRange(format!("a column of {rows} rows")))?;
        let offsets = match width {
            Some(_) => None,
            None => {
                let mut offsets = ColumnBuffer::new(pool, rows.saturating_add(1).saturating_mul(8))?;
                offsets.append(&0i64.to_le_bytes())?;
                Some(offsets)
            }
        };
        let values = ColumnBuffer::new(pool, rows.saturating_mul(width.unwrap_or(0)))?;
        Ok(Self {
            column: column.clone(),
            pool: Arc::clone(pool),
            rows: 0,
            values,
            offsets,
            validity: None,
            nulls: BTreeMap::new(),
        })
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the rows so far.
    pub(super) fn size_bytes(&self) -> u64 {
        let optional = |buffer: &Option<ColumnBuffer>| buffer.as_ref().map_or(0, ColumnBuffer::len);
        (self.values.len() + optional(&self.offsets) + optional(&self.validity)) as u64
    }

    /// Device memory held.
    pub(super) fn capacity_bytes(&self) -> u64 {
        let optional = |buffer: &Option<ColumnBuffer>| buffer.as_ref().map_or(0, ColumnBuffer::capacity_bytes);
        (self.values.capacity_bytes() + optional(&self.offsets) + optional(&self.validity)) as u64
    }

    /// The first `rows` rows.
    pub(super) fn view(&self, rows: u64) -> Result<DeviceColumn> {
        let count = usize::try_from(rows).map_err(|_| Error::OutOfRange(format!("a column of {rows} rows")))?;
        let offsets = self.offsets.as_ref().map(|o| o.view().slice(0, (count + 1) * 8)).transpose()?;
        let bytes = match &offsets {
            Some(offsets) => last_offset(offsets),
            None => count * self.column.column_type.row_bytes().unwrap_or_default(),
        };
        let validity = self.validity.as_ref().map(|v| v.view().slice(0, count)).transpose()?;
        let null_count = validity.as_ref().map_or(0, |validity| self.null_count(rows, validity.as_slice()));
        Ok(DeviceColumn {
            column_type: self.column.column_type.clone(),
            rows,
            null_count,
            values: self.values.view().slice(0, bytes)?,
            offsets,
            validity: validity.filter(|_| null_count > 0),
        })
    }

    /// Appends the rows of an array of the column's Arrow type.
    pub(super) fn append(&mut self, array: &ArrayRef) -> Result<()> {
        if !array.data_type().equals_datatype(&self.column.column_type.arrow_type()) {
            return Err(Error::Internal(format!(
                "column `{}` is {}, storage gave {}",
                self.column.name,
                self.column.column_type,
                array.data_type()
            )));
        }
        match self.column.column_type.row_bytes() {
            Some(width) => self.values.append(&fixed_rows(array, width)?)?,
            None => self.append_spans(array)?,
        }
        self.append_validity(array)?;
        self.grown(array.len() as u64, array.null_count() as u64);
        Ok(())
    }

    /// Nulls among the first `rows` rows: known where appending stopped there,
    /// counted from the last such place otherwise.
    fn null_count(&self, rows: u64, validity: &[u8]) -> u64 {
        let (from, known) = self.nulls.range(..=rows).next_back().map_or((0, 0), |(rows, nulls)| (*rows, *nulls));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        known + validity.iter().skip(from).filter(|present| **present == 0).count() as u64
    }

    fn grown(&mut self, rows: u64, nulls: u64) {
        let before = self.nulls.last_key_value().map_or(0, |(_, nulls)| *nulls);
        self.rows += rows;
        self.nulls.insert(self.rows, before + nulls);
    }

    /// Appends all rows of another column of the same type.
    pub(super) fn append_column(&mut self, source: &DeviceColumn) -> Result<()> {
        if let (Some(offsets), Some(added)) = (&mut self.offsets, &source.offsets) {
            let base = self.values.len();
            let ends = added.as_slice().chunks_exact(8).skip(1).filter_map(|b| b.try_into().ok());
            let moved: Vec<u8> = ends
                .flat_map(|end| (i64::from_le_bytes(end).saturating_add_unsigned(base as u64)).to_le_bytes())
                .collect();
            offsets.append(&moved)?;
        }
        self.values.append(source.values())?;
        match &source.validity {
            Some(present) => self.validity()?.append(present.as_slice())?,
            None => self.append_present(usize::try_from(source.rows).unwrap_or_default())?,
        }
        self.grown(source.rows, source.null_count);
        Ok(())
    }

    fn append_spans(&mut self, array: &ArrayRef) -> Result<()> {
        let Some(offsets) = &mut self.offsets else {
            return Err(Error::Internal("a column of variable width without offsets".into()));
        };
        let mut ends = Vec::with_capacity(array.len() * 8);
        let mut end = self.values.len();
        for row in 0..array.len() {
            let bytes: &[u8] = match array.data_type() {
                _ if array.is_null(row) => b"",
                DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
                _ => array.as_binary::<i64>().value(row),
            };
            self.values.append(bytes)?;
            end += bytes.len();
            ends.extend_from_slice(&(end as u64).to_le_bytes());
        }
        offsets.append(&ends)
    }

    fn append_validity(&mut self, array: &ArrayRef) -> Result<()> {
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => {
                let bytes: Vec<u8> = nulls.iter().map(u8::from).collect();
                self.validity()?.append(&bytes)
            }
            None => self.append_present(array.len()),
        }
    }

    fn append_present(&mut self, rows: usize) -> Result<()> {
        match &mut self.validity {
            Some(validity) => validity.append_filled(1, rows),
            None => Ok(()),
        }
    }

    /// The validity, made when it is missing: all rows so far are present.
    fn validity(&mut self) -> Result<&mut ColumnBuffer> {
        if self.validity.is_none() {
            let rows = usize::try_from(self.rows).unwrap_or_default();
            let mut validity = ColumnBuffer::new(&self.pool, rows)?;
            validity.append_filled(1, rows)?;
            self.validity = Some(validity);
        }
        self.validity.as_mut().ok_or_else(|| Error::Internal("a validity that was just made".into()))
    }
}

fn last_offset(offsets: &Buffer) -> usize {
    let last = offsets.as_slice().last_chunk().copied().unwrap_or_default();
    usize::try_from(i64::from_le_bytes(last)).unwrap_or_default()
}

/// Packed rows of an array of fixed width; zeros where a row is null.
fn fixed_rows(array: &ArrayRef, width: usize) -> Result<ArrowBuffer> {
    let packed = match array.as_fixed_size_list_opt() {
        Some(list) if !list.values().is_empty() => {
            let elements = list.values().len() / list.len().max(1);
            packed(list.values(), width / elements.max(1))?
        }
        Some(_) => ArrowBuffer::default(),
        None => packed(array, width)?,
    };
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(packed);
    };
    let mut rows = packed.to_vec();
    for (row, _) in rows.chunks_exact_mut(width).zip(nulls.iter()).filter(|(_, present)| !present) {
        row.fill(0);
    }
    Ok(ArrowBuffer::from_vec(rows))
}

/// Packed values of a primitive, bool or fixed binary array of `width` bytes a
/// value, without a copy except for bools.
fn packed(array: &ArrayRef, width: usize) -> Result<ArrowBuffer> {
    if let Some(bools) = array.as_boolean_opt() {
        return Ok(ArrowBuffer::from_vec(bools.values().iter().map(u8::from).collect::<Vec<u8>>()));
    }
    let data = array.to_data();
    let (start, len) = (data.offset() * width, data.len() * width);
    match data.buffers().first() {
        Some(buffer) if buffer.len() >= start + len => Ok(buffer.slice_with_length(start, len)),
        _ => Err(Error::Internal(format!("an array of {} without its values", array.data_type()))),
    }
}
