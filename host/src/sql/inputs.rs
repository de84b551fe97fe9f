//! Inputs of runs that are filters or queries: their rows become a table for as
//! long as the run lasts. Rows that are only filtered and projected stay in their
//! shard, those of any other query are dealt anew; so are those of a further input
//! of a distributed proc whose table has another number of shards than the first.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::change;
use super::error::{InOurWords, quoted};
use super::parse;
use super::provider::View;
use super::session::Session;
use super::statement::{Call, Kind, Planned, Statement};
use crate::base::{DEFAULT_SHARDS, Error, Result, RunId, Sharding};
use crate::catalog::ExecutionMode;
use crate::run::{InputRef, Submission, TEMPORARY, check_request};
use crate::storage::{AppendTo, TableState};

/// Queues a run; its inputs that are filters or queries are read now.
pub(super) fn submit(session: &Session, view: &View, mut submission: Submission) -> Result<RunId> {
    let system = &view.system;
    check_request(&view.caller.rights, &system.catalog, &system.runs, &view.snapshot, &mut submission)?;
    let Submission { request, stored_inputs, .. } = &mut submission;
    let mut stored = Ok(());
    let mut first = First { mode: system.catalog.resolve(&request.proc)?.proc.mode, shards: None };
    for (place, input) in request.inputs.iter().enumerate() {
        stored = stored.and_then(|()| {
            let Source { table, shards } = store(session, view, input, &first)?;
            table.map(|table| stored_inputs.insert(place, table));
            first.shards = first.shards.or(shards);
            Ok(())
        });
    }
    let made: Vec<String> = stored_inputs.values().cloned().collect();
    let queued = stored.and_then(|()| view.system.runs.execute(submission));
    if queued.is_err() && !made.is_empty() {
        let mut write = view.storage.begin();
        made.iter().try_for_each(|table| write.drop_table(table))?;
        write.commit()?;
    }
    queued
}

/// Where the rows of an input are read.
#[derive(Default)]
struct Source {
    /// The table that was made for them, unless they are read where they are.
    table: Option<String>,
    /// Into how many shards they are divided, if that is known.
    shards: Option<u32>,
}

/// What the first input means for the others.
struct First {
    mode: ExecutionMode,
    /// Into how many shards it is divided.
    shards: Option<u32>,
}

impl First {
    /// Whether the instances of a run cannot each read their shard of `table`.
    fn differs(&self, table: &TableState) -> bool {
        let is_divided = self.mode == ExecutionMode::Distributed
            && table.sharding != Sharding::Replicated
            && change::default_sharding(&table.schema) != Sharding::Replicated;
        is_divided && self.shards.is_some_and(|shards| shards != table.shards)
    }
}

/// Stores the rows of an input that is not a table whose shards are read as they
/// are, in shards of their own or dealt to as many as the first has.
fn store(session: &Session, view: &View, input: &InputRef, first: &First) -> Result<Source> {
    let text = match (&input.query, &input.filter) {
        (Some(query), _) => query.clone(),
        (None, Some(filter)) => {
            // What is missing is named as for a table without a filter.
            let table = view.snapshot.table(&input.table)?;
            format!("{} WHERE {filter}", select(&table, input)?)
        }
        (None, None) => match view.snapshot.table(&input.table) {
            Ok(table) if first.differs(&table) => select(&table, input)?,
            Ok(table) => return Ok(Source { table: None, shards: Some(table.shards) }),
            // Told by who checks the request.
            Err(_) => return Ok(Source::default()),
        },
    };
    let (query, calls) = one_query(&text)?;
    let (query, view) = (&query, &View { calls, ..view.clone() });
    let name = format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple());
    let source = row_wise(&session.logical_plan(view, query)?)?.and_then(|table| view.snapshot.table(&table).ok());
    let mut write = view.storage.begin();
    let shards = match source {
        Some(source) if !first.differs(&source) => {
            let schema = change::query_schema(session.query(view, query)?.schema())?;
            let sharding = match source.sharding {
                Sharding::Replicated => Sharding::Replicated,
                _ => change::default_sharding(&schema),
            };
            let replicated = sharding == Sharding::Replicated;
            write.create_table(&name, &schema, sharding, source.shards)?;
            for shard in 0..source.shards {
                let rows = session.query(&of_shard(view, &source, shard), query)?;
                let batches = change::typed(rows, schema.clone(), "the query".to_owned());
                write.append(&name, AppendTo::Shard(if replicated { 0 } else { shard }), batches)?;
            }
            source.shards
        }
        source => {
            // Read once: the query may execute procs.
            let rows = session.query(view, query)?;
            let schema = change::query_schema(rows.schema())?;
            let sharding = match source.map(|source| source.sharding.clone()) {
                // Rows with the same key meet in the same instance, as in the table.
                Some(Sharding::Key(keys)) if input.query.is_none() => Sharding::Key(keys),
                _ => change::default_sharding(&schema),
            };
            let shards = first.shards.unwrap_or(DEFAULT_SHARDS);
            write.create_table(&name, &schema, sharding, shards)?;
            let batches = change::typed(rows, schema, "the query".to_owned());
            write.append(&name, AppendTo::Deal, batches)?;
            shards
        }
    };
    write.commit()?;
    Ok(Source { table: Some(name), shards: Some(shards) })
}

/// Reads the columns of a table that a proc may see, and those that its rows are
/// sharded by.
fn select(table: &TableState, input: &InputRef) -> Result<String> {
    let columns = match &input.columns {
        Some(columns) => {
            columns.iter().try_for_each(|name| table.schema.column(&table.name, name).map(drop))?;
            let keys = match &table.sharding {
                Sharding::Key(keys) => keys.as_slice(),
                _ => &[],
            };
            let keys = keys.iter().filter(|key| !columns.contains(key));
            columns.iter().chain(keys).map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
        }
        None => "*".to_owned(),
    };
    Ok(format!("SELECT {columns} FROM {}", quoted(&input.table)))
}

/// A text that is one query and nothing else, and the procs it reads as tables.
fn one_query(text: &str) -> Result<(Planned, Arc<Vec<Call>>)> {
    let mut statements = parse::statements(text)?.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement(Kind::Query(query), calls)), None) => Ok((*query, calls)),
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

/// A query as an input, its text complete in itself: procs that it reads as tables
/// are called in it.
pub(super) fn of_query(query: &Planned, calls: &[Call]) -> InputRef {
    let mut text = query.to_string();
    // The last first: a call stands in the arguments of later ones only.
    for call in calls.iter().rev() {
        text = text.replace(&in_quotes(&call.name), &call.text);
    }
    InputRef { query: Some(text), ..InputRef::default() }
}

/// A proc that is read as a table, as an input.
pub(super) fn of_call(call: &Call, columns: Option<&[String]>) -> InputRef {
    let columns = columns.map(|names| names.iter().map(|name| in_quotes(name)).collect::<Vec<_>>().join(", "));
    let text = format!("SELECT {} FROM {}", columns.as_deref().unwrap_or("*"), call.text);
    InputRef { query: Some(text), ..InputRef::default() }
}

/// A name as the parser writes it back.
fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
