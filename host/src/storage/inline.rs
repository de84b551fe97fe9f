//! Rows kept in the catalog: values from Arrow to SQLite and back, in the forms
//! DuckDB writes and reads: integers and bool as integers; uint64, floats,
//! decimals, dates, times, uuid and json as text; blobs as blobs.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::catalog_rows::{collect, quote};
use super::connections::U;
use super::forms::{self, convert};
use super::snapshot::TableState;
use crate::base::{ColumnType, DType, Error, Result, Schema, SnapshotId};

/// Columns of DuckLake's own in a table of inlined rows.
const RESERVED: [&str; 3] = ["row_id", "begin_snapshot", "end_snapshot"];

/// Whether rows of these columns may be kept in the catalog: lists may not,
/// DuckDB reads them as text.
pub(super) fn can_inline(schema: &Schema) -> bool {
    schema.columns().iter().all(|column| {
        !matches!(column.column_type, ColumnType::List(_))
            && !RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(&column.name))
    })
}

/// How a value is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Integer,
    Text,
    Blob,
}

fn kept(column_type: &ColumnType) -> Kept {
    match column_type {
        ColumnType::Number(DType::U64 | DType::F32 | DType::F64) => Kept::Text,
        ColumnType::Number(DType::F16) | ColumnType::Binary | ColumnType::Tensor { .. } => Kept::Blob,
        ColumnType::Number(_) | ColumnType::Ipv4 => Kept::Integer,
        _ => Kept::Text,
    }
}

/// SQLite's type of the column that keeps `column_type`.
pub(super) fn sql_type(column_type: &ColumnType) -> &'static str {
    match kept(column_type) {
        Kept::Integer => "BIGINT",
        Kept::Text => "VARCHAR",
        Kept::Blob => "BLOB",
    }
}

/// The values of a column, in the Arrow form of its type.
pub(super) fn to_sql(array: &ArrayRef, column_type: &ColumnType) -> Result<Vec<Value>> {
    Ok(match kept(column_type) {
        Kept::Integer => {
            let wide = convert(array, &DataType::Int64)?;
            wide.as_primitive::<Int64Type>().iter().map(|v| v.map_or(Value::Null, Value::Integer)).collect()
        }
        Kept::Blob => {
            let stored = forms::stored_field("", column_type, &[]);
            let blobs = convert(&forms::encode(array, column_type, stored.data_type())?, &DataType::LargeBinary)?;
            blobs.as_binary::<i64>().iter().map(|v| v.map_or(Value::Null, |v| Value::Blob(v.to_vec()))).collect()
        }
        Kept::Text => texts(array, column_type)?.into_iter().map(|v| v.map_or(Value::Null, Value::Text)).collect(),
    })
}

fn texts(array: &ArrayRef, column_type: &ColumnType) -> Result<Vec<Option<String>>> {
    Ok(match column_type {
        // Debug prints floats so that they read back to the same bits, briefly.
        ColumnType::Number(DType::F32) => {
            array.as_primitive::<Float32Type>().iter().map(|v| v.map(|v| format!("{v:?}"))).collect()
        }
        ColumnType::Number(DType::F64) => {
            array.as_primitive::<Float64Type>().iter().map(|v| v.map(|v| format!("{v:?}"))).collect()
        }
        ColumnType::Uuid => array
            .as_fixed_size_binary()
            .iter()
            .map(|v| v.and_then(|v| uuid::Uuid::from_slice(v).ok()).map(|v| v.to_string()))
            .collect(),
        _ => {
            let texts = convert(array, &DataType::Utf8)?;
            let plain = |text: &str| match column_type {
                ColumnType::Timestamp => text.replacen('T', " ", 1),
                _ => text.to_owned(),
            };
            texts.as_string::<i32>().iter().map(|text| text.map(plain)).collect()
        }
    })
}

/// A column in the Arrow form of its type from the values the catalog has.
fn from_sql(values: Vec<Value>, column_type: &ColumnType) -> Result<ArrayRef> {
    let unfit = |value: &Value| Error::Invalid(format!("a value is of SQLite type {}", value.data_type()));
    let array: ArrayRef = match kept(column_type) {
        Kept::Integer => {
            let numbers = values.into_iter().map(|value| match value {
                Value::Null => Ok(None),
                Value::Integer(number) => Ok(Some(number)),
                other => Err(unfit(&other)),
            });
            Arc::new(numbers.collect::<Result<Int64Array>>()?)
        }
        Kept::Blob => {
            let blobs = values.into_iter().map(|value| match value {
                Value::Null => Ok(None),
                Value::Blob(bytes) => Ok(Some(bytes)),
                other => Err(unfit(&other)),
            });
            Arc::new(blobs.collect::<Result<LargeBinaryArray>>()?)
        }
        Kept::Text => {
            let texts = values.into_iter().map(|value| match value {
                Value::Null => Ok(None),
                Value::Text(text) => Ok(Some(text)),
                Value::Integer(number) => Ok(Some(number.to_string())),
                Value::Real(number) => Ok(Some(format!("{number:?}"))),
                Value::Blob(_) => Err(Error::Invalid("a value is bytes where text is expected".into())),
            });
            let texts = texts.collect::<Result<StringArray>>()?;
            return from_text(texts, column_type);
        }
    };
    forms::decode(&array, column_type)
}

fn from_text(texts: StringArray, column_type: &ColumnType) -> Result<ArrayRef> {
    fn floats<T: std::str::FromStr>(texts: &StringArray) -> Result<Vec<Option<T>>> {
        let parse = |text: &str| text.parse().map_err(|_| Error::Invalid(format!("{text:?} is no number")));
        texts.iter().map(|text| text.map(parse).transpose()).collect()
    }
    Ok(match column_type {
        ColumnType::Number(DType::F32) => Arc::new(arrow::array::Float32Array::from(floats(&texts)?)),
        ColumnType::Number(DType::F64) => Arc::new(arrow::array::Float64Array::from(floats(&texts)?)),
        ColumnType::Uuid => {
            let parse = |text: &str| {
                let bytes = uuid::Uuid::parse_str(text).map(uuid::Uuid::into_bytes);
                bytes.map_err(|_| Error::Invalid(format!("{text:?} is no uuid")))
            };
            let uuids: Vec<Option<[u8; 16]>> =
                texts.iter().map(|text| text.map(parse).transpose()).collect::<Result<_>>()?;
            forms::arrow(arrow::array::FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16))
                .map(Arc::new)?
        }
        _ => {
            let texts: ArrayRef = Arc::new(texts);
            convert(&texts, &column_type.arrow_type())?
        }
    })
}

/// A row id, the snapshot that added the row, and its values.
type Row = (U, U, Vec<Value>);

/// Rows of a table that the catalog keeps.
pub(super) struct Inlined {
    /// In the table's Arrow schema, by row id.
    pub(super) batch: RecordBatch,
    pub(super) row_ids: UInt64Array,
    /// The snapshot that added each row.
    pub(super) since: UInt64Array,
}

/// Reads all rows of a table that the catalog keeps, by row id.
pub(super) fn read(connection: &Connection, table: &TableState, at: SnapshotId) -> Result<Inlined> {
    if let Some(list) = table.schema.columns().iter().find(|c| matches!(c.column_type, ColumnType::List(_))) {
        return Err(Error::Unsupported(format!(
            "table `{}` has rows that another program keeps in the catalog with the list `{}` as text; \
             run `CALL ducklake_flush_inlined_data(…)` there",
            table.name, list.name
        )));
    }
    let width = table.schema.columns().len();
    let mut rows: Vec<Row> = Vec::new();
    for part in &table.inlined {
        let names: Vec<String> =
            part.columns.iter().map(|name| name.as_deref().map_or_else(|| "NULL".to_owned(), quote)).collect();
        let text = format!(
            "SELECT row_id, begin_snapshot, {} FROM {} WHERE begin_snapshot <= ?1 AND (end_snapshot IS NULL OR \
            end_snapshot > ?1)",
            names.join(", "),
            quote(&part.table_name)
        );
        rows.extend(collect(connection, &text, [U(at.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, (0..width).map(|i| row.get(i + 2)).collect::<rusqlite::Result<_>>()?))
        })?);
    }
    rows.sort_by_key(|(row_id, ..)| *row_id);
    let row_ids = UInt64Array::from_iter_values(rows.iter().map(|(row_id, ..)| row_id.0));
    let since = UInt64Array::from_iter_values(rows.iter().map(|(_, since, _)| since.0));
    let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
    for (_, _, values) in rows {
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let arrays = columns.into_iter().zip(table.schema.columns()).map(|(values, column)| {
        from_sql(values, &column.column_type).map_err(|e| Error::Corrupt {
            what: format!("column `{}` of rows of table `{}` in the catalog", column.name, table.name),
            reason: e.chain(),
        })
    });
    let batch = forms::arrow(RecordBatch::try_new(table.arrow.clone(), arrays.collect::<Result<_>>()?))?;
    Ok(Inlined { batch, row_ids, since })
}
