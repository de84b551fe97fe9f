//! Inputs of runs that are filters or queries: their rows become a table for as
//! long as the run lasts. Rows that are only filtered and projected stay in their
//! shard, those of any other query are dealt anew.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::change;
use super::error::{InOurWords, quoted};
use super::parse;
use super::provider::View;
use super::session::Session;
use super::statement::{Kind, Planned};
use crate::base::{DEFAULT_SHARDS, Error, Result, RunId, Sharding};
use crate::run::{InputRef, Request, TEMPORARY, check_request};
use crate::storage::{AppendTo, TableState};

/// Queues a run; its inputs that are filters or queries are read now.
pub(super) fn submit(session: &Session, view: &View, mut request: Request) -> Result<RunId> {
    let system = &view.system;
    check_request(&view.caller.rights, &system.catalog, &system.runs, &view.snapshot, &mut request)?;
    let mut stored = Ok(());
    // Rows that are dealt anew get as many shards as the first input has.
    let mut shards = None;
    for input in &mut request.inputs {
        stored = stored.and_then(|()| {
            let own = store(session, view, input, shards.unwrap_or(DEFAULT_SHARDS))?;
            shards = shards.or(own);
            Ok(())
        });
    }
    let made: Vec<String> = request.inputs.iter().filter_map(|input| input.stored.clone()).collect();
    let queued = stored.and_then(|()| view.system.runs.execute(request));
    if queued.is_err() && !made.is_empty() {
        let mut write = view.storage.begin();
        made.iter().try_for_each(|table| write.drop_table(table))?;
        write.commit()?;
    }
    queued
}

/// Stores the rows of a filter or query, dealt to `shards` where they have none
/// of their own; nothing to do for a table. The number of shards, if it is known.
fn store(session: &Session, view: &View, input: &mut InputRef, shards: u32) -> Result<Option<u32>> {
    let text = match (&input.query, &input.filter) {
        (Some(query), _) => query.clone(),
        (None, Some(filter)) => {
            // What is missing is named as for a table without a filter.
            let table = view.snapshot.table(&input.table)?;
            let columns = match &input.columns {
                Some(columns) => {
                    columns.iter().try_for_each(|name| table.schema.column(&table.name, name).map(drop))?;
                    columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
                }
                None => "*".to_owned(),
            };
            format!("SELECT {columns} FROM {} WHERE {filter}", quoted(&input.table))
        }
        (None, None) => return Ok(view.snapshot.table(&input.table).ok().map(|table| table.shards)),
    };
    let query = &one_query(&text)?;
    let name = format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple());
    let source = row_wise(&session.logical_plan(view, query)?)?.and_then(|table| view.snapshot.table(&table).ok());
    let shards = source.as_ref().map_or(shards, |source| source.shards);
    let mut write = view.storage.begin();
    let schema = change::query_schema(session.query(view, query)?.schema())?;
    match source {
        Some(source) => {
            let sharding = match source.sharding {
                Sharding::Replicated => Sharding::Replicated,
                _ => change::default_sharding(&schema),
            };
            let replicated = sharding == Sharding::Replicated;
            write.create_table(&name, &schema, sharding, shards)?;
            for shard in 0..shards {
                let rows = session.query(&of_shard(view, &source, shard), query)?;
                let batches = change::typed(rows, schema.clone(), "the query".to_owned());
                write.append(&name, AppendTo::Shard(if replicated { 0 } else { shard }), batches)?;
            }
        }
        None => {
            write.create_table(&name, &schema, change::default_sharding(&schema), shards)?;
            let batches = change::typed(session.query(view, query)?, schema, "the query".to_owned());
            write.append(&name, AppendTo::Deal, batches)?;
        }
    }
    write.commit()?;
    input.stored = Some(name);
    if input.query.is_none() {
        input.columns = None;
    }
    Ok(Some(shards))
}

/// A text that is one query and nothing else.
fn one_query(text: &str) -> Result<Planned> {
    let mut statements = parse::statements(text)?.into_iter().map(|statement| statement.0);
    match (statements.next(), statements.next()) {
        (Some(Kind::Query(query)), None) => Ok(*query),
        _ => Err(Error::Invalid(format!("an input is a table or one query, not `{text}`"))),
    }
}

/// The view in which `table` has the rows of one shard only.
fn of_shard(view: &View, table: &Arc<TableState>, shard: u32) -> View {
    let shard = (table.sharding != Sharding::Replicated).then(|| (table.name.clone(), shard));
    View { only_shard: shard, ..view.clone() }
}

/// The one stored table that a query filters and projects row by row, if it does
/// nothing else.
fn row_wise(plan: &LogicalPlan) -> Result<Option<String>> {
    let (mut tables, mut row_wise) = (Vec::new(), true);
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => tables.push(scan.table_name.clone()),
            LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
            _ => row_wise = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .ours()?;
    Ok(match tables.as_slice() {
        [table] if row_wise && table.schema().is_none_or(|schema| schema == parse::MAIN) => {
            Some(table.table().to_owned())
        }
        _ => None,
    })
}

/// A query as an input.
pub(super) fn of_query(query: &Planned) -> InputRef {
    InputRef { query: Some(query.to_string()), ..InputRef::default() }
}
