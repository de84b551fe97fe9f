//! Columns: what they are, and their rows as Rust values when a proc asks.

use crate::bindings::quern::udf::tables;
pub use crate::bindings::quern::udf::types::Field;
use crate::cells::{Cell, IntoCell, decode_column};
use crate::{Result, Tensor};

/// One column of an input or output table.
pub struct Column(tables::Column);

impl Column {
    pub(crate) fn own(raw: tables::Column) -> Self {
        Self(raw)
    }

    pub(crate) fn raw(&self) -> &tables::Column {
        &self.0
    }

    /// Name, type and nullability.
    pub fn field(&self) -> Field {
        self.0.field()
    }

    /// Rows of an input; rows reserved so far of an output.
    pub fn rows(&self) -> u64 {
        self.0.rows()
    }

    /// All rows as a tensor `[rows, ..row shape]` on the device, without a copy.
    ///
    /// # Errors
    /// `type-mismatch` for a column that has nulls ([`Tensor::values`] fills them) or
    /// holds no numbers.
    pub fn tensor(&self) -> Result<Tensor> {
        Tensor::of_column(self, 0, self.rows())
    }

    /// Copies all rows into the proc.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn to_vec<T: Cell>(&self) -> Result<Vec<T>> {
        self.read(0, self.rows())
    }

    /// Copies rows `[start, start + rows)` of an input into the proc. Nulls need
    /// `T = Option<…>`.
    ///
    /// # Errors
    /// `type-mismatch` where `T` does not hold the column's type or its nulls,
    /// `out-of-range` for rows that there are not.
    pub fn read<T: Cell>(&self, start: u64, rows: u64) -> Result<Vec<T>> {
        decode_column(&self.field(), || Ok(self.0.read(start, rows)?))
    }

    /// Outputs only: overwrites rows from `start`; they must be reserved by
    /// [`Table::resize`](crate::Table::resize).
    ///
    /// # Errors
    /// `type-mismatch` where `T` is not the column's type, `out-of-range` for rows that
    /// are not reserved, `denied` for an input.
    pub fn write<T: IntoCell>(&self, start: u64, rows: &[T]) -> Result {
        Ok(self.0.write(start, &T::encode(rows))?)
    }

    /// Outputs only: overwrites rows from `start` with all rows of `source`, on
    /// the device.
    ///
    /// # Errors
    /// `type-mismatch` where the types differ, `out-of-range` for rows that are not
    /// reserved, `denied` where this is an input or `source` an output.
    pub fn copy_from(&self, start: u64, source: &Column) -> Result {
        Ok(self.0.copy_from(start, &source.0)?)
    }
}
