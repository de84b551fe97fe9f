//! Casts to a narrower float: a finite number must not become infinite.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::base::{ColumnType, Error};

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

/// The first row that is finite in `before` and infinite in `after`, both
/// columns of numbers or text.
pub(in crate::sql) fn lost_to_infinity(before: &ArrayRef, after: &ArrayRef) -> Option<usize> {
    if !may_overflow(before.data_type(), after.data_type()) {
        return None;
    }
    let wide = cast(after, &DataType::Float64).ok()?;
    let wide = wide.as_primitive_opt::<Float64Type>()?;
    let mut lost = (0..wide.len()).filter(|row| wide.is_valid(*row) && wide.value(*row).is_infinite());
    if is_text(before.data_type()) {
        let infinite = |row: usize| {
            let text = array_value_to_string(before, row).unwrap_or_default();
            text.trim().trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("inf")
        };
        return lost.find(|row| !infinite(*row));
    }
    let source = cast(before, &DataType::Float64).ok()?;
    let source = source.as_primitive_opt::<Float64Type>()?;
    lost.find(|row| source.is_valid(*row) && source.value(*row).is_finite())
}

/// The function that casts to `to`.
pub(super) fn function(to: &DataType) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Narrow { to: to.clone(), signature: Signature::any(1, Volatility::Immutable) }))
}

/// A cast as a function of SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Narrow {
    to: DataType,
    signature: Signature,
}

impl Narrow {
    fn shown(&self, arguments: &[Expr]) -> Expr {
        let inner = arguments.first().cloned().unwrap_or(Expr::Literal(ScalarValue::Null, None));
        Expr::Cast(Cast::new(Box::new(inner), self.to.clone()))
    }

    fn cast(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let narrow = cast_with_options(array, &self.to, &strict)?;
        match lost_to_infinity(array, &narrow) {
            None => Ok(narrow),
            Some(row) => {
                let value = array_value_to_string(array, row).unwrap_or_default();
                let to = match self.to {
                    DataType::Float16 => ColumnType::Number(crate::base::DType::F16),
                    DataType::Float32 => ColumnType::Number(crate::base::DType::F32),
                    _ => ColumnType::Number(crate::base::DType::F64),
                };
                let text = format!("`{value}` is not {to}: it would become infinite; use a wider type");
                Err(DataFusionError::External(Box::new(Error::OutOfRange(text))))
            }
        }
    }
}

impl ScalarUDFImpl for Narrow {
    fn name(&self) -> &str {
        "checked_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(self.shown(arguments).to_string())
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(self.shown(arguments).schema_name().to_string())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.first() {
            Some(ColumnarValue::Array(array)) => self.cast(array).map(ColumnarValue::Array),
            Some(ColumnarValue::Scalar(scalar)) => {
                ScalarValue::try_from_array(&self.cast(&scalar.to_array()?)?, 0).map(ColumnarValue::Scalar)
            }
            None => Err(DataFusionError::Internal("a cast of nothing".into())),
        }
    }
}
