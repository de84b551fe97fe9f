//! Checks of column buffers that come from a guest, and of what tensors made.

use super::store::RawColumn;
use crate::base::{Column, ColumnType, DType, Error, Result};

/// Microseconds of a day: a time is below.
const DAY_US: i64 = 86_400_000_000;

/// Buffers of a column of `width` bytes a row.
pub(super) fn fixed(column: &Column, width: usize, data: &RawColumn<'_>) -> Result<()> {
    validity(column, data)?;
    if data.offsets.is_some() {
        return Err(Error::Invalid(format!("column `{}` is {}: it takes no offsets", column.name, column.column_type)));
    }
    let expected = data.rows.checked_mul(width as u64);
    if expected != Some(data.values.len() as u64) {
        return Err(Error::Invalid(format!(
            "column `{}` is {}: {} rows take {} bytes of values, {} were given",
            column.name,
            column.column_type,
            data.rows,
            expected.map_or_else(|| "too many".to_owned(), |n| n.to_string()),
            data.values.len()
        )));
    }
    let outside = |reason: &str| Err(Error::OutOfRange(format!("column `{}`: {reason}", column.name)));
    match &column.column_type {
        ColumnType::Number(DType::Bool) | ColumnType::Tensor { dtype: DType::Bool, .. }
            if data.values.iter().any(|byte| *byte > 1) =>
        {
            outside("a bool is one byte, 0 or 1")
        }
        ColumnType::Time => times(column, data.values),
        ColumnType::Decimal128 { precision, .. } => {
            let largest = 10i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
            let decimals = data.values.chunks_exact(16).filter_map(|b| b.try_into().ok()).map(i128::from_le_bytes);
            match decimals.into_iter().any(|value| value.unsigned_abs() >= largest.unsigned_abs()) {
                true => outside(&format!("a value has more than {precision} digits")),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Values of a column of times: bytes from a guest or made by tensors.
pub(super) fn times(column: &Column, values: &[u8]) -> Result<()> {
    match i64s(values).find(|us| !(0..DAY_US).contains(us)) {
        None => Ok(()),
        Some(us) => Err(Error::OutOfRange(format!(
            "column `{}`: a time is 0 to 86399999999 microseconds, not {us}",
            column.name
        ))),
    }
}

/// Buffers of a column of variable width.
pub(super) fn spans(column: &Column, data: &RawColumn<'_>) -> Result<()> {
    validity(column, data)?;
    let wrong = |reason: String| Err(Error::Invalid(format!("column `{}`: {reason}", column.name)));
    let Some(offsets) = data.offsets else {
        return wrong(format!("a column of type {} needs offsets", column.column_type));
    };
    let expected = data.rows.checked_add(1).and_then(|n| n.checked_mul(8));
    if expected != Some(offsets.len() as u64) {
        return wrong(format!("{} rows need {} offsets of 8 bytes", data.rows, data.rows.saturating_add(1)));
    }
    let mut previous = 0;
    for (i, offset) in i64s(offsets).enumerate() {
        if (i == 0 && offset != 0) || offset < previous {
            return wrong(format!("offset {i} is {offset}; offsets begin at 0 and do not fall"));
        }
        previous = offset;
    }
    if previous as u64 != data.values.len() as u64 {
        return wrong(format!("the last offset is {previous}, {} bytes were given", data.values.len()));
    }
    let rows = usize::try_from(data.rows).unwrap_or_default();
    let present = (0..rows).filter(|row| data.is_present(*row));
    match column.column_type {
        ColumnType::Utf8 => {
            for row in present {
                if std::str::from_utf8(data.row(row)).is_err() {
                    return wrong(format!("row {row} of what was written is not UTF-8"));
                }
            }
        }
        ColumnType::Json => {
            for row in present {
                if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(data.row(row)) {
                    return wrong(format!("row {row} of what was written is not JSON: {e}"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn validity(column: &Column, data: &RawColumn<'_>) -> Result<()> {
    let Some(bits) = data.validity else { return Ok(()) };
    if bits.len() as u64 != data.rows.div_ceil(8) {
        return Err(Error::Invalid(format!(
            "column `{}`: the validity of {} rows takes {} bytes, {} were given",
            column.name,
            data.rows,
            data.rows.div_ceil(8),
            bits.len()
        )));
    }
    let rows = usize::try_from(data.rows).unwrap_or_default();
    if !column.nullable && (0..rows).any(|row| !data.is_present(row)) {
        return Err(Error::Invalid(format!("column `{}` is not nullable, null was written", column.name)));
    }
    Ok(())
}

fn i64s(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.chunks_exact(8).filter_map(|b| b.try_into().ok()).map(i64::from_le_bytes)
}
