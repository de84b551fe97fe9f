//! A proc read as a table, `FROM TABLE(f(…))`: planned with the columns that its
//! only output declares, executed when its rows are read, once for each time they
//! are. Its rows pass through a table that only this query knows and that is gone
//! before they are read: the snapshot in which it existed keeps them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::functions;
use super::inputs;
use super::provider::{View, sql_schema};
use super::scan::{Batches, Source};
use super::statement::Call;
use crate::base::{Error, Result, Schema};
use crate::run::{RunRequest, TEMPORARY, only_output};

/// A call whose columns are known.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    name: String,
    request: RunRequest,
    /// As SQL sees them.
    pub(super) schema: SchemaRef,
}

impl Planned {
    /// Finds the proc and its columns.
    pub(super) fn new(view: &View, call: &Call) -> Result<Self> {
        if !call.execute.outputs.is_empty() {
            return Err(Error::Invalid(format!(
                "TABLE({}(…)) gives its rows to the query; leave out OUTPUT_TABLE_NAMES",
                call.execute.proc
            )));
        }
        let request = functions::request(view, &call.execute)?.request;
        let proc = view.system.catalog.resolve(&request.proc)?.proc;
        let paired = match request.inputs.first() {
            Some(input) if input.query.is_none() => Some(paired(view, input)?),
            _ => None,
        };
        let schema = only_output(&proc, paired.as_ref())?;
        Ok(Self { name: call.name.clone(), request, schema: sql_schema(&schema) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Executes the proc and gives its rows.
    pub(super) fn batches(&self, view: &View, columns: &[usize], schema: SchemaRef) -> Result<Batches> {
        let output = format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple());
        let mut request = self.request.clone();
        request.outputs = vec![output.clone()];
        let run = inputs::submit(&view.session, view, request.into())?;
        functions::finish_or_kill(view, run)?;
        let snapshot = view.storage.snapshot()?;
        let table = snapshot.table(&output)?;
        let mut write = view.storage.begin();
        write.drop_table(&output)?;
        write.commit()?;
        let source = Source::Table { storage: view.storage.clone(), snapshot, table, shard: None };
        source.batches(columns, schema)
    }
}

/// The columns of an input that is a table.
fn paired(view: &View, input: &crate::run::InputRef) -> Result<Schema> {
    let table: Arc<_> = view.snapshot.table(&input.table)?;
    match &input.columns {
        None => Ok(table.schema.clone()),
        Some(names) => {
            let columns = names.iter().map(|name| table.schema.column(&table.name, name).map(|(_, c)| c.clone()));
            Schema::new(columns.collect::<Result<_>>()?)
        }
    }
}
