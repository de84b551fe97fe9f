//! Statements that change tables, each one commit: `CREATE TABLE`, `DROP TABLE`,
//! `INSERT`, `DELETE`, `TRUNCATE`, `UPDATE`.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::sql::sqlparser::ast;

use super::answer::{Done, Rows};
use super::convert;
use super::error::quoted;
use super::parse::{self, MAIN};
use super::provider::{View, in_quotes};
use super::session::Session;
use super::statement::{Absent, CreateTable, Insert, Planned, TableName, Update};
use crate::base::{Column, ColumnType, DEFAULT_SHARDS, Error, Residency, Result, Schema, Sharding};
use crate::catalog::{MODEL_COLUMNS, Object, Privilege};
use crate::storage::{AppendTo, ROW_ID_COLUMN, TableState};

/// Rows in words.
pub(super) fn counted(rows: u64) -> String {
    let digits = rows.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} row{}", if rows == 1 { "" } else { "s" })
}

/// A table that a statement changes, if the caller may.
fn allowed(view: &View, privilege: Privilege, table: &TableName) -> Result<Arc<TableState>> {
    let found = existing(view, table)?;
    view.caller.rights.table(privilege, &found.name)?;
    Ok(found)
}

/// A table that a statement names.
pub(super) fn existing(view: &View, table: &TableName) -> Result<Arc<TableState>> {
    let name = writable(table)?;
    view.snapshot.table(name).map_err(|e| in_quotes(e, name, &view.snapshot))
}

/// Refuses system tables, old states and schemas that are not there.
pub(super) fn writable(table: &TableName) -> Result<&str> {
    let name = &table.name;
    match table.schema.as_str() {
        MAIN if name.contains(parse::AT) => {
            Err(Error::Denied(format!("table `{name}` cannot be written: names with `@` stand for older states")))
        }
        MAIN => Ok(name),
        super::system::SCHEMA => {
            Err(Error::Denied(format!("`quern.{name}` cannot be written: schema `quern` is the system's own")))
        }
        other => Err(Error::not_found("schema", other, None, [MAIN, super::system::SCHEMA])),
    }
}

/// `CREATE TABLE`.
pub(super) fn create_table(session: &Session, view: &View, create: &CreateTable) -> Result<Done> {
    let name = writable(&create.table)?;
    let taken = view.snapshot.table(name).ok();
    if taken.is_some() && create.if_not_exists {
        return Ok(Done::message(format!("table `{name}` exists already")));
    }
    let rows = create.query.as_ref().map(|query| session.query(view, query)).transpose()?;
    let schema = match (&create.schema, &rows) {
        (Some(schema), _) => schema.clone(),
        (None, Some(rows)) => query_schema(rows.schema())?,
        (None, None) => return Err(Error::Internal("a table without columns".into())),
    };
    let sharding = create.sharding.clone().unwrap_or_else(|| default_sharding(&schema));
    let mut write = view.storage.begin();
    let replaced = taken.filter(|_| create.or_replace);
    if let Some(table) = &replaced {
        view.caller.rights.table(Privilege::Owner, name)?;
        write.expect_table(table);
        write.drop_table(name)?;
    }
    write.create_table(name, &schema, sharding, create.shards.unwrap_or(DEFAULT_SHARDS))?;
    view.caller.rights.own(&mut write, &Object::Table(name.to_owned()));
    let n_rows = match rows {
        Some(rows) => Some(write.append(name, AppendTo::Deal, typed(rows, schema, format!("table `{name}`")))?),
        None => None,
    };
    write.commit()?;
    if let Some(table) = replaced {
        view.system.tables.forget(table.id);
    }
    Ok(match n_rows {
        Some(n_rows) => Done::rows(format!("created table `{name}` with {}", counted(n_rows)), n_rows),
        None => Done::message(format!("created table `{name}`")),
    })
}

/// Models are read whole: their tables are not divided.
pub(super) fn default_sharding(schema: &Schema) -> Sharding {
    let has = |(name, column_type): &(&str, ColumnType)| {
        schema.columns().iter().any(|column| {
            column.name == *name
                && (column.column_type == *column_type || (*name == "id" && column.column_type == ColumnType::Utf8))
        })
    };
    if MODEL_COLUMNS.iter().all(has) { Sharding::Replicated } else { Sharding::Random }
}

/// The columns that hold the rows of a query.
pub(super) fn query_schema(arrow: &SchemaRef) -> Result<Schema> {
    let columns = arrow.fields().iter().map(|field| {
        // Text that came from a uuid or an address becomes one again.
        let exact = field.metadata().get(ColumnType::TYPE_KEY).and_then(|text| text.parse::<ColumnType>().ok());
        let column_type = match exact.filter(convert::is_text_in_sql) {
            Some(exact) => exact,
            None => ColumnType::from_arrow(field)?,
        };
        Ok(Column { name: field.name().clone(), column_type, nullable: field.is_nullable() })
    });
    Schema::new(columns.collect::<Result<_>>()?)
}

/// The rows of a query as batches of `schema`, column by column in order.
pub(super) fn typed(rows: Rows, schema: Schema, place: String) -> impl Iterator<Item = Result<RecordBatch>> {
    let positions: Vec<Option<usize>> = (0..schema.columns().len()).map(Some).collect();
    mapped(rows, positions, schema, place)
}

/// The rows of a query as batches of `schema`, its columns at `positions`.
fn mapped(
    rows: Rows,
    positions: Vec<Option<usize>>,
    schema: Schema,
    place: String,
) -> impl Iterator<Item = Result<RecordBatch>> {
    let types = exact_types(rows.schema());
    rows.map(move |batch| convert::columns(&batch?, &types, &positions, &schema, &place))
}

/// The exact types of a query's columns, as far as they have one.
fn exact_types(arrow: &SchemaRef) -> Vec<Option<ColumnType>> {
    arrow.fields().iter().map(|field| ColumnType::from_arrow(field).ok()).collect()
}

/// `ALTER TABLE … SET RESIDENCY`.
pub(super) fn set_residency(view: &View, table: &TableName, residency: Residency) -> Result<Done> {
    let table = allowed(view, Privilege::Owner, table)?;
    view.system.tables.set_residency(&table, residency)?;
    Ok(Done::message(format!("table `{}`: residency {residency}", table.name)))
}

/// `DROP TABLE`.
pub(super) fn drop_tables(view: &View, tables: &[TableName], absent: Absent) -> Result<Done> {
    let mut write = view.storage.begin();
    let mut dropped = Vec::new();
    for table in tables {
        match allowed(view, Privilege::Owner, table) {
            Ok(found) => {
                write.expect_table(&found);
                write.drop_table(&found.name)?;
                dropped.push(found);
            }
            Err(Error::NotFound { .. }) if absent == Absent::Ignore => {}
            Err(e) => return Err(e),
        }
    }
    if dropped.is_empty() {
        return Ok(Done::message("no table to drop"));
    }
    write.commit()?;
    dropped.iter().for_each(|table| view.system.tables.forget(table.id));
    let plural = if dropped.len() == 1 { "" } else { "s" };
    let names: Vec<String> = dropped.iter().map(|table| format!("`{}`", table.name)).collect();
    Ok(Done::message(format!("dropped table{plural} {}", names.join(", "))))
}

/// `INSERT`.
pub(super) fn insert(session: &Session, view: &View, insert: &Insert) -> Result<Done> {
    let table = allowed(view, Privilege::Insert, &insert.table)?;
    let name = &table.name;
    let targets: Vec<usize> = match insert.columns.is_empty() {
        true => (0..table.schema.columns().len()).collect(),
        false => named_columns(&table, &insert.columns)?,
    };
    let positions: Vec<Option<usize>> =
        (0..table.schema.columns().len()).map(|column| targets.iter().position(|target| *target == column)).collect();
    let mut write = view.storage.begin();
    write.expect_table(&table);
    let parts = match session.query(view, &insert.query) {
        Ok(rows) => vec![Ok(rows)],
        // Rows whose values have different types are planned one by one.
        Err(e) => match value_rows(&insert.query) {
            Some(rows) if e.to_string().starts_with(MIXED_TYPES) => {
                rows.iter().map(|row| session.query(view, row)).collect()
            }
            _ => return Err(e),
        },
    };
    let place = format!("table `{name}`");
    let batches = parts.into_iter().flat_map(|rows| -> Box<dyn Iterator<Item = Result<RecordBatch>>> {
        let checked = rows.and_then(|rows| {
            check_count(name, rows.schema().fields().len(), targets.len())?;
            Ok(rows)
        });
        match checked {
            Ok(rows) => Box::new(mapped(rows, positions.clone(), table.schema.clone(), place.clone())),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    });
    let n_rows = write.append(name, AppendTo::Deal, batches)?;
    if n_rows > 0 {
        write.commit()?;
    }
    Ok(Done::rows(format!("inserted {} into `{name}`", counted(n_rows)), n_rows))
}

/// What DataFusion says of `VALUES` whose rows differ in type.
const MIXED_TYPES: &str = "inconsistent data type across values list";

/// The rows of `VALUES`, each as a query of its own.
fn value_rows(query: &Planned) -> Option<Vec<Planned>> {
    let Planned::Statement(statement) = query else { return None };
    let ast::Statement::Query(query) = statement.as_ref() else { return None };
    let ast::SetExpr::Values(values) = query.body.as_ref() else { return None };
    let row = |row: &_| {
        let values = ast::Values { rows: vec![Clone::clone(row)], ..values.clone() };
        let query = ast::Query { body: Box::new(ast::SetExpr::Values(values)), ..query.as_ref().clone() };
        Planned::Statement(Box::new(ast::Statement::Query(Box::new(query))))
    };
    Some(values.rows.iter().map(row).collect())
}

/// Refuses more or fewer values than columns.
fn check_count(table: &str, given: usize, wanted: usize) -> Result<()> {
    if given == wanted {
        return Ok(());
    }
    let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let (given, wanted) = (plural(given, "value"), plural(wanted, "column"));
    Err(Error::Invalid(format!("table `{table}`: {given} given for {wanted}")))
}

/// Positions of columns named in a statement.
fn named_columns(table: &TableState, names: &[String]) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let (position, _) = table.schema.column(&table.name, name)?;
        if positions.contains(&position) {
            return Err(Error::Invalid(format!("column `{name}` is named twice")));
        }
        positions.push(position);
    }
    Ok(positions)
}

/// `DELETE`, `TRUNCATE`.
pub(super) fn delete(session: &Session, view: &View, table: &TableName, condition: Option<&str>) -> Result<Done> {
    let table = allowed(view, Privilege::Delete, table)?;
    let name = &table.name;
    let mut write = view.storage.begin();
    write.expect_table(&table);
    let n_rows = match condition {
        None => {
            write.truncate(name)?;
            table.rows
        }
        Some(_) => {
            let query = row_query(&table, ROW_ID_COLUMN, condition)?;
            let ids = row_ids(session.query(&with_row_ids(view, name), &query)?)?;
            write.delete_rows(name, &ids)?;
            ids.len() as u64
        }
    };
    if n_rows > 0 {
        write.commit()?;
    }
    Ok(Done::rows(format!("deleted {} from `{name}`", counted(n_rows)), n_rows))
}

/// `UPDATE`: the rows leave, and come back changed in the same commit.
pub(super) fn update(session: &Session, view: &View, update: &Update) -> Result<Done> {
    let table = allowed(view, Privilege::Update, &update.table)?;
    let name = &table.name;
    let targets: Vec<String> = update.assignments.iter().map(|(column, _)| column.clone()).collect();
    named_columns(&table, &targets)?;
    let values: Vec<String> = table
        .schema
        .columns()
        .iter()
        .map(|column| match update.assignments.iter().find(|(target, _)| *target == column.name) {
            Some((_, expression)) => format!("{expression} AS {}", always_quoted(&column.name)),
            None => always_quoted(&column.name),
        })
        .chain([ROW_ID_COLUMN.to_owned()])
        .collect();
    let query = row_query(&table, &values.join(", "), update.condition.as_deref())?;
    let rows = session.query(&with_row_ids(view, name), &query)?;
    let last = table.schema.columns().len();
    let mut ids = Vec::new();
    let mut write = view.storage.begin();
    write.expect_table(&table);
    let types = exact_types(rows.schema());
    let positions: Vec<Option<usize>> = (0..last).map(Some).collect();
    let place = format!("table `{name}`");
    let batches = rows.map(|batch| {
        let batch = batch?;
        ids.extend(ids_of(&batch, last)?);
        convert::columns(&batch, &types, &positions, &table.schema, &place)
    });
    let n_rows = write.append(name, AppendTo::Deal, batches)?;
    if n_rows > 0 {
        write.delete_rows(name, &ids)?;
        write.commit()?;
    }
    Ok(Done::rows(format!("updated {} of `{name}`", counted(n_rows)), n_rows))
}

/// `SELECT values FROM table WHERE condition`.
fn row_query(table: &TableState, values: &str, condition: Option<&str>) -> Result<Planned> {
    let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    parse::query(&format!("SELECT {values} FROM {}{condition}", quoted(&table.name)))
}

fn always_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The same tables, `table` with its row ids.
fn with_row_ids(view: &View, table: &str) -> View {
    View { row_ids_of: Some(table.to_owned()), ..view.clone() }
}

/// The row ids in the only column.
fn row_ids(rows: Rows) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    for batch in rows {
        ids.extend(ids_of(&batch?, 0)?);
    }
    Ok(ids)
}

fn ids_of(batch: &RecordBatch, column: usize) -> Result<Vec<u64>> {
    let ids = batch.columns().get(column).and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
    ids.map(|ids| ids.values().to_vec()).ok_or_else(|| Error::Internal("rows without row ids".into()))
}
