//! The form of each column type in DuckLake and in Parquet files, both ways.
//!
//! What DuckLake has no type for is stored as: tensor → blob, row-major and
//! little-endian, one byte per bool; float16 → blob of 2 bytes; ipv4 → uint32.
//! Blobs of fixed width are `FIXED_LEN_BYTE_ARRAY`, so that a column's values
//! lie back to back in a page and become tensors without work per value.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::ArrayData;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, LargeBinaryArray, ListArray,
    make_array,
};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field};

use crate::base::{Column, ColumnType, DType, Error, Result, Schema};

/// Metadata key by which the Parquet writer takes and the reader gives field ids.
const FIELD_ID: &str = "PARQUET:field_id";

/// DuckLake's name of the type that stores `column_type`.
pub(super) fn duck_type(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Number(DType::Bool) => "boolean".into(),
        ColumnType::Number(DType::F16) | ColumnType::Tensor { .. } | ColumnType::Binary => "blob".into(),
        ColumnType::Number(dtype) => dtype.name().into(),
        ColumnType::Decimal128 { precision, scale } => format!("decimal({precision},{scale})"),
        ColumnType::Utf8 => "varchar".into(),
        ColumnType::Date => "date".into(),
        ColumnType::Time => "time".into(),
        ColumnType::Timestamp => "timestamp".into(),
        ColumnType::Uuid => "uuid".into(),
        ColumnType::Ipv4 => "uint32".into(),
        ColumnType::Json => "json".into(),
        ColumnType::List(_) => "list".into(),
    }
}

/// The column type that holds a DuckLake type; none for those we lack.
pub(super) fn from_duck_type(name: &str) -> Option<ColumnType> {
    Some(match name {
        "boolean" => ColumnType::Number(DType::Bool),
        "varchar" => ColumnType::Utf8,
        "blob" => ColumnType::Binary,
        "timestamptz" | "timestamp_s" | "timestamp_ms" | "timestamp_ns" => ColumnType::Timestamp,
        "date" | "time" | "timestamp" | "uuid" | "json" | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16"
        | "uint32" | "uint64" | "float32" | "float64" => name.parse().ok()?,
        _ if name.starts_with("decimal(") => name.parse().ok()?,
        _ => return None,
    })
}

/// Whether two column types are stored in the same form.
pub(super) fn same_form(left: &ColumnType, right: &ColumnType) -> bool {
    match (left, right) {
        (ColumnType::List(left), ColumnType::List(right)) => same_form(left, right),
        _ => duck_type(left) == duck_type(right),
    }
}

/// Whether DuckLake's own type says less than the column type does.
pub(super) fn needs_note(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::List(item) => needs_note(item),
        _ => from_duck_type(&duck_type(column_type)).as_ref() != Some(column_type),
    }
}

/// Field ids of all columns and their elements, counted from 1.
pub(super) fn number_fields(schema: &Schema) -> Result<Vec<Vec<i32>>> {
    let mut next = 0;
    schema
        .columns()
        .iter()
        .map(|column| {
            let mut ids = Vec::new();
            let mut level = Some(&column.column_type);
            while let Some(column_type) = level {
                next += 1;
                ids.push(next);
                check_width(column, column_type)?;
                level = if let ColumnType::List(item) = column_type { Some(item.as_ref()) } else { None };
            }
            Ok(ids)
        })
        .collect()
}

fn check_width(column: &Column, column_type: &ColumnType) -> Result<()> {
    match column_type {
        ColumnType::Number(DType::BF16) => Err(Error::Unsupported(format!(
            "column `{}`: bfloat16 is a type of tensor elements, not of columns; use float16, float32 or \
            tensor(bfloat16,[1])",
            column.name
        ))),
        _ if column_type.row_bytes().is_some_and(|bytes| i32::try_from(bytes).is_err()) => {
            Err(Error::OutOfRange(format!("column `{}`: a row of {column_type} is larger than 2 GiB", column.name)))
        }
        _ => Ok(()),
    }
}

/// Bytes of one value stored as a blob of fixed width.
fn blob_width(column_type: &ColumnType) -> Option<i32> {
    match column_type {
        ColumnType::Number(DType::F16) | ColumnType::Tensor { .. } => {
            column_type.row_bytes().and_then(|bytes| i32::try_from(bytes).ok())
        }
        _ => None,
    }
}

/// The field of a column in a Parquet file, one that may be null. `ids`: of the
/// column, its elements, …
pub(super) fn stored_field(name: &str, column_type: &ColumnType, ids: &[i32]) -> Field {
    let data_type = match (blob_width(column_type), column_type) {
        (Some(width), _) => DataType::FixedSizeBinary(width),
        (None, ColumnType::List(item)) => {
            DataType::List(Arc::new(stored_field("element", item, ids.get(1..).unwrap_or_default())))
        }
        _ => column_type.arrow_type(),
    };
    let metadata = ids.first().map(|id| (FIELD_ID.to_owned(), id.to_string()));
    Field::new(name, data_type, true).with_metadata(HashMap::from_iter(metadata))
}

/// The field id of a field read from a Parquet file.
pub(super) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// The Arrow type to read a file's column with: offsets of 64 bits for blobs,
/// because a few models fill 2 GiB.
pub(super) fn reading_type(in_file: &DataType) -> DataType {
    match in_file {
        DataType::Binary => DataType::LargeBinary,
        other => other.clone(),
    }
}

/// From the Arrow form of a column to its form in files.
pub(super) fn encode(array: &ArrayRef, column_type: &ColumnType, stored: &DataType) -> Result<ArrayRef> {
    match (column_type, stored) {
        (ColumnType::Tensor { dtype, .. }, DataType::FixedSizeBinary(width)) => {
            let list = array.as_fixed_size_list();
            refuse_null_elements(list)?;
            let bytes = element_bytes(list.values(), *dtype);
            Ok(Arc::new(arrow(FixedSizeBinaryArray::try_new(*width, bytes, list.nulls().cloned()))?))
        }
        (ColumnType::Number(dtype @ DType::F16), DataType::FixedSizeBinary(width)) => {
            let bytes = element_bytes(array, *dtype);
            Ok(Arc::new(arrow(FixedSizeBinaryArray::try_new(*width, bytes, array.nulls().cloned()))?))
        }
        (ColumnType::List(item), DataType::List(field)) => {
            let list = array.as_list::<i32>();
            let values = encode(list.values(), item, field.data_type())?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(arrow(ListArray::try_new(field.clone(), list.offsets().clone(), values, nulls))?))
        }
        _ => Ok(array.clone()),
    }
}

/// Elements may be null only where the tensor itself is.
fn refuse_null_elements(list: &FixedSizeListArray) -> Result<()> {
    let has_null = |row: usize| list.is_valid(row) && list.value(row).null_count() > 0;
    if list.values().null_count() > 0 && (0..list.len()).any(has_null) {
        return Err(Error::Invalid("a tensor holds a null element".into()));
    }
    Ok(())
}

/// The values of an array of numbers as bytes, without a copy but for bools.
fn element_bytes(values: &ArrayRef, dtype: DType) -> Buffer {
    if dtype == DType::Bool {
        return values.as_boolean().values().iter().map(u8::from).collect::<Vec<u8>>().into();
    }
    let data = values.to_data();
    let (start, width) = (data.offset() * dtype.size_bytes(), dtype.size_bytes());
    data.buffers().first().map(|buffer| buffer.slice_with_length(start, data.len() * width)).unwrap_or_default()
}

/// From a column as read from a file to the Arrow form of its type. The error
/// says what does not fit; the caller names the file.
pub(super) fn decode(array: &ArrayRef, column_type: &ColumnType) -> Result<ArrayRef> {
    let wanted = column_type.arrow_type();
    match (blob_width(column_type), column_type) {
        (Some(width), _) => from_blobs(array, column_type, width),
        (None, ColumnType::List(item)) => {
            let list = match array.data_type() {
                DataType::List(_) => array.clone(),
                _ => convert(array, &DataType::List(Arc::new(Field::new("element", item.arrow_type(), true))))?,
            };
            let list = list.as_list::<i32>();
            let values = decode(list.values(), item)?;
            let DataType::List(field) = wanted else { return Err(Error::Internal("a list is no list".into())) };
            Ok(Arc::new(arrow(ListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned()))?))
        }
        _ => convert(array, &wanted),
    }
}

/// Casts, refusing values that do not fit.
pub(super) fn convert(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, wanted, &options).map_err(|e| Error::Invalid(e.to_string()))
}

/// Tensors and float16 from blobs of `width` bytes each.
fn from_blobs(array: &ArrayRef, column_type: &ColumnType, width: i32) -> Result<ArrayRef> {
    let nulls = array.nulls().cloned();
    let bytes = match array.data_type() {
        DataType::FixedSizeBinary(found) if *found == width => {
            let data = array.to_data();
            let width = usize::try_from(width).unwrap_or_default();
            data.buffers()
                .first()
                .map(|buffer| buffer.slice_with_length(data.offset() * width, data.len() * width))
                .unwrap_or_default()
        }
        _ => {
            let blobs = convert(array, &DataType::LargeBinary)?;
            gather_blobs(blobs.as_binary::<i64>(), width)?
        }
    };
    if let ColumnType::Number(_) = column_type {
        return from_bytes(DataType::Float16, array.len(), bytes, nulls);
    }
    let (ColumnType::Tensor { dtype, .. }, DataType::FixedSizeList(item, length)) =
        (column_type, column_type.arrow_type())
    else {
        return Err(Error::Internal(format!("{column_type} is not stored as blobs")));
    };
    let elements = bytes.len() / dtype.size_bytes();
    let values: ArrayRef = if *dtype == DType::Bool {
        Arc::new(BooleanArray::from_iter(bytes.iter().map(|byte| Some(*byte != 0))))
    } else {
        from_bytes(item.data_type().clone(), elements, bytes, None)?
    };
    Ok(Arc::new(arrow(FixedSizeListArray::try_new(item, length, values, nulls))?))
}

/// The bytes of blobs back to back; a null takes the room of a value.
fn gather_blobs(blobs: &LargeBinaryArray, width: i32) -> Result<Buffer> {
    let width = usize::try_from(width).unwrap_or_default();
    let mut bytes = MutableBuffer::with_capacity(blobs.len() * width);
    for blob in blobs {
        match blob {
            Some(blob) if blob.len() == width => bytes.extend_from_slice(blob),
            Some(blob) => return Err(Error::Invalid(format!("a value has {} bytes, {width} expected", blob.len()))),
            None => bytes.extend_zeros(width),
        }
    }
    Ok(bytes.into())
}

/// An array of numbers over bytes, which are copied only when they lie askew.
fn from_bytes(
    data_type: DataType,
    length: usize,
    bytes: Buffer,
    nulls: Option<arrow::buffer::NullBuffer>,
) -> Result<ArrayRef> {
    let data = ArrayData::builder(data_type).len(length).add_buffer(bytes).nulls(nulls).align_buffers(true);
    Ok(make_array(arrow(data.build())?))
}

/// Names Arrow in its error.
pub(super) fn arrow<T>(result: std::result::Result<T, arrow::error::ArrowError>) -> Result<T> {
    result.map_err(|e| Error::library("cannot put columns together", e))
}
