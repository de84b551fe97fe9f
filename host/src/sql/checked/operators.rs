//! `a + b`, `a - b`, `a * b` and `-a` of integers.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr_common::datum::apply;
use datafusion::scalar::ScalarValue;

use super::overflow;

/// `left + right`.
pub(super) fn add(left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    named(apply(left, right, numeric::add), &left.data_type())
}

/// `left - right`.
pub(super) fn subtract(left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    named(apply(left, right, numeric::sub), &left.data_type())
}

/// `left * right`.
pub(super) fn multiply(left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
    named(apply(left, right, numeric::mul), &left.data_type())
}

/// `-value`.
pub(super) fn negative(value: &ColumnarValue) -> Result<ColumnarValue> {
    named(each(value, |array| Ok(numeric::neg(array.as_ref())?)), &value.data_type())
}

/// What a function of arrays makes of an array or of one value.
pub(super) fn each(value: &ColumnarValue, of: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => of(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(scalar) => {
            ScalarValue::try_from_array(&of(&scalar.to_array()?)?, 0).map(ColumnarValue::Scalar)
        }
    }
}

/// The result, with an overflow in our words.
fn named(result: Result<ColumnarValue>, of: &DataType) -> Result<ColumnarValue> {
    result.map_err(|error| match error {
        DataFusionError::ArrowError(arrow, _) => match *arrow {
            ArrowError::ArithmeticOverflow(text) => {
                overflow(text.strip_prefix("Overflow happened on: ").unwrap_or(&text), of)
            }
            other => other.into(),
        },
        other => other,
    })
}
