//! Columns: what they are, and their rows as Rust values when a proc asks.

use crate::bindings::quern::udf::tables;
pub use crate::bindings::quern::udf::types::Field;
use crate::cells::{Cell, IntoCell};
use crate::{Error, ErrorCode, Result, Tensor};

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
    pub fn tensor(&self) -> Result<Tensor> {
        Tensor::of_column(self, 0, self.rows())
    }

    /// Copies all rows into the proc.
    pub fn to_vec<T: Cell>(&self) -> Result<Vec<T>> {
        self.read(0, self.rows())
    }

    /// Copies rows `[start, start + rows)` of an input into the proc. Nulls need
    /// `T = Option<…>`.
    pub fn read<T: Cell>(&self, start: u64, rows: u64) -> Result<Vec<T>> {
        let field = self.field();
        if !T::COLUMN_TYPES.contains(&field.column_type.as_str()) {
            let message = format!(
                "column `{}` is {}, it was read as {}",
                field.name,
                field.column_type,
                T::COLUMN_TYPES.join(" or ")
            );
            return Err(Error::new(ErrorCode::TypeMismatch, message));
        }
        let buffers = self.0.read(start, rows)?;
        if buffers.validity.is_some() && !T::HOLDS_NULL {
            let message = format!("column `{}` has nulls; read it as Option<…>", field.name);
            return Err(Error::new(ErrorCode::TypeMismatch, message));
        }
        T::decode(&buffers)
    }

    /// Outputs only: overwrites rows from `start`; they must be reserved by
    /// [`Table::resize`](crate::Table::resize).
    pub fn write<T: IntoCell>(&self, start: u64, rows: &[T]) -> Result {
        Ok(self.0.write(start, &T::encode(rows))?)
    }

    /// Outputs only: overwrites rows from `start` with all rows of `source`, on
    /// the device. The types must be equal.
    pub fn copy_from(&self, start: u64, source: &Column) -> Result {
        Ok(self.0.copy_from(start, &source.0)?)
    }
}
