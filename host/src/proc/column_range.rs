//! Rows of an input column seen as tensors, without a copy.

use std::sync::Arc;

use super::instance::Run;
use super::interfaces::ColumnHandle;
use crate::base::{DType, Error, Result};
use crate::device::Buffer;
use crate::table::DeviceColumn;
use crate::tensor::{Session, Tensor};

/// Rows `[start, start + rows)` of a column of fixed width.
pub(super) struct ColumnRange {
    /// The column's name, for messages.
    pub(super) name: String,
    /// Rows of the column that lack a value.
    pub(super) null_count: u64,
    /// Element type.
    pub(super) dtype: DType,
    /// Number of rows.
    pub(super) rows: usize,
    row_shape: Vec<usize>,
    start: usize,
    column: Arc<DeviceColumn>,
}

impl Run {
    /// A range of an input column, checked.
    pub(super) fn column_range(&mut self, handle: ColumnHandle, start: u64, rows: u64) -> Result<ColumnRange> {
        let column = self.input_column(handle)?;
        let described = self.column(handle)?;
        let Some((dtype, row_shape)) = described.column_type.row_tensor() else {
            return Err(Error::TypeMismatch(format!(
                "column `{}` is {}, which is no tensor; `read` it instead",
                described.name, described.column_type
            )));
        };
        let (start, rows) = checked_range(&described.name, start, rows, column.rows())?;
        let row_shape = row_shape.to_vec();
        Ok(ColumnRange {
            name: described.name.clone(),
            null_count: column.null_count(),
            dtype,
            rows,
            row_shape,
            start,
            column,
        })
    }
}

impl ColumnRange {
    /// `[rows, ..row shape]`; where a row lacks a value, zeros.
    pub(super) fn values(&self, session: &mut Session) -> Result<Tensor> {
        let row_bytes = self.row_shape.iter().product::<usize>() * self.dtype.size_bytes();
        let shape: Vec<usize> = std::iter::once(self.rows).chain(self.row_shape.iter().copied()).collect();
        session.from_buffer(self.column.values_buffer(), self.start * row_bytes, self.dtype, &shape)
    }

    /// `[rows]` boolean, when a row of the column lacks a value.
    pub(super) fn present(&self, session: &mut Session) -> Result<Option<Tensor>> {
        let buffer: Option<&Buffer> = self.column.validity_buffer();
        buffer.map(|buffer| session.from_buffer(buffer, self.start, DType::Bool, &[self.rows])).transpose()
    }
}

/// Refuses a range outside `available` rows; the range as `usize`.
fn checked_range(column: &str, start: u64, rows: u64, available: u64) -> Result<(usize, usize)> {
    let inside = start.checked_add(rows).is_some_and(|end| end <= available);
    match (usize::try_from(start), usize::try_from(rows)) {
        (Ok(start), Ok(rows)) if inside => Ok((start, rows)),
        _ => Err(Error::OutOfRange(format!(
            "rows {start} to {} of column `{column}` asked, it has {available} rows",
            start.saturating_add(rows)
        ))),
    }
}
