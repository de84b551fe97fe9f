//! Arithmetic that refuses what does not fit. DataFusion's own wraps around:
//! here `+`, `-`, `*` and the sign of integers, `sum` of integers and casts to a
//! narrower float fail with the values, or the name, of what overflowed;
//! `try_cast` gives null.
//!
//! Operators and casts are replaced by functions after the planner has settled
//! the types and before constants are folded, so that `9223372036854775807 + 1`
//! fails as well. Names of columns and `EXPLAIN` show what was replaced.

mod explain;
mod narrowing;
mod operators;
mod stand_in;
mod sum;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{Between, BinaryExpr};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{AggregateUDF, Cast, Expr, ExprSchemable, Operator, TryCast};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;

use crate::base::Error;
use stand_in::{Operation, call};

pub(super) use explain::as_typed;
pub(super) use narrowing::lost_to_infinity;

/// The rule that replaces the operators; it must come after the coercion of types.
pub(super) fn rule() -> Arc<dyn AnalyzerRule + Send + Sync> {
    Arc::new(ApplyFunctionRewrites::new(vec![Arc::new(Replace)]))
}

/// `sum`, under its usual name.
pub(super) fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(sum::CheckedSum::default())
}

/// Replaces one expression at a time.
#[derive(Debug)]
struct Replace;

impl FunctionRewrite for Replace {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, .. }) if compares(op) && is_interval(&left, schema) => {
                return Err(without_order());
            }
            Expr::Between(Between { expr, .. }) if is_interval(&expr, schema) => return Err(without_order()),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match (Operation::of(op), left.get_type(schema), right.get_type(schema)) {
                    (Some(operation), Ok(a), Ok(b)) if a.is_integer() && a == b => {
                        Transformed::yes(call(operation, vec![*left, *right]))
                    }
                    _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
                }
            }
            Expr::Negative(inner) if inner.get_type(schema).is_ok_and(|kind| kind.is_integer()) => {
                Transformed::yes(call(Operation::Negative, vec![*inner]))
            }
            Expr::Cast(Cast { expr, field }) if narrows(&expr, field.data_type(), schema) => {
                Transformed::yes(call(Operation::Cast(field.data_type().clone()), vec![*expr]))
            }
            Expr::TryCast(TryCast { expr, field }) if narrows(&expr, field.data_type(), schema) => {
                Transformed::yes(call(Operation::TryCast(field.data_type().clone()), vec![*expr]))
            }
            other => Transformed::no(other),
        })
    }
}

/// Whether the cast of an expression can turn a finite number into an infinite one.
fn narrows(expr: &Expr, to: &DataType, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|from| narrowing::may_overflow(&from, to))
}

/// Whether an operator compares values.
fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Interval(_)))
}

/// The error of comparing intervals: DataFusion would compare months, then days,
/// then the rest, and find 25 hours shorter than a day.
fn without_order() -> DataFusionError {
    let text = "intervals cannot be compared, for days and months have no fixed length; \
                add each to a timestamp and compare the sums";
    DataFusionError::External(Box::new(Error::Unsupported(text.to_owned())))
}

/// The error of an operation on integers of type `of`.
fn overflow(what: &str, of: &DataType) -> DataFusionError {
    let wider = match of {
        DataType::Int64 | DataType::UInt64 => "decimal(38,0)",
        _ => "int64",
    };
    let text = format!("integer overflow in {what}; cast to a wider type, such as {wider}");
    DataFusionError::External(Box::new(Error::OutOfRange(text)))
}
