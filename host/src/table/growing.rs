//! The device memory of one column of one shard while it grows: Arrow arrays
//! are appended past the end of what views see.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::Buffer as ArrowBuffer;
use arrow::datatypes::DataType;

use super::DeviceColumn;
use super::home::{Home, Homes};
use crate::base::{Column, ColumnType, Error, Result};
use crate::device::{Buffer, ColumnBuffer};

/// A column that grows.
#[derive(Debug)]
pub(super) struct Growing {
    column: Column,
    homes: Homes,
    home: Home,
    rows: u64,
    values: ColumnBuffer,
    /// For types of variable width, which the processor can look at.
    offsets: Option<ColumnBuffer>,
    /// Made when the first null comes.
    validity: Option<Validity>,
    /// Bytes copied to the device so far.
    uploaded_bytes: u64,
    /// Nulls among the first rows, at each number of rows that was reached.
    nulls: BTreeMap<u64, u64>,
}

/// One byte per row, 1 = present.
#[derive(Debug)]
struct Validity {
    /// Where the processor can look at it.
    present: ColumnBuffer,
    /// Beside the values, when the processor cannot look at those.
    beside: Option<ColumnBuffer>,
}

impl Growing {
    /// An empty column with room for `rows` rows.
    pub(super) fn new(homes: &Homes, column: &Column, rows: u64) -> Result<Self> {
        if let ColumnType::List(_) = column.column_type {
            return Err(Error::Unsupported(format!(
                "column `{}` is {}, which procs cannot read; leave it out of the input's columns",
                column.name, column.column_type
            )));
        }
        let width = column.column_type.row_bytes();
        let home = homes.of(&column.column_type);
        let pool = homes.pool(home);
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
            homes: homes.clone(),
            home,
            rows: 0,
            values,
            offsets,
            validity: None,
            uploaded_bytes: 0,
            nulls: BTreeMap::new(),
        })
    }

    /// A column of rows that are there, none of which lacks a value.
    pub(super) fn of_rows(homes: &Homes, column: &Column, rows: u64, values: ColumnBuffer) -> Self {
        Self {
            column: column.clone(),
            homes: homes.clone(),
            home: homes.of(&column.column_type),
            rows,
            values,
            offsets: None,
            validity: None,
            uploaded_bytes: 0,
            nulls: BTreeMap::from([(rows, 0)]),
        }
    }

    /// Appends rows that are there, none of which lacks a value.
    pub(super) fn append_rows(&mut self, rows: u64, values: &Buffer) -> Result<()> {
        self.values.append_buffer(values)?;
        if let Some(validity) = &mut self.validity {
            validity.append_present(usize::try_from(rows).unwrap_or_default())?;
        }
        self.grown(rows, 0);
        Ok(())
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that were copied to the device so far.
    pub(super) fn uploaded_bytes(&self) -> u64 {
        self.uploaded_bytes
    }

    /// Memory held where the values are.
    pub(super) fn capacity_bytes(&self) -> u64 {
        let optional = |buffer: Option<&ColumnBuffer>| buffer.map_or(0, ColumnBuffer::capacity_bytes);
        let validity = self.validity.as_ref().map(|validity| validity.beside.as_ref().unwrap_or(&validity.present));
        (self.values.capacity_bytes() + optional(self.offsets.as_ref()) + optional(validity)) as u64
    }

    /// Where the values are.
    pub(super) fn home(&self) -> Home {
        self.home
    }

    /// Whether it was lost with its device.
    pub(super) fn is_lost(&self) -> bool {
        self.values.check().is_err()
    }

    /// The first `rows` rows.
    pub(super) fn view(&self, rows: u64) -> Result<DeviceColumn> {
        let count = usize::try_from(rows).map_err(|_| Error::OutOfRange(format!("a column of {rows} rows")))?;
        let offsets = self.offsets.as_ref().map(|o| o.view().slice(0, (count + 1) * 8)).transpose()?;
        let bytes = match &offsets {
            Some(offsets) => last_offset(offsets),
            None => count * self.column.column_type.row_bytes().unwrap_or_default(),
        };
        let part = |buffer: &ColumnBuffer| buffer.view().slice(0, count);
        let present = self.validity.as_ref().map(|validity| part(&validity.present)).transpose()?;
        let beside = self.validity.as_ref().and_then(|validity| validity.beside.as_ref()).map(part).transpose()?;
        let null_count = present.as_ref().map_or(0, |present| self.null_count(rows, present.as_slice()));
        let present = present.filter(|_| null_count > 0);
        Ok(DeviceColumn {
            column_type: self.column.column_type.clone(),
            rows,
            null_count,
            values: self.values.view().slice(0, bytes)?,
            offsets,
            validity: beside.filter(|_| null_count > 0).or_else(|| present.clone()),
            present,
            home: self.home,
        })
    }

    /// Makes room for so many rows of fixed width in all.
    pub(super) fn reserve(&mut self, rows: u64) -> Result<()> {
        let further = usize::try_from(rows.saturating_sub(self.rows)).unwrap_or(usize::MAX);
        self.values.reserve(further.saturating_mul(self.column.column_type.row_bytes().unwrap_or(0)))?;
        let Some(Validity { present, beside }) = &mut self.validity else { return Ok(()) };
        present.reserve(further)?;
        beside.as_mut().map_or(Ok(()), |beside| beside.reserve(further))
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
            Some(width) => {
                let rows = fixed_rows(array, width)?;
                self.values.append(&rows)?;
                self.uploaded(rows.len());
            }
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

    /// Counts bytes that were copied to where the values are.
    fn uploaded(&mut self, bytes: usize) {
        if self.home == Home::Device {
            self.uploaded_bytes += bytes as u64;
        }
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
        self.values.append_buffer(&source.values)?;
        let comes_from_host = !self.homes.is_visible(self.home) && !source.is_on_gpu();
        if comes_from_host {
            self.uploaded(source.values.len());
        }
        match &source.validity {
            Some(validity) => {
                let present = source.present.as_ref().unwrap_or(validity);
                let own = self.validity()?;
                own.present.append_buffer(present)?;
                own.beside.as_mut().map_or(Ok(()), |beside| beside.append_buffer(validity))?;
                if comes_from_host {
                    self.uploaded(validity.len());
                }
            }
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
        let begin = self.values.len();
        let mut end = begin;
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
        offsets.append(&ends)?;
        let added = ends.len() + end - begin;
        self.uploaded(added);
        Ok(())
    }

    fn append_validity(&mut self, array: &ArrayRef) -> Result<()> {
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => {
                let bytes: Vec<u8> = nulls.iter().map(u8::from).collect();
                let validity = self.validity()?;
                validity.present.append(&bytes)?;
                validity.beside.as_mut().map_or(Ok(()), |beside| beside.append(&bytes))?;
                self.uploaded(bytes.len());
                Ok(())
            }
            None => self.append_present(array.len()),
        }
    }

    fn append_present(&mut self, rows: usize) -> Result<()> {
        let Some(validity) = &mut self.validity else { return Ok(()) };
        validity.append_present(rows)?;
        self.filled(rows);
        Ok(())
    }

    /// Counts bytes that were set where the values are, which a GPU does by itself.
    fn filled(&mut self, bytes: usize) {
        if self.homes.is_visible(self.home) {
            self.uploaded(bytes);
        }
    }

    /// The validity, made when it is missing: all rows so far are present.
    fn validity(&mut self) -> Result<&mut Validity> {
        if self.validity.is_none() {
            let rows = usize::try_from(self.rows).unwrap_or_default();
            let here = |home| ColumnBuffer::new(self.homes.pool(home), rows);
            let beside = (!self.homes.is_visible(self.home)).then(|| here(self.home)).transpose()?;
            let mut validity = Validity { present: here(Home::Host)?, beside };
            validity.append_present(rows)?;
            self.validity = Some(validity);
            self.filled(rows);
        }
        self.validity.as_mut().ok_or_else(|| Error::Internal("a validity that was just made".into()))
    }
}

impl Validity {
    fn append_present(&mut self, rows: usize) -> Result<()> {
        self.present.append_filled(1, rows)?;
        self.beside.as_mut().map_or(Ok(()), |beside| beside.append_filled(1, rows))
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
