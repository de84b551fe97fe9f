//! The function that stands in a plan for an operator or a cast.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use super::{narrowing, operators};

/// What is replaced: an operator between integers, or a cast to a float.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Negative,
    Cast(DataType),
    TryCast(DataType),
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

    /// The function's name; `explain` knows each of them.
    fn function_name(&self) -> &'static str {
        match self {
            Self::Add => "checked_add",
            Self::Subtract => "checked_subtract",
            Self::Multiply => "checked_multiply",
            Self::Negative => "checked_negative",
            Self::Cast(DataType::Float16) => "checked_cast_float16",
            Self::Cast(DataType::Float32) => "checked_cast_float32",
            Self::Cast(_) => "checked_cast_float64",
            Self::TryCast(DataType::Float16) => "checked_try_cast_float16",
            Self::TryCast(DataType::Float32) => "checked_try_cast_float32",
            Self::TryCast(_) => "checked_try_cast_float64",
        }
    }

    /// The expression that a call stands for.
    fn replaced(&self, arguments: &[Expr]) -> Expr {
        let operand =
            |at: usize| Box::new(arguments.get(at).cloned().unwrap_or(Expr::Literal(ScalarValue::Null, None)));
        let binary = |op| Expr::BinaryExpr(BinaryExpr { left: operand(0), op, right: operand(1) });
        match self {
            Self::Add => binary(Operator::Plus),
            Self::Subtract => binary(Operator::Minus),
            Self::Multiply => binary(Operator::Multiply),
            Self::Negative => Expr::Negative(operand(0)),
            Self::Cast(to) => Expr::Cast(Cast::new(operand(0), to.clone())),
            Self::TryCast(to) => Expr::TryCast(TryCast::new(operand(0), to.clone())),
        }
    }
}

/// A call of the function of an operation.
pub(super) fn call(operation: Operation, arguments: Vec<Expr>) -> Expr {
    let signature = Signature::any(arguments.len(), Volatility::Immutable);
    let function = Arc::new(ScalarUDF::new_from_impl(StandIn { operation, signature }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))
}

/// An operation as a function of SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct StandIn {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for StandIn {
    fn name(&self) -> &str {
        self.operation.function_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(self.operation.replaced(arguments).to_string())
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(self.operation.replaced(arguments).schema_name().to_string())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (&self.operation, arguments.first()) {
            (Operation::Cast(to) | Operation::TryCast(to), _) => Ok(to.clone()),
            (_, Some(of)) => Ok(of.clone()),
            (_, None) => Err(without_operands()),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (&self.operation, arguments.args.as_slice()) {
            (Operation::Cast(to), [value]) => narrowing::cast_to(to, value),
            (Operation::TryCast(to), [value]) => narrowing::try_cast_to(to, value),
            (Operation::Negative, [value]) => operators::negative(value),
            (Operation::Add, [left, right]) => operators::add(left, right),
            (Operation::Subtract, [left, right]) => operators::subtract(left, right),
            (Operation::Multiply, [left, right]) => operators::multiply(left, right),
            _ => Err(without_operands()),
        }
    }
}

fn without_operands() -> DataFusionError {
    DataFusionError::Internal("an operator without its operands".into())
}
