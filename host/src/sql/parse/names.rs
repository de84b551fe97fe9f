//! What the values of a `SELECT` are called when nothing is said: as they are
//! written, `count(*)`, `k + 1`, `cast(v as bigint)`. Values that would have the
//! same name get a number behind it, as in `count(*)_2`.

use std::collections::HashMap;

use datafusion::sql::parser::ExplainStatement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, Statement};

use crate::sql::statement::Planned;

/// Names the values of the outermost `SELECT`s.
pub(super) fn give(planned: &mut Planned) {
    match planned {
        Planned::Statement(statement) => {
            if let Statement::Query(query) = statement.as_mut() {
                of_query(query);
            }
        }
        Planned::Explain(ExplainStatement { statement, .. }) => give(statement),
        _ => {}
    }
}

fn of_query(query: &mut Query) {
    of_body(&mut query.body);
    // Behind DISTINCT rows are sorted by what was selected, which has a name now.
    if let SetExpr::Select(select) = query.body.as_ref()
        && select.distinct.is_some()
        && let Some(order) = &mut query.order_by
        && let OrderByKind::Expressions(keys) = &mut order.kind
    {
        keys.iter_mut().for_each(|key| to_name(&mut key.expr, &select.projection));
    }
}

fn of_body(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => of_items(&mut select.projection),
        SetExpr::Query(query) => of_query(query),
        // The first of the queries gives the names.
        SetExpr::SetOperation { left, right, .. } => {
            of_body(left);
            of_body(right);
        }
        _ => {}
    }
}

/// Puts its name in the place of a value that is selected.
fn to_name(key: &mut Expr, items: &[SelectItem]) {
    let name = items.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if expr == key && !is_column(expr) => Some(alias.clone()),
        _ => None,
    });
    if let Some(name) = name {
        *key = Expr::Identifier(name);
    }
}

fn of_items(items: &mut [SelectItem]) {
    let mut times: HashMap<String, usize> = HashMap::new();
    for item in items {
        let value = match item {
            SelectItem::UnnamedExpr(value) => value,
            SelectItem::ExprWithAlias { alias, .. } => {
                *times.entry(super::ident_name(alias)).or_default() += 1;
                continue;
            }
            _ => continue,
        };
        let name = name_of(value);
        let times = times.entry(name.clone()).or_default();
        *times += 1;
        let name = match *times {
            1 if is_column(value) => continue,
            1 => name,
            n => format!("{name}_{n}"),
        };
        *item = SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', name) };
    }
}

/// Whether a value has a name of its own.
fn is_column(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// The value as it is written, words without quotes in small letters.
fn name_of(value: &Expr) -> String {
    match value {
        Expr::Identifier(ident) => super::ident_name(ident),
        Expr::CompoundIdentifier(parts) => parts.last().map(super::ident_name).unwrap_or_default(),
        other => {
            let text = other.to_string();
            if text.contains(['\'', '"']) { text } else { text.to_lowercase() }
        }
    }
}
