//! What DataFusion reads and then leaves out of account: refused, so that no
//! answer is silently another one.

use std::ops::ControlFlow;

use datafusion::sql::parser::ExplainStatement;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, SetOperator, SetQuantifier, TableFactor, Visit, Visitor};

use crate::base::{Error, Result};
use crate::sql::statement::Planned;

/// Looks through all queries of a statement.
pub(super) fn check(planned: &Planned) -> Result<()> {
    match planned {
        Planned::Statement(statement) => match statement.visit(&mut Refused) {
            ControlFlow::Break(what) => Err(Error::Unsupported(what)),
            ControlFlow::Continue(()) => Ok(()),
        },
        Planned::Explain(ExplainStatement { statement, .. }) => check(statement),
        _ => Ok(()),
    }
}

/// Stops at the first clause that would be ignored.
struct Refused;

impl Visitor for Refused {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        body(&query.body)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<String> {
        match table {
            TableFactor::Table { sample: Some(_), .. } | TableFactor::Derived { sample: Some(_), .. } => {
                ControlFlow::Break("TABLESAMPLE is not supported; write WHERE random() < 0.1".to_owned())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Operations on sets; queries within are visited by themselves.
fn body(of: &SetExpr) -> ControlFlow<String> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = of else { return ControlFlow::Continue(()) };
    let counts = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
    if counts && matches!(op, SetOperator::Except | SetOperator::Intersect | SetOperator::Minus) {
        return ControlFlow::Break(format!("{op} ALL is not supported; {op} compares rows without counting them"));
    }
    body(left)?;
    body(right)
}
