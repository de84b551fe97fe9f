//! What the catalog knows of columns: counts, and smallest and largest values
//! as text. DuckDB skips files by them, so they are left out where unsure.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, Scalar, StringArray};
use arrow::compute::kernels::cmp;
use arrow::compute::{cast, filter, max, max_string, min, min_string, not};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::downcast_primitive_array;

use crate::base::ColumnType;

/// Longer texts are not kept as bounds.
const MAX_TEXT_BYTES: usize = 256;

/// Of one column in one file, or of what a commit adds to a table.
#[derive(Clone, Debug)]
pub(super) struct ColumnStats {
    pub(super) values: u64,
    pub(super) nulls: u64,
    /// For floating-point columns: whether there is a NaN.
    pub(super) nan: Option<bool>,
    range: Range,
}

#[derive(Clone, Debug)]
enum Range {
    /// No value yet.
    Empty,
    /// Smallest and largest, each an array of one value.
    Known(ArrayRef, ArrayRef),
    Unknown,
}

impl ColumnStats {
    /// Of a column without rows.
    pub(super) fn new(column_type: &ColumnType) -> Self {
        let nan = matches!(column_type.arrow_type(), DataType::Float32 | DataType::Float64).then_some(false);
        Self { values: 0, nulls: 0, nan, range: if has_order(column_type) { Range::Empty } else { Range::Unknown } }
    }

    /// Adds values, in the Arrow form of the column's type.
    pub(super) fn add(&mut self, array: &ArrayRef) {
        let nulls = array.null_count();
        self.nulls += nulls as u64;
        self.values += (array.len() - nulls) as u64;
        if matches!(self.range, Range::Unknown) || nulls == array.len() {
            return;
        }
        let array = match not_nan(array) {
            Some(kept) => {
                self.nan = Some(true);
                kept
            }
            None => array.clone(),
        };
        if array.len() > array.null_count() {
            self.widen(bounds(&array));
        }
    }

    /// Adds what another part of the same column holds.
    pub(super) fn merge(&mut self, other: &Self) {
        self.values += other.values;
        self.nulls += other.nulls;
        self.nan = match (self.nan, other.nan) {
            (Some(left), Some(right)) => Some(left || right),
            _ => None,
        };
        match &other.range {
            Range::Empty => {}
            Range::Known(low, high) => self.widen(Some((low.clone(), high.clone()))),
            Range::Unknown => self.range = Range::Unknown,
        }
    }

    /// Takes bounds the catalog has, as text; unreadable ones make it unsure.
    pub(super) fn widen_by_text(&mut self, column_type: &ColumnType, low: Option<&str>, high: Option<&str>) {
        let parse = |text: Option<&str>| {
            let array: ArrayRef = Arc::new(StringArray::from(vec![text?]));
            cast(&array, &column_type.arrow_type()).ok().filter(|value| value.null_count() == 0)
        };
        self.widen(parse(low).zip(parse(high)));
    }

    /// Smallest and largest value as DuckLake writes them.
    pub(super) fn bounds_text(&self) -> (Option<String>, Option<String>) {
        match &self.range {
            Range::Known(low, high) => match text_of(low).zip(text_of(high)) {
                Some((low, high)) => (Some(low), Some(high)),
                None => (None, None),
            },
            _ => (None, None),
        }
    }

    fn widen(&mut self, new: Option<(ArrayRef, ArrayRef)>) {
        let range = std::mem::replace(&mut self.range, Range::Unknown);
        self.range = match (range, new) {
            (Range::Unknown, _) | (_, None) => Range::Unknown,
            (Range::Empty, Some((low, high))) => Range::Known(low, high),
            (Range::Known(old_low, old_high), Some((low, high))) => {
                match order(old_low, low).zip(order(old_high, high)) {
                    Some(((low, _), (_, high))) => Range::Known(low, high),
                    None => Range::Unknown,
                }
            }
        };
    }
}

/// The lesser and the greater of two values.
fn order(left: ArrayRef, right: ArrayRef) -> Option<(ArrayRef, ArrayRef)> {
    let less = cmp::lt(&Scalar::new(left.clone()), &Scalar::new(right.clone())).ok()?;
    if less.values().iter().next()? { Some((left, right)) } else { Some((right, left)) }
}

fn has_order(column_type: &ColumnType) -> bool {
    match column_type.arrow_type() {
        DataType::Boolean | DataType::Float16 => false,
        DataType::Utf8 => *column_type == ColumnType::Utf8,
        other => other.is_primitive(),
    }
}

/// The values that are numbers, when some are not.
fn not_nan(array: &ArrayRef) -> Option<ArrayRef> {
    let nan = match array.data_type() {
        DataType::Float32 => BooleanArray::from_unary(array.as_primitive::<Float32Type>(), f32::is_nan),
        DataType::Float64 => BooleanArray::from_unary(array.as_primitive::<Float64Type>(), f64::is_nan),
        _ => return None,
    };
    if nan.true_count() == 0 { None } else { filter(array, &not(&nan).ok()?).ok() }
}

/// Smallest and largest value of a column that has one.
fn bounds(array: &ArrayRef) -> Option<(ArrayRef, ArrayRef)> {
    let array = array.as_ref();
    downcast_primitive_array!(
        array => {
            let one = |value| Some(Arc::new(typed(array, value?)) as ArrayRef);
            one(min(array)).zip(one(max(array)))
        },
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let one = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
            min_string(array).zip(max_string(array)).map(|(low, high)| (one(low), one(high)))
        },
        _ => None,
    )
}

/// An array of one value, of the type of `like` (with its precision and scale).
fn typed<T: arrow::array::ArrowPrimitiveType>(like: &PrimitiveArray<T>, value: T::Native) -> PrimitiveArray<T> {
    PrimitiveArray::<T>::from_value(value, 1).with_data_type(like.data_type().clone())
}

/// As DuckLake writes it: ISO 8601 with a space, decimals with all digits.
fn text_of(value: &ArrayRef) -> Option<String> {
    let text = cast(value, &DataType::Utf8).ok()?;
    let text = text.as_string::<i32>().iter().next()??;
    match value.data_type() {
        DataType::Timestamp(..) => Some(text.replace('T', " ")),
        DataType::Utf8 if text.len() > MAX_TEXT_BYTES => None,
        _ => Some(text.to_owned()),
    }
}
