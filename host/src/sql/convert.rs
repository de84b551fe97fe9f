//! Columns from one Arrow form to the form of a column type, without loss and
//! without silence: a value that does not fit is a [`Mismatch`] with its row.
//!
//! Text becomes numbers, times, uuid, ipv4, tensors and lists; nested lists and
//! row-major little-endian bytes become tensors; widths of integers are checked.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType, UInt32Type};
use arrow::util::display::array_value_to_string;

use super::checked::lost_to_infinity;
use super::nested;
use crate::base::{ColumnType, Error, Schema};

/// Characters of a date.
const DATE_CHARS: usize = "2026-11-22".len();

/// A value that the wanted type cannot hold.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// Its row in the array.
    pub row: usize,
    /// For example `` `abc` is not int64 ``.
    pub reason: String,
}

impl Mismatch {
    /// The value shown at `row` is not a `to`.
    pub(super) fn value(row: usize, shown: &str, to: &ColumnType) -> Self {
        let mut short: String = shown.chars().take(40).collect();
        if short.len() < shown.len() {
            short.push('…');
        }
        Self { row, reason: format!("`{short}` is not {to}") }
    }

    /// The error of a whole statement or file, `place` naming the column.
    pub(super) fn at(self, place: &str) -> Error {
        Error::TypeMismatch(format!("{place}: {}", self.reason))
    }
}

/// What conversions return.
pub(super) type Converted = Result<ArrayRef, Mismatch>;

/// `array` (of exact type `from`, when known) as a column of type `to`.
pub(super) fn to_column(array: &ArrayRef, from: Option<&ColumnType>, to: &ColumnType) -> Converted {
    let wanted = to.arrow_type();
    if *array.data_type() == wanted && from.is_none_or(|from| from == to || !is_text_in_sql(from)) {
        return match (from, to) {
            (None | Some(ColumnType::Utf8), ColumnType::Json) => checked_json(array),
            _ => Ok(array.clone()),
        };
    }
    match array.data_type() {
        DataType::Null => Ok(new_null_array(&wanted, array.len())),
        DataType::Dictionary(_, value) => to_column(&cast(array, value, to)?, from, to),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => from_text(&cast(array, &DataType::Utf8, to)?, to),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            from_bytes(array, from, to)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => match to {
            ColumnType::Tensor { dtype, shape } => nested::to_tensor(array, *dtype, shape, to),
            ColumnType::List(item) => nested::to_list(array, item, to),
            _ => Err(Mismatch { row: 0, reason: format!("a list is not {to}") }),
        },
        DataType::UInt32 if from == Some(&ColumnType::Ipv4) && *to == ColumnType::Utf8 => Ok(ipv4_to_text(array)),
        DataType::Timestamp(_, Some(_)) if *to == ColumnType::Timestamp => {
            let utc = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), to)?;
            Ok(Arc::new(utc.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>)))
        }
        kind if kind.is_floating() && wanted.is_integer() => {
            check_whole(array, to)?;
            cast(array, &wanted, to)
        }
        _ => cast(array, &wanted, to),
    }
}

/// Whether SQL sees the type as text while storage keeps it in bits.
pub(super) fn is_text_in_sql(column_type: &ColumnType) -> bool {
    matches!(column_type, ColumnType::Uuid | ColumnType::Ipv4)
}

/// A stored column as SQL sees it: uuid and ipv4 as text, all else as it is.
pub(super) fn to_sql(array: &ArrayRef, column_type: &ColumnType) -> ArrayRef {
    match column_type {
        ColumnType::Uuid => uuid_to_text(array),
        ColumnType::Ipv4 => ipv4_to_text(array),
        _ => array.clone(),
    }
}

/// The canonical texts of uuids.
fn uuid_to_text(array: &ArrayRef) -> ArrayRef {
    let Some(bytes) = array.as_fixed_size_binary_opt() else { return array.clone() };
    let text = bytes.iter().map(|value| Some(uuid::Uuid::from_slice(value?).ok()?.to_string()));
    Arc::new(text.collect::<StringArray>())
}

/// The dotted texts of addresses.
fn ipv4_to_text(array: &ArrayRef) -> ArrayRef {
    let Some(bits) = array.as_primitive_opt::<UInt32Type>() else { return array.clone() };
    Arc::new(bits.iter().map(|value| value.map(|v| std::net::Ipv4Addr::from(v).to_string())).collect::<StringArray>())
}

/// Arrow's cast; the first value that gets lost is the mismatch.
pub(super) fn cast(array: &ArrayRef, wanted: &DataType, to: &ColumnType) -> Converted {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let result = cast_with_options(array.as_ref(), wanted, &options).map_err(|_| Mismatch {
        row: 0,
        reason: format!("{} cannot become {to}", array.data_type().to_string().to_lowercase()),
    })?;
    if result.null_count() > array.null_count()
        && let Some(row) = (0..array.len()).find(|row| result.is_null(*row) && !array.is_null(*row))
    {
        return Err(Mismatch::value(row, &array_value_to_string(array.as_ref(), row).unwrap_or_default(), to));
    }
    if let Some(row) = lost_to_infinity(array, &result) {
        return Err(Mismatch::value(row, &array_value_to_string(array.as_ref(), row).unwrap_or_default(), to));
    }
    Ok(result)
}

/// Refuses numbers with a fraction, which a cast to integers would cut.
fn check_whole(array: &ArrayRef, to: &ColumnType) -> Result<(), Mismatch> {
    let wide = cast(array, &DataType::Float64, to)?;
    let values = wide.as_primitive::<Float64Type>();
    match values.iter().position(|value| value.is_some_and(|v| v.fract() != 0.0)) {
        Some(row) => Err(Mismatch::value(row, &values.value(row).to_string(), to)),
        None => Ok(()),
    }
}

/// Text to any type.
fn from_text(array: &ArrayRef, to: &ColumnType) -> Converted {
    let texts = array.as_string::<i32>();
    let each = || texts.iter().enumerate().filter_map(|(row, text)| Some((row, text?.trim())));
    match to {
        ColumnType::Utf8 => Ok(array.clone()),
        ColumnType::Json => checked_json(array),
        ColumnType::Uuid => {
            let mut bytes = vec![[0; 16]; texts.len()];
            for (row, text) in each() {
                let parsed = uuid::Uuid::parse_str(text).map_err(|_| Mismatch::value(row, text, to))?;
                if let Some(slot) = bytes.get_mut(row) {
                    *slot = parsed.into_bytes();
                }
            }
            let values = bytes.iter().enumerate().map(|(row, value)| texts.is_valid(row).then_some(*value));
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16)
                .map(|column| Arc::new(column) as ArrayRef)
                .map_err(|e| Mismatch { row: 0, reason: e.to_string() })
        }
        ColumnType::Ipv4 => {
            let mut bits = vec![None; texts.len()];
            for (row, text) in each() {
                let parsed: std::net::Ipv4Addr = text.parse().map_err(|_| Mismatch::value(row, text, to))?;
                if let Some(slot) = bits.get_mut(row) {
                    *slot = Some(u32::from(parsed));
                }
            }
            Ok(Arc::new(UInt32Array::from(bits)))
        }
        ColumnType::Binary => binary_from_text(texts, to),
        // Arrow would cut a time of day off.
        ColumnType::Date if each().any(|(_, text)| text.len() > DATE_CHARS) => {
            let (row, text) = each().find(|(_, text)| text.len() > DATE_CHARS).unwrap_or_default();
            Err(Mismatch::value(row, text, to))
        }
        ColumnType::Tensor { .. } | ColumnType::List(_) => nested::from_text(texts, to),
        _ => {
            let spaced = texts.iter().flatten().any(|text| text.len() != text.trim().len());
            let trimmed: ArrayRef = match spaced {
                true => Arc::new(texts.iter().map(|text| text.map(str::trim)).collect::<StringArray>()),
                false => array.clone(),
            };
            cast(&trimmed, &to.arrow_type(), to)
        }
    }
}

/// `\x` and hexadecimal digits as those bytes; other text as its own bytes.
fn binary_from_text(texts: &StringArray, to: &ColumnType) -> Converted {
    let mut column = arrow::array::LargeBinaryBuilder::new();
    for (row, text) in texts.iter().enumerate() {
        match text.map(|text| (text, text.strip_prefix("\\x"))) {
            None => column.append_null(),
            Some((text, None)) => column.append_value(text.as_bytes()),
            Some((text, Some(digits))) => {
                column.append_value(hex(digits).ok_or_else(|| Mismatch::value(row, text, to))?);
            }
        }
    }
    Ok(Arc::new(column.finish()))
}

/// The bytes that pairs of hexadecimal digits name.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect()
}

/// Text whose every value is JSON.
fn checked_json(array: &ArrayRef) -> Converted {
    let texts = array.as_string::<i32>();
    for (row, text) in texts.iter().enumerate() {
        if let Some(text) = text
            && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
        {
            return Err(Mismatch::value(row, text, &ColumnType::Json));
        }
    }
    Ok(array.clone())
}

/// Bytes to binary, uuid, text of a uuid, or a tensor.
fn from_bytes(array: &ArrayRef, from: Option<&ColumnType>, to: &ColumnType) -> Converted {
    match to {
        ColumnType::Tensor { dtype, shape } => {
            let bytes = cast(array, &DataType::LargeBinary, to)?;
            nested::tensor_from_bytes(bytes.as_binary::<i64>(), *dtype, shape, to)
        }
        ColumnType::Utf8 if from == Some(&ColumnType::Uuid) => Ok(uuid_to_text(array)),
        ColumnType::Uuid => {
            let bytes = cast(array, &DataType::LargeBinary, to)?;
            let bytes = bytes.as_binary::<i64>();
            if let Some(row) = bytes.iter().position(|value| value.is_some_and(|v| v.len() != 16)) {
                let reason = format!("{} bytes are not a uuid, which has 16", bytes.value(row).len());
                return Err(Mismatch { row, reason });
            }
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes.iter(), 16)
                .map(|column| Arc::new(column) as ArrayRef)
                .map_err(|e| Mismatch { row: 0, reason: e.to_string() })
        }
        ColumnType::Binary | ColumnType::Utf8 => cast(array, &to.arrow_type(), to),
        _ => Err(Mismatch { row: 0, reason: format!("bytes cannot become {to}") }),
    }
}

/// The columns of `batch` (of exact types `from`, where known) at `positions`, as rows of `to`;
/// a position that is missing gives a column without values. `place` begins the
/// message of an error.
pub(super) fn columns(
    batch: &RecordBatch,
    from: &[Option<ColumnType>],
    positions: &[Option<usize>],
    to: &Schema,
    place: &str,
) -> crate::base::Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(positions.len());
    for (column, position) in to.columns().iter().zip(positions) {
        let found = position.and_then(|i| Some((batch.columns().get(i)?, from.get(i).and_then(Option::as_ref))));
        let typed = match found {
            Some((array, exact)) => to_column(array, exact, &column.column_type)
                .map_err(|m| m.at(&format!("{place}, column `{}`", column.name)))?,
            None => new_null_array(&column.column_type.arrow_type(), batch.num_rows()),
        };
        if !column.nullable && typed.null_count() > 0 {
            return Err(Error::Invalid(format!(
                "{place}, column `{}`: no value, but the column is not null",
                column.name
            )));
        }
        columns.push(typed);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(to.to_arrow(), columns, &options).map_err(|e| Error::Internal(e.to_string()))
}
