//! `SELECT count(*), count(*)`: values that would have the same name get a
//! number behind it, as in `count(*)_2`.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, Statement};

use crate::sql::statement::Planned;

/// Gives repeated values of the outermost `SELECT`s names of their own.
pub(super) fn number(planned: &mut Planned) {
    if let Planned::Statement(statement) = planned
        && let Statement::Query(query) = statement.as_mut()
    {
        number_query(query);
    }
}

fn number_query(query: &mut Query) {
    number_body(&mut query.body);
}

fn number_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => number_items(&mut select.projection),
        SetExpr::Query(query) => number_query(query),
        // The first of the queries gives the names.
        SetExpr::SetOperation { left, right, .. } => {
            number_body(left);
            number_body(right);
        }
        _ => {}
    }
}

fn number_items(items: &mut [SelectItem]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in items {
        let SelectItem::UnnamedExpr(value) = item else { continue };
        let name = name_of(value);
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            let alias = Ident::with_quote('"', format!("{name}_{times}"));
            *item = SelectItem::ExprWithAlias { expr: value.clone(), alias };
        }
    }
}

/// The value as it is written, unquoted words in small letters.
fn name_of(value: &Expr) -> String {
    match value {
        Expr::Identifier(ident) => super::ident_name(ident),
        other => {
            let text = other.to_string();
            if text.contains(['\'', '"']) { text } else { text.to_lowercase() }
        }
    }
}
