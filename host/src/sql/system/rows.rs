//! Rows of cells as a batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, LargeBinaryArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, SchemaRef};

use crate::base::{Error, Result};

/// One value.
#[derive(Clone, Debug)]
pub(in crate::sql) enum Cell {
    Null,
    Text(String),
    Bytes(Vec<u8>),
    Count(i64),
    Seed(u64),
    Float(f64),
    Bool(bool),
    /// Microseconds since 1970.
    Time(i64),
}

macro_rules! from {
    ($($type:ty => |$value:ident| $cell:expr),+ $(,)?) => {
        $(impl From<$type> for Cell {
            fn from($value: $type) -> Self {
                $cell
            }
        })+
    };
}

from! {
    &str => |text| Self::Text(text.to_owned()),
    String => |text| Self::Text(text),
    &String => |text| Self::Text(text.clone()),
    u64 => |count| Self::Count(i64::try_from(count).unwrap_or(i64::MAX)),
    u32 => |count| Self::Count(i64::from(count)),
    usize => |count| Self::Count(i64::try_from(count).unwrap_or(i64::MAX)),
    f64 => |value| Self::Float(value),
    bool => |value| Self::Bool(value),
    Vec<u8> => |bytes| Self::Bytes(bytes),
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A batch of `schema`, whose types the cells of each row must have.
pub(in crate::sql) fn rows_of(schema: &SchemaRef, rows: Vec<Vec<Cell>>) -> Result<RecordBatch> {
    let n_rows = rows.len();
    let mut columns: Vec<Vec<Cell>> = schema.fields().iter().map(|_| Vec::with_capacity(n_rows)).collect();
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let arrays = schema.fields().iter().zip(columns).map(|(field, cells)| column(field.data_type(), cells));
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays.collect(), &options)
        .map_err(|e| Error::Internal(e.to_string()))
}

/// The cells of one column; one of another type becomes null.
fn column(data_type: &DataType, cells: Vec<Cell>) -> ArrayRef {
    /// Takes the values of one kind of cell.
    macro_rules! values {
        ($array:ty, $kind:ident) => {
            Arc::new(
                cells
                    .into_iter()
                    .map(|cell| match cell {
                        Cell::$kind(value) => Some(value),
                        _ => None,
                    })
                    .collect::<$array>(),
            )
        };
    }
    match data_type {
        DataType::Int64 => values!(Int64Array, Count),
        DataType::UInt64 => values!(UInt64Array, Seed),
        DataType::Float64 => values!(Float64Array, Float),
        DataType::Boolean => values!(BooleanArray, Bool),
        DataType::LargeBinary => values!(LargeBinaryArray, Bytes),
        DataType::Timestamp(_, _) => values!(TimestampMicrosecondArray, Time),
        _ => values!(StringArray, Text),
    }
}
