//! The memory of one output column and its way into Arrow.

use arrow::array::{ArrayData, ArrayRef, make_array, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::datatypes::DataType;

use super::bytes::{Bytes, reserve};
use super::kept::{DeviceRows, Place};
use super::{COPIED_BYTES, DeviceColumn, check};
use crate::base::{Column, ColumnType, DType, Error, Result};
use crate::device::{Buffer as DeviceBuffer, KillSwitch};

/// Rows of one column in the layout of `buffers` in `wit/types.wit`.
#[derive(Clone, Copy, Debug)]
pub struct RawColumn<'a> {
    /// Number of rows.
    pub rows: u64,
    /// Bitmap, least significant bit first, 1 = present; absent when no row is null.
    pub validity: Option<&'a [u8]>,
    /// `rows + 1` × i64 from 0, for types of variable width.
    pub offsets: Option<&'a [u8]>,
    /// Packed values (bool as one byte), or the bytes that `offsets` divides.
    pub values: &'a [u8],
}

impl RawColumn<'_> {
    /// Whether row `row` is present.
    pub(super) fn is_present(&self, row: usize) -> bool {
        self.validity.is_none_or(|bits| bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1))
    }

    /// The bytes of row `row` of a column of variable width, checked before.
    pub(super) fn row(&self, row: usize) -> &[u8] {
        let at = |i: usize| {
            let bytes = self.offsets.and_then(|o| o.get(i * 8..i * 8 + 8)).and_then(|b| b.try_into().ok());
            usize::try_from(i64::from_le_bytes(bytes.unwrap_or_default())).unwrap_or_default()
        };
        self.values.get(at(row)..at(row + 1)).unwrap_or_default()
    }
}

/// The memory of one output column.
#[derive(Debug)]
pub(super) struct Store {
    values: Values,
    /// One byte per row, when the column is nullable.
    present: Option<Vec<u8>>,
    rows: usize,
    /// Values of all rows on a GPU; it has the bytes here until they are read.
    on_device: Option<DeviceRows>,
    /// Whether values were written here.
    is_written: bool,
}

#[derive(Debug)]
enum Values {
    /// `width` bytes a row.
    Fixed { width: usize, bytes: Bytes },
    /// Where each row's bytes are in `bytes`, which only grows.
    Spans { spans: Vec<(usize, usize)>, bytes: Vec<u8> },
    /// A type that procs cannot write; every row is null.
    Nulls,
}

/// Memory of the span of a row of variable width.
const SPAN_BYTES: u64 = 16;
/// Bytes of text in one batch: fits the 32-bit offsets of Arrow's utf8.
const CHUNK_BYTES: usize = 1 << 30;

impl Store {
    pub(super) fn new(column: &Column) -> Result<Self> {
        let values = match (&column.column_type, column.column_type.row_bytes()) {
            (_, Some(width)) => Values::Fixed { width, bytes: Bytes::default() },
            (ColumnType::List(_), None) if column.nullable => Values::Nulls,
            (ColumnType::List(_), None) => {
                return Err(Error::Unsupported(format!(
                    "column `{}` is {}: procs can leave lists null but not write them, and it is not nullable",
                    column.name, column.column_type
                )));
            }
            _ => Values::Spans { spans: Vec::new(), bytes: Vec::new() },
        };
        let present = column.nullable.then(Vec::new);
        Ok(Self { values, present, rows: 0, on_device: None, is_written: false })
    }

    /// Bytes that each reserved row takes, without the bytes of spans.
    pub(super) fn row_bytes(&self) -> u64 {
        let values = match &self.values {
            Values::Fixed { width, .. } => *width as u64,
            Values::Spans { .. } => SPAN_BYTES,
            Values::Nulls => 1,
        };
        values + u64::from(self.present.is_some())
    }

    /// Makes room for so many rows in all.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<()> {
        match &mut self.values {
            Values::Fixed { width, bytes } => {
                let bytes_here = rows.saturating_mul(*width);
                match &self.on_device {
                    Some(on_device) => on_device.host(|bytes| bytes.reserve(bytes_here))?,
                    None => bytes.reserve(bytes_here)?,
                }
            }
            Values::Spans { spans, .. } => reserve(spans, rows)?,
            Values::Nulls => {}
        }
        self.present.as_mut().map_or(Ok(()), |present| reserve(present, rows))
    }

    /// Sets the number of rows, for which room was made. Memory of rows that are
    /// forgotten is given back, as their budget is, once it is more than half of
    /// what is held.
    pub(super) fn resize(&mut self, rows: usize) {
        let fewer = rows < self.rows;
        match &mut self.values {
            Values::Fixed { width, bytes } => match &self.on_device {
                Some(on_device) => on_device.host(|bytes| bytes.resize(rows * *width)),
                None => bytes.resize(rows * *width),
            },
            Values::Spans { spans, .. } => {
                spans.resize(rows, (0, 0));
                if fewer && spans.capacity() / 2 > spans.len() {
                    spans.shrink_to_fit();
                }
            }
            Values::Nulls => {}
        }
        if let Some(present) = &mut self.present {
            present.resize(rows, 0);
            if fewer && present.capacity() / 2 > present.len() {
                present.shrink_to_fit();
            }
        }
        self.rows = rows;
    }

    /// Bytes of spans written so far.
    pub(super) fn span_bytes(&self) -> usize {
        match &self.values {
            Values::Spans { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Forgets the bytes of spans written after the first `length`, which no row
    /// that is kept refers to.
    pub(super) fn truncate_spans(&mut self, length: usize) {
        if let Values::Spans { bytes, .. } = &mut self.values {
            bytes.truncate(length);
        }
    }

    /// Makes room for further bytes of spans.
    pub(super) fn reserve_spans(&mut self, further_bytes: u64) -> Result<()> {
        match &mut self.values {
            Values::Spans { bytes, .. } => {
                let length = usize::try_from(further_bytes).ok().and_then(|further| bytes.len().checked_add(further));
                reserve(bytes, length.unwrap_or(usize::MAX))
            }
            _ => Ok(()),
        }
    }

    /// Memory held for rows, without the bytes of spans.
    pub(super) fn held_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Fixed { bytes, .. } => {
                bytes.held_bytes() + self.on_device.as_ref().map_or(0, |on_device| on_device.host(|b| b.held_bytes()))
            }
            Values::Spans { spans, .. } => spans.capacity() * size_of::<(usize, usize)>(),
            Values::Nulls => 0,
        };
        values + self.present.as_ref().map_or(0, Vec::capacity)
    }

    /// Checks buffers from a guest; answers the bytes that a write would add.
    pub(super) fn check(&self, column: &Column, data: &RawColumn<'_>) -> Result<u64> {
        match &self.values {
            Values::Fixed { width, .. } => check::fixed(column, *width, data).map(|()| 0),
            Values::Spans { .. } => check::spans(column, data).map(|()| data.values.len() as u64),
            Values::Nulls => Err(unwritable(column)),
        }
    }

    /// Overwrites rows from `start` on with values on a GPU, which stay there; not
    /// where the column has values here, or there is no room.
    pub(super) fn keep(&mut self, start: usize, values: &DeviceBuffer, place: &Place) -> Result<bool> {
        let Values::Fixed { width, bytes } = &mut self.values else { return Ok(false) };
        if self.on_device.is_none() && !self.is_written && self.rows > 0 {
            self.on_device = DeviceRows::new(place, bytes)?;
        }
        let Some(on_device) = &self.on_device else { return Ok(false) };
        if !on_device.write(start * *width, values)? {
            return Ok(false);
        }
        let rows = values.len() / (*width).max(1);
        self.mark_present(start, rows);
        Ok(true)
    }

    /// Brings values that are on a GPU to the host, where they are as well then.
    pub(super) fn read_back(&self, kill: &KillSwitch) -> Result<()> {
        self.on_device.as_ref().map_or(Ok(()), |on_device| on_device.read_back(kill))
    }

    /// The same for good: from now on the column is written here.
    pub(super) fn settle(&mut self, kill: &KillSwitch) -> Result<()> {
        self.read_back(kill)?;
        if self.on_device.is_some() {
            self.is_written = true;
        }
        drop(self.take_rows());
        Ok(())
    }

    /// After [`Self::resize`], for values on a GPU; they come here where there is no
    /// room.
    pub(super) fn resize_on_device(&mut self, kill: &KillSwitch) -> Result<()> {
        match &self.on_device {
            Some(on_device) if !on_device.resize()? => self.settle(kill),
            _ => Ok(()),
        }
    }

    /// Values that are on a GPU still, where no row lacks one.
    pub(super) fn take_kept(&mut self) -> Option<DeviceRows> {
        let has_all = self.present.as_ref().is_none_or(|present| present.iter().all(|byte| *byte != 0));
        self.take_rows().filter(|rows| has_all && rows.is_read())
    }

    /// What is on a GPU; the bytes that it had are here again.
    fn take_rows(&mut self) -> Option<DeviceRows> {
        let rows = self.on_device.take()?;
        if let Values::Fixed { bytes, .. } = &mut self.values {
            *bytes = rows.host(std::mem::take);
        }
        Some(rows)
    }

    fn mark_present(&mut self, start: usize, rows: usize) {
        if let Some(present) = &mut self.present {
            present.iter_mut().skip(start).take(rows).for_each(|byte| *byte = 1);
        }
    }

    /// Overwrites checked rows.
    pub(super) fn write(&mut self, start: usize, data: &RawColumn<'_>) {
        self.is_written = true;
        let rows = usize::try_from(data.rows).unwrap_or_default();
        match &mut self.values {
            Values::Fixed { width, bytes } => {
                if let Some(target) = bytes.get_mut(start * *width, (start + rows) * *width) {
                    target.copy_from_slice(data.values);
                }
            }
            Values::Spans { spans, bytes } => {
                for row in 0..rows {
                    if let Some(span) = spans.get_mut(start + row) {
                        let text = if data.is_present(row) { data.row(row) } else { &[] };
                        *span = (bytes.len(), text.len());
                        bytes.extend_from_slice(text);
                    }
                }
            }
            Values::Nulls => {}
        }
        if let Some(present) = &mut self.present {
            let target = present.iter_mut().skip(start).take(rows);
            target.enumerate().for_each(|(row, byte)| *byte = u8::from(data.is_present(row)));
        }
    }

    /// The bytes of `rows` rows from `start`, which become present.
    pub(super) fn fixed_target(&mut self, start: usize, rows: usize) -> Result<&mut [u8]> {
        self.mark_present(start, rows);
        self.is_written = true;
        match &mut self.values {
            Values::Fixed { width, bytes } => bytes.get_mut(start * *width, (start + rows) * *width),
            _ => None,
        }
        .ok_or_else(|| Error::Internal("rows outside an output column".into()))
    }

    /// Whether a device column can be copied here; the bytes that it adds.
    pub(super) fn check_copy(&self, column: &Column, source: &DeviceColumn) -> Result<u64> {
        if !column.nullable && source.null_count() > 0 {
            return Err(Error::Invalid(format!("column `{}` is not nullable, the source has nulls", column.name)));
        }
        match &self.values {
            Values::Fixed { .. } => Ok(0),
            Values::Spans { .. } => Ok(source.values().len() as u64),
            Values::Nulls => Err(unwritable(column)),
        }
    }

    /// Overwrites rows from `start` with all of `source`; some of them when `kill`
    /// is thrown meanwhile.
    pub(super) fn copy_from(&mut self, start: usize, source: &DeviceColumn, kill: &KillSwitch) -> Result<()> {
        let rows = usize::try_from(source.rows()).map_err(|_| Error::OutOfRange("too many rows".into()))?;
        match &mut self.values {
            Values::Fixed { .. } => {
                let (mut at, target) = (0, self.fixed_target(start, rows)?);
                for to in target.chunks_mut(COPIED_BYTES) {
                    kill.check()?;
                    source.values_buffer().slice(at, to.len())?.read_into(to)?;
                    at += to.len();
                }
            }
            Values::Spans { spans, bytes } => {
                let mut unseen_bytes = 0;
                for row in 0..rows {
                    if unseen_bytes >= COPIED_BYTES {
                        unseen_bytes = 0;
                        kill.check()?;
                    }
                    if let Some(span) = spans.get_mut(start + row) {
                        let text = source.row_bytes(row)?;
                        unseen_bytes += text.len() + size_of_val(span);
                        *span = (bytes.len(), text.len());
                        bytes.extend_from_slice(text);
                    }
                }
            }
            Values::Nulls => {}
        }
        if let Some(present) = &mut self.present {
            let target = present.iter_mut().skip(start).take(rows);
            target.enumerate().for_each(|(row, byte)| *byte = u8::from(source.is_present(row)));
        }
        Ok(())
    }

    /// How many rows from `start` fit one batch.
    pub(super) fn rows_that_fit(&self, start: usize, end: usize) -> usize {
        let Values::Spans { spans, .. } = &self.values else { return end - start };
        let mut bytes = 0;
        let lengths = spans.iter().skip(start).map(|(_, length)| *length);
        lengths
            .take_while(|length| {
                bytes += length;
                bytes <= CHUNK_BYTES
            })
            .count()
    }

    /// All rows as an Arrow array; the memory moves where it can.
    pub(super) fn take(&mut self, column: &Column) -> Result<ArrayRef> {
        let nulls = self.nulls(0, self.rows);
        match &mut self.values {
            Values::Fixed { bytes, .. } => {
                let bytes = std::mem::take(bytes).into_buffer();
                fixed_array(column, bytes, self.rows, nulls)
            }
            Values::Spans { spans, bytes }
                if is_in_order(spans, bytes.len()) && column.column_type != ColumnType::Json =>
            {
                let bytes = std::mem::take(bytes);
                spans_array(column, offsets(spans), Buffer::from_vec(bytes), nulls)
            }
            _ => self.copy_range(column, 0, self.rows),
        }
    }

    /// Some rows as an Arrow array.
    pub(super) fn copy_range(&self, column: &Column, start: usize, rows: usize) -> Result<ArrayRef> {
        let nulls = self.nulls(start, rows);
        match &self.values {
            Values::Fixed { width, bytes } => {
                let bytes = bytes.get(start * width, (start + rows) * width).unwrap_or_default();
                fixed_array(column, Buffer::from(bytes), rows, nulls)
            }
            Values::Spans { spans, bytes } => {
                let default: &[u8] = if column.column_type == ColumnType::Json { b"null" } else { b"" };
                let (mut ends, mut packed) = (vec![0], Vec::new());
                for (at, length) in spans.iter().skip(start).take(rows) {
                    let text = bytes.get(*at..at + length).unwrap_or_default();
                    packed.extend_from_slice(if text.is_empty() { default } else { text });
                    ends.push(packed.len());
                }
                spans_array(column, ends, Buffer::from_vec(packed), nulls)
            }
            Values::Nulls => Ok(new_null_array(&column.column_type.arrow_type(), rows)),
        }
    }

    fn nulls(&self, start: usize, rows: usize) -> Option<NullBuffer> {
        let present = self.present.as_ref()?;
        let bits: BooleanBuffer = present.iter().skip(start).take(rows).map(|byte| *byte != 0).collect();
        Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0)
    }
}

fn unwritable(column: &Column) -> Error {
    Error::Unsupported(format!("column `{}` is {}, which procs cannot write", column.name, column.column_type))
}

/// Whether the non-empty spans lie one after the other and fill all bytes.
fn is_in_order(spans: &[(usize, usize)], bytes: usize) -> bool {
    let mut end = 0;
    spans.iter().filter(|(_, length)| *length > 0).all(|(at, length)| {
        let follows = *at == end;
        end += length;
        follows
    }) && end == bytes
}

fn offsets(spans: &[(usize, usize)]) -> Vec<usize> {
    let mut end = 0;
    let ends = spans.iter().map(|(_, length)| {
        end += length;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// An array of a type of variable width; `ends` are offsets into `bytes`.
fn spans_array(column: &Column, ends: Vec<usize>, bytes: Buffer, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let arrow_type = column.column_type.arrow_type();
    let rows = ends.len() - 1;
    let offsets = if arrow_type == DataType::LargeBinary {
        Buffer::from_iter(ends.into_iter().map(|end| i64::try_from(end).unwrap_or(i64::MAX)))
    } else {
        Buffer::from_iter(ends.into_iter().map(|end| i32::try_from(end).unwrap_or(i32::MAX)))
    };
    build(ArrayData::builder(arrow_type).len(rows).nulls(nulls).add_buffer(offsets).add_buffer(bytes))
}

/// An array of a type of fixed width from packed rows.
fn fixed_array(column: &Column, bytes: Buffer, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let arrow_type = column.column_type.arrow_type();
    let builder = ArrayData::builder(arrow_type.clone()).len(rows).nulls(nulls);
    match (&column.column_type, &arrow_type) {
        (ColumnType::Tensor { dtype, .. }, DataType::FixedSizeList(item, length)) => {
            let elements = rows * usize::try_from(*length).unwrap_or_default();
            let child = ArrayData::builder(item.data_type().clone()).len(elements);
            let child = child.add_buffer(packed_bits(*dtype, bytes));
            let child = child.build().map_err(|e| Error::library("build an output column", e))?;
            build(builder.add_child_data(child))
        }
        (ColumnType::Number(dtype), _) => build(builder.add_buffer(packed_bits(*dtype, bytes))),
        // What tensors wrote was not looked at before.
        (ColumnType::Time, _) => check::times(column, &bytes).and_then(|()| build(builder.add_buffer(bytes))),
        _ => build(builder.add_buffer(bytes)),
    }
}

/// Bools leave their bytes for Arrow's bits; all else stays as it is.
fn packed_bits(dtype: DType, bytes: Buffer) -> Buffer {
    if dtype != DType::Bool {
        return bytes;
    }
    bytes.iter().map(|byte| *byte != 0).collect::<BooleanBuffer>().into_inner()
}

fn build(builder: arrow::array::ArrayDataBuilder) -> Result<ArrayRef> {
    let data = builder.build().map_err(|e| Error::library("build an output column", e))?;
    Ok(make_array(data))
}
