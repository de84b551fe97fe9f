//! Tables of a test: made column by column, read back as Rust values.

use super::bindings::quern::udf::testing;
use crate::bindings::quern::udf::types::{Buffers, Field};
use crate::cells::{Cell, IntoCell, decode_column};
use crate::tensor::spelling;
use crate::{Element, Error, ErrorCode, Result};

/// A Rust type that makes a column of one type.
pub trait CellType: IntoCell {
    /// The column's type, as SQL spells it.
    const COLUMN_TYPE: &'static str;
    /// Whether the column is nullable.
    const NULLABLE: bool;
}

impl CellType for &str {
    const COLUMN_TYPE: &'static str = "utf8";
    const NULLABLE: bool = false;
}

impl<T: Cell + IntoCell> CellType for T {
    const COLUMN_TYPE: &'static str = match T::COLUMN_TYPES {
        [first, ..] => first,
        [] => "binary",
    };
    const NULLABLE: bool = T::HOLDS_NULL;
}

/// A table in the making, from [`table`].
#[must_use = "`create` makes the table"]
pub struct NewTable {
    name: String,
    columns: Vec<Field>,
    rows: Vec<Buffers>,
    shards: u32,
}

/// Begins a table of one shard.
pub fn table(name: &str) -> NewTable {
    NewTable { name: name.to_owned(), columns: Vec::new(), rows: Vec::new(), shards: 1 }
}

impl NewTable {
    /// Adds a column of the type that `T` has: `f32` makes `float32`, `&str`
    /// `utf8`, `Option<i64>` a nullable `int64`.
    pub fn column<T: CellType>(self, name: &str, rows: &[T]) -> Self {
        self.column_as(name, T::COLUMN_TYPE, T::NULLABLE, T::encode(rows))
    }

    /// Adds a column of another type with the same layout, for example
    /// `timestamp` of `i64`.
    pub fn column_of<T: CellType>(self, name: &str, column_type: &str, rows: &[T]) -> Self {
        self.column_as(name, column_type, T::NULLABLE, T::encode(rows))
    }

    /// Adds a column of tensors of `shape`; `values` are those of all rows, one
    /// after the other.
    pub fn tensors<T: Element>(self, name: &str, shape: &[u32], values: &[T]) -> Self {
        let size = shape.iter().map(|n| *n as usize).product::<usize>().max(1);
        let shape: Vec<String> = shape.iter().map(u32::to_string).collect();
        let column_type = format!("tensor({},[{}])", spelling(T::DTYPE), shape.join(","));
        let rows = (values.len() / size) as u64;
        let data = Buffers { rows, validity: None, offsets: None, values: T::pack(values) };
        self.column_as(name, &column_type, false, data)
    }

    fn column_as(mut self, name: &str, column_type: &str, nullable: bool, rows: Buffers) -> Self {
        self.columns.push(Field { name: name.to_owned(), column_type: column_type.to_owned(), nullable });
        self.rows.push(rows);
        self
    }

    /// Deals the rows to so many shards: a distributed proc has an instance for each.
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// Shows all rows to every instance.
    pub fn replicated(mut self) -> Self {
        self.shards = 0;
        self
    }

    /// Makes the table.
    pub fn create(self) -> Result {
        Ok(testing::create_table(&self.name, &self.columns, &self.rows, self.shards)?)
    }
}

/// The columns of a table, made by the test or by a proc.
pub fn columns(table: &str) -> Result<Vec<Field>> {
    Ok(testing::fields(table)?)
}

/// All rows of a column, one shard after the other. Nulls need `T = Option<…>`.
///
/// # Errors
/// As [`Column::read`](crate::Column::read), and `not-found` without such a column.
pub fn rows<T: Cell>(table: &str, column: &str) -> Result<Vec<T>> {
    decode_column(&field(table, column)?, || Ok(testing::read(table, column)?))
}

/// The elements of a column of tensors, all rows one after the other.
///
/// # Errors
/// `type-mismatch` unless the column holds tensors of `T`, `not-found` without it.
pub fn tensor_rows<T: Element>(table: &str, column: &str) -> Result<Vec<T>> {
    let field = field(table, column)?;
    let wanted = format!("tensor({},", spelling(T::DTYPE));
    if !field.column_type.starts_with(&wanted) {
        let message = format!("column `{column}` is {}, it was read as {wanted}…)", field.column_type);
        return Err(Error::new(ErrorCode::TypeMismatch, message));
    }
    Ok(T::unpack(&testing::read(table, column)?.values))
}

/// How many rows a table has.
pub fn count(table: &str) -> Result<u64> {
    let first = columns(table)?.into_iter().next();
    let none = || Error::new(ErrorCode::NotFound, format!("table `{table}` has no columns"));
    Ok(testing::read(table, &first.ok_or_else(none)?.name)?.rows)
}

fn field(table: &str, column: &str) -> Result<Field> {
    let columns = columns(table)?;
    let names = columns.iter().map(|field| field.name.clone()).collect::<Vec<_>>().join(", ");
    columns
        .into_iter()
        .find(|field| field.name == column)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("no column `{column}` in table `{table}` ({names})")))
}
