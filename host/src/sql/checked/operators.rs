//! `a + b`, `a - b`, `a * b` and `-a` of integers.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Datum};
use datafusion::arrow::compute::kernels::numeric::{add, mul, neg, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::overflow;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Negative,
}

impl Operation {
    /// Of an operator that can overflow.
    pub(super) fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Subtract),
            Operator::Multiply => Some(Self::Multiply),
            _ => None,
        }
    }

    fn operator(self) -> Operator {
        match self {
            Self::Add => Operator::Plus,
            Self::Multiply => Operator::Multiply,
            Self::Subtract | Self::Negative => Operator::Minus,
        }
    }

    /// The function that does it.
    pub(super) fn function(self) -> Arc<ScalarUDF> {
        static FUNCTIONS: LazyLock<[(Operation, Arc<ScalarUDF>); 4]> = LazyLock::new(|| {
            [Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Negative]
                .map(|operation| (operation, Arc::new(ScalarUDF::new_from_impl(Checked::new(operation)))))
        });
        let found = FUNCTIONS.iter().find(|(operation, _)| *operation == self).map(|(_, function)| function.clone());
        found.unwrap_or_else(|| Arc::new(ScalarUDF::new_from_impl(Checked::new(self))))
    }
}

/// An operation as a function of SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        let arguments = if operation == Operation::Negative { 1 } else { 2 };
        Self { operation, signature: Signature::any(arguments, Volatility::Immutable) }
    }

    /// The expression that the call stands for.
    fn shown(&self, arguments: &[Expr]) -> Expr {
        match arguments {
            [left, right] => {
                let (left, right) = (Box::new(left.clone()), Box::new(right.clone()));
                Expr::BinaryExpr(BinaryExpr { left, op: self.operation.operator(), right })
            }
            [inner, ..] => Expr::Negative(Box::new(inner.clone())),
            [] => Expr::Literal(datafusion::scalar::ScalarValue::Null, None),
        }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negative => "checked_negative",
        }
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

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments.first().cloned().ok_or_else(|| DataFusionError::Internal("an operator without operands".into()))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kind = arguments.return_field.data_type().clone();
        let result = match arguments.args.as_slice() {
            [left, right] => apply(left, right, |a: &dyn Datum, b: &dyn Datum| match self.operation {
                Operation::Add => add(a, b),
                Operation::Multiply => mul(a, b),
                Operation::Subtract | Operation::Negative => sub(a, b),
            }),
            [ColumnarValue::Array(array)] => {
                neg(array.as_ref()).map(ColumnarValue::Array).map_err(DataFusionError::from)
            }
            [ColumnarValue::Scalar(scalar)] => negative(&scalar.to_array()?),
            _ => Err(DataFusionError::Internal("an operator with other operands".into())),
        };
        result.map_err(|error| match error {
            DataFusionError::ArrowError(arrow, _) => match *arrow {
                ArrowError::ArithmeticOverflow(text) => overflow(operation_in(&text), &kind),
                other => other.into(),
            },
            other => other,
        })
    }
}

fn negative(one: &ArrayRef) -> Result<ColumnarValue> {
    let result = neg(one.as_ref())?;
    datafusion::scalar::ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar)
}

/// `127 + 1`, of what Arrow says.
fn operation_in(text: &str) -> &str {
    text.strip_prefix("Overflow happened on: ").unwrap_or(text)
}
