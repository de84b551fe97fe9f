//! Casts to a narrower float: a finite number must not become infinite.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, nullif};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;

use super::operators::each;
use crate::base::{ColumnType, DType, Error};

/// Whether a cast can turn a finite number into an infinite one.
pub(super) fn may_overflow(from: &DataType, to: &DataType) -> bool {
    match to {
        DataType::Float16 => is_number(from) && *from != DataType::Float16,
        DataType::Float32 => matches!(from, DataType::Float64) || is_text(from),
        DataType::Float64 => is_text(from),
        _ => false,
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || is_text(kind)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// `CAST(value AS to)`, an error for what would become infinite.
pub(super) fn cast_to(to: &DataType, value: &ColumnarValue) -> Result<ColumnarValue> {
    each(value, |array| {
        let narrow = cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })?;
        match lost_to_infinity(array, &narrow) {
            None => Ok(narrow),
            Some(row) => Err(DataFusionError::External(Box::new(lost_in(array, row, to)))),
        }
    })
}

/// `TRY_CAST(value AS to)`, null for what would become infinite.
pub(super) fn try_cast_to(to: &DataType, value: &ColumnarValue) -> Result<ColumnarValue> {
    each(value, |array| {
        let narrow = cast(array, to)?;
        let lost = Lost::between(array, &narrow);
        let is_lost: BooleanArray =
            (0..narrow.len()).map(|row| Some(lost.as_ref().is_some_and(|l| l.has(row)))).collect();
        Ok(nullif(&narrow, &is_lost)?)
    })
}

/// The first row that is finite in `before` and infinite in `after`, both
/// columns of numbers or text.
pub(in crate::sql) fn lost_to_infinity(before: &ArrayRef, after: &ArrayRef) -> Option<usize> {
    let lost = Lost::between(before, after)?;
    (0..after.len()).find(|row| lost.has(*row))
}

/// A column before and after a cast that may have made finite numbers infinite.
struct Lost<'a> {
    before: Before<'a>,
    after: Float64Array,
}

enum Before<'a> {
    Numbers(Float64Array),
    /// Looked at where a number became infinite only.
    Text(&'a ArrayRef),
}

impl<'a> Lost<'a> {
    /// None when no number can have become infinite.
    fn between(before: &'a ArrayRef, after: &ArrayRef) -> Option<Self> {
        if !may_overflow(before.data_type(), after.data_type()) {
            return None;
        }
        let wide = |column: &ArrayRef| cast(column, &DataType::Float64).ok()?.as_primitive_opt().cloned();
        let after = wide(after)?;
        let before = match is_text(before.data_type()) {
            true => Before::Text(before),
            false => Before::Numbers(wide(before)?),
        };
        Some(Self { before, after })
    }

    /// Whether a row is finite before and infinite after.
    fn has(&self, row: usize) -> bool {
        let is_infinite = self.after.is_valid(row) && self.after.value(row).is_infinite();
        is_infinite
            && match &self.before {
                Before::Numbers(before) => before.is_valid(row) && before.value(row).is_finite(),
                Before::Text(texts) => !is_infinity(&array_value_to_string(texts, row).unwrap_or_default()),
            }
    }
}

/// Whether a text names infinity.
fn is_infinity(text: &str) -> bool {
    text.trim().trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("inf")
}

/// The error for a value that would become infinite.
fn lost_in(before: &ArrayRef, row: usize, to: &DataType) -> Error {
    let value = array_value_to_string(before, row).unwrap_or_default();
    let to = ColumnType::Number(match to {
        DataType::Float16 => DType::F16,
        DataType::Float32 => DType::F32,
        _ => DType::F64,
    });
    Error::OutOfRange(format!("`{value}` is not {to}: it would become infinite; use a wider type"))
}
