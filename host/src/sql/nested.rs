//! Tensors and lists from nested lists, from bytes and from text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, LargeBinaryArray, ListArray, StringArray, make_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};

use super::convert::{Converted, Mismatch, cast, to_column};
use crate::base::{ColumnType, DType};

/// A fixed-size list column of tensors over `values`.
fn tensor_column(values: ArrayRef, nulls: Option<NullBuffer>, to: &ColumnType) -> Converted {
    let DataType::FixedSizeList(item, width) = to.arrow_type() else {
        return Err(Mismatch { row: 0, reason: format!("{to} is no tensor") });
    };
    FixedSizeListArray::try_new(item, width, values, nulls)
        .map(|column| Arc::new(column) as ArrayRef)
        .map_err(|e| Mismatch { row: 0, reason: e.to_string() })
}

/// Lists, nested as deep as the shape or flat, as tensors.
pub(super) fn to_tensor(array: &ArrayRef, dtype: DType, shape: &[usize], to: &ColumnType) -> Converted {
    let elements: usize = shape.iter().product();
    let mut flat: Vec<ArrayRef> = Vec::with_capacity(array.len());
    let missing = Mismatch { row: 0, reason: format!("an element of {to} is missing") };
    let mut total = 0;
    for row in 0..array.len() {
        if array.is_null(row) {
            continue;
        }
        let mut parts = Vec::new();
        let fits = gather(&array.slice(row, 1), shape, &mut parts).map_err(|m| Mismatch { row, ..m })?;
        let count: usize = parts.iter().map(|part| part.len()).sum();
        if !fits || count != elements {
            return Err(Mismatch { row, reason: format!("a list of {count} elements is not {to}") });
        }
        if parts.iter().any(|part| part.null_count() > 0) {
            return Err(Mismatch { row, ..missing });
        }
        total += count;
        flat.extend(parts);
    }
    let item = ColumnType::Number(dtype);
    let parts: Vec<&dyn Array> = flat.iter().map(|part| part.as_ref()).collect();
    let joined = match parts.is_empty() {
        true => arrow::array::new_empty_array(&item.arrow_type()),
        false => arrow::compute::concat(&parts).map_err(|e| Mismatch { row: 0, reason: e.to_string() })?,
    };
    let values =
        to_column(&joined, None, &item).map_err(|m| Mismatch { row: m.row / elements.max(1), reason: m.reason })?;
    if total == array.len() * elements {
        return tensor_column(values, None, to);
    }
    // Rows without a value keep their place among the elements.
    let mut next = 0u64;
    let indices: Vec<Option<u64>> = (0..array.len())
        .flat_map(|row| {
            let valid = !array.is_null(row);
            let start = next;
            next += if valid { elements as u64 } else { 0 };
            (0..elements as u64).map(move |i| Some(if valid { start + i } else { 0 }))
        })
        .collect();
    let spread = match values.is_empty() {
        true => zeros(dtype, array.len() * elements)?,
        false => arrow::compute::take(values.as_ref(), &arrow::array::UInt64Array::from(indices), None)
            .map_err(|e| Mismatch { row: 0, reason: e.to_string() })?,
    };
    tensor_column(spread, array.nulls().cloned(), to)
}

/// Collects the innermost elements below `array`; `false` when nesting or
/// lengths differ from `shape`.
fn gather(array: &ArrayRef, shape: &[usize], parts: &mut Vec<ArrayRef>) -> Result<bool, Mismatch> {
    let mut fits = true;
    for row in 0..array.len() {
        let Some(items) = items_of(array, row) else { return Ok(false) };
        match items.data_type() {
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
                let inner = shape.get(1..).unwrap_or_default();
                fits &= shape.first() == Some(&items.len()) && !inner.is_empty();
                fits &= gather(&items, inner, parts)?;
            }
            // One flat list may hold all that remains of the shape.
            _ => {
                fits &= items.len() == shape.iter().product::<usize>();
                parts.push(items);
            }
        }
    }
    Ok(fits)
}

/// The elements of one row of a list column.
fn items_of(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(_, _) => array.as_fixed_size_list().value(row),
        _ => return None,
    })
}

/// Lists of any form as lists of `item`.
pub(super) fn to_list(array: &ArrayRef, item: &ColumnType, to: &ColumnType) -> Converted {
    let DataType::List(field) = to.arrow_type() else {
        return Err(Mismatch { row: 0, reason: format!("{to} is no list") });
    };
    let from: Field = match array.data_type() {
        DataType::List(from) | DataType::LargeList(from) | DataType::FixedSizeList(from, _) => from.as_ref().clone(),
        other => return Err(Mismatch { row: 0, reason: format!("{other} is no list") }),
    };
    let plain = DataType::List(Arc::new(Field::new("item", from.data_type().clone(), true)));
    let lists = cast(array, &plain, to)?;
    let lists = lists.as_list::<i32>();
    let exact = ColumnType::from_arrow(&from).ok();
    let values = to_column(lists.values(), exact.as_ref(), item).map_err(|m| Mismatch {
        row: lists.offsets().iter().skip(1).position(|end| *end as usize > m.row).unwrap_or_default(),
        reason: m.reason,
    })?;
    ListArray::try_new(field, lists.offsets().clone(), values, lists.nulls().cloned())
        .map(|column| Arc::new(column) as ArrayRef)
        .map_err(|e| Mismatch { row: 0, reason: e.to_string() })
}

/// Rows of row-major little-endian bytes as tensors.
pub(super) fn tensor_from_bytes(bytes: &LargeBinaryArray, dtype: DType, shape: &[usize], to: &ColumnType) -> Converted {
    let row_bytes = shape.iter().product::<usize>() * dtype.size_bytes();
    let mut data: Vec<u8> = Vec::with_capacity(bytes.len() * row_bytes);
    for (row, value) in bytes.iter().enumerate() {
        match value {
            None => data.resize(data.len() + row_bytes, 0),
            Some(value) if value.len() == row_bytes => data.extend_from_slice(value),
            Some(value) => {
                let reason = format!("{} bytes are not {to}, which has {row_bytes}", value.len());
                return Err(Mismatch { row, reason });
            }
        }
    }
    tensor_column(numbers_from_bytes(data, dtype)?, bytes.nulls().cloned(), to)
}

/// Little-endian bytes as numbers; a bool takes one byte.
pub(super) fn numbers_from_bytes(data: Vec<u8>, dtype: DType) -> Converted {
    let len = data.len() / dtype.size_bytes();
    let buffer = match dtype {
        DType::Bool => Buffer::from_iter(data.iter().map(|byte| *byte != 0)),
        _ => Buffer::from_vec(data),
    };
    arrow::array::ArrayData::builder(ColumnType::Number(dtype).arrow_type())
        .len(len)
        .add_buffer(buffer)
        .align_buffers(true)
        .build()
        .map(make_array)
        .map_err(|e| Mismatch { row: 0, reason: e.to_string() })
}

/// `len` zeros.
fn zeros(dtype: DType, len: usize) -> Converted {
    numbers_from_bytes(vec![0; len * dtype.size_bytes()], dtype)
}

/// JSON arrays as lists or tensors.
pub(super) fn from_text(texts: &StringArray, to: &ColumnType) -> Converted {
    let depth = match to {
        ColumnType::Tensor { .. } => None,
        _ => Some(1),
    };
    let mut rows: Vec<Option<Vec<Option<String>>>> = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let Some(text) = text else {
            rows.push(None);
            continue;
        };
        let parsed = serde_json::from_str(text).map_err(|_| Mismatch::value(row, text, to))?;
        let serde_json::Value::Array(items) = parsed else { return Err(Mismatch::value(row, text, to)) };
        if let ColumnType::Tensor { shape, .. } = to
            && !has_shape(&items, shape)
        {
            return Err(Mismatch::value(row, text, to));
        }
        let mut flat = Vec::new();
        flatten(items, depth, &mut flat);
        rows.push(Some(flat));
    }
    let lengths = rows.iter().map(|row| row.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let nulls = NullBuffer::from_iter(rows.iter().map(Option::is_some));
    let items: StringArray = rows.into_iter().flatten().flatten().collect();
    let field = Arc::new(Field::new("item", DataType::Utf8, true));
    let lists = ListArray::try_new(field, offsets, Arc::new(items), Some(nulls))
        .map_err(|e| Mismatch { row: 0, reason: e.to_string() })?;
    to_column(&(Arc::new(lists) as ArrayRef), None, to)
}

/// Whether nested arrays have this shape, or are one flat array of its size.
fn has_shape(items: &[serde_json::Value], shape: &[usize]) -> bool {
    if items.iter().all(|item| !item.is_array()) {
        return items.len() == shape.iter().product::<usize>();
    }
    let inner = shape.get(1..).unwrap_or_default();
    shape.first() == Some(&items.len())
        && items.iter().all(|item| item.as_array().is_some_and(|items| nests(items, inner)))
}

/// Whether nested arrays have exactly this shape.
fn nests(items: &[serde_json::Value], shape: &[usize]) -> bool {
    match shape {
        [] => false,
        [extent] => items.len() == *extent && items.iter().all(|item| !item.is_array()),
        [extent, inner @ ..] => {
            items.len() == *extent && items.iter().all(|item| item.as_array().is_some_and(|i| nests(i, inner)))
        }
    }
}

/// Elements as text, `depth` levels deep or all the way down.
fn flatten(items: Vec<serde_json::Value>, depth: Option<usize>, flat: &mut Vec<Option<String>>) {
    for item in items {
        match item {
            serde_json::Value::Null => flat.push(None),
            serde_json::Value::String(text) => flat.push(Some(text)),
            serde_json::Value::Array(inner) if depth != Some(1) => flatten(inner, depth, flat),
            other => flat.push(Some(other.to_string())),
        }
    }
}
