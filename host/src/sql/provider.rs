//! What DataFusion sees: catalog `quern` with the schemas `main` (the tables at
//! one snapshot) and `quern` (what the system says about itself).

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, SchemaProvider, Session as CatalogSession, TableProvider,
};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::Rows;
use super::call;
use super::convert;
use super::parse::{AT, MAIN, MAIN_ALIAS};
use super::scan::{ScanExec, Source};
use super::session::Session;
use super::statement::Call;
use super::system::{self, System};
use super::watch::Caller;
use crate::base::{ColumnType, Error, Result, Schema, SnapshotId};
use crate::catalog::Privilege;
use crate::storage::{ROW_ID_COLUMN, Snapshot, Storage, TableState};

/// The name of the only catalog.
pub(super) const CATALOG: &str = "quern";

/// All tables as one statement sees them.
#[derive(Clone)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) system: Arc<System>,
    /// The table that shows row ids as its last column.
    pub(super) row_ids_of: Option<String>,
    /// A table of which only the rows of one shard are seen.
    pub(super) only_shard: Option<(String, u32)>,
    /// Plans queries.
    pub(super) session: Arc<Session>,
    /// Procs that the statement reads as tables.
    pub(super) calls: Arc<Vec<Call>>,
    /// For whom the statement works.
    pub(super) caller: Caller,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("snapshot", &self.snapshot.id).finish_non_exhaustive()
    }
}

impl View {
    /// Whether the caller may read a table; its rights were read after the view.
    fn may_read(&self, table: &TableState) -> Result<()> {
        match self.caller.rights.user() {
            Some(_) => self.caller.rights.table_state(Privilege::Select, table, self.storage.snapshot()?.as_ref()),
            None => Ok(()),
        }
    }

    /// The table `name`, or at an older state `name@n`.
    fn table(&self, name: &str) -> Result<Readable> {
        let at = name.rsplit_once(AT).and_then(|(name, version)| Some((name, SnapshotId(version.parse().ok()?))));
        let (snapshot, name) = match at {
            Some((name, version)) if self.snapshot.table(&format!("{name}{AT}{version}")).is_err() => {
                (self.storage.snapshot_at(version)?, name)
            }
            _ => (self.snapshot.clone(), name),
        };
        let table = snapshot.table(name).map_err(|e| match snapshot.id == self.snapshot.id {
            true => in_quotes(e, name, &snapshot),
            false => at_snapshot(e, &snapshot),
        })?;
        self.may_read(&table)?;
        let row_ids = self.row_ids_of.as_deref() == Some(name);
        let schema = if row_ids { with_row_ids(&table.schema) } else { sql_schema(&table.schema) };
        let shard = self.only_shard.as_ref().filter(|(name, _)| *name == table.name).map(|(_, shard)| *shard);
        let source = Source::Table { storage: self.storage.clone(), snapshot, table, shard };
        Ok(Readable { schema, kind: TableType::Base, source })
    }
}

impl View {
    /// The error for a table, `catalog.schema.table`, that the planner did not find.
    pub(super) fn missing(&self, full: &str) -> Error {
        let mut parts = full.splitn(3, '.');
        let (_, schema, name) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match schema {
            MAIN | MAIN_ALIAS => match self.table(name) {
                Err(e) => e,
                Ok(_) => Error::Internal(format!("table `{name}` was lost")),
            },
            system::SCHEMA => match system::Table::named(name) {
                Err(e) => e,
                Ok(_) => Error::Internal(format!("table `{full}` was lost")),
            },
            "information_schema" => Error::Unsupported(
                "there is no information_schema; SHOW TABLES and SHOW SYSTEM TABLES list tables, \
                 quern.tables and quern.columns hold the same as rows"
                    .to_owned(),
            ),
            other => Error::not_found("schema", other, None, [MAIN, system::SCHEMA]),
        }
    }
}

/// Says of what is missing that it is so at a snapshot of the past.
fn at_snapshot(error: Error, snapshot: &Snapshot) -> Error {
    match error {
        Error::NotFound { kind, name, .. } => {
            Error::NotFound { kind, name, within: Some(format!("snapshot {}", snapshot.id)), suggestion: None }
        }
        other => other,
    }
}

/// Suggests a table whose name differs only in capitals, in the quotes it needs.
pub(super) fn in_quotes(error: Error, name: &str, snapshot: &Snapshot) -> Error {
    match (error, snapshot.tables().find(|table| table.name.eq_ignore_ascii_case(name))) {
        (Error::NotFound { kind, name, within, .. }, Some(table)) => {
            Error::NotFound { kind, name, within, suggestion: Some(super::error::quoted(&table.name)) }
        }
        (Error::NotFound { kind, name, within, suggestion }, None) => {
            Error::NotFound { kind, name, within, suggestion: suggestion.map(|s| super::error::quoted(&s)) }
        }
        (other, _) => other,
    }
}

/// The columns as SQL sees them: uuid and ipv4 are text that remembers its type.
pub(super) fn sql_schema(schema: &Schema) -> SchemaRef {
    Arc::new(ArrowSchema::new(fields(schema)))
}

/// The columns as SQL sees them, and the number of each row.
fn with_row_ids(schema: &Schema) -> SchemaRef {
    let mut fields = fields(schema);
    fields.push(Field::new(ROW_ID_COLUMN, DataType::UInt64, false));
    Arc::new(ArrowSchema::new(fields))
}

fn fields(schema: &Schema) -> Vec<Field> {
    schema
        .columns()
        .iter()
        .map(|column| {
            let field = column.column_type.to_arrow(&column.name, column.nullable);
            match convert::is_text_in_sql(&column.column_type) {
                // The name of Arrow's own extension would promise its bytes.
                true => {
                    let exact = (ColumnType::TYPE_KEY.to_owned(), column.column_type.to_string());
                    field.with_data_type(DataType::Utf8).with_metadata([exact].into())
                }
                false => field,
            }
        })
        .collect()
}

/// The columns of a table as rows: name, type, whether values may lack.
pub(super) fn describe(schema: &ArrowSchema) -> Result<Rows> {
    let cells = schema.fields().iter().map(|field| {
        let column_type = ColumnType::from_arrow(field)?;
        Ok(vec![field.name().into(), column_type.to_string().into(), field.is_nullable().into()])
    });
    let shown = Arc::new(ArrowSchema::new(vec![
        Field::new("column_name", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("nullable", DataType::Boolean, false),
    ]));
    let batch = system::rows_of(&shown, cells.collect::<Result<_>>()?);
    Ok(Rows::new(shown, std::iter::once(batch)))
}

impl CatalogProviderList for View {
    fn register_catalog(&self, _: String, catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        Some(catalog)
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for View {
    fn schema_names(&self) -> Vec<String> {
        vec![MAIN.to_owned(), system::SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            MAIN | MAIN_ALIAS => Some(Arc::new(Tables(self.clone()))),
            system::SCHEMA => Some(Arc::new(SystemTables(self.clone()))),
            _ => None,
        }
    }
}

/// Schema `main`.
#[derive(Debug)]
struct Tables(View);

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.0.snapshot.tables().map(|table| table.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        if let Some(call) = self.0.calls.iter().find(|call| call.name == name) {
            let planned = call::Planned::new(&self.0, call).map_err(|e| DataFusionError::External(Box::new(e)))?;
            let schema = planned.schema.clone();
            let source = Source::Proc { view: self.0.clone(), planned: Box::new(planned) };
            return Ok(Some(Arc::new(Readable { schema, kind: TableType::Temporary, source })));
        }
        match self.0.table(name) {
            Ok(table) => Ok(Some(Arc::new(table))),
            // The name may be that of a function or a `WITH`; see `View::missing`.
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(DataFusionError::External(Box::new(e))),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.table(name).is_ok()
    }
}

/// Schema `quern`.
#[derive(Debug)]
struct SystemTables(View);

#[async_trait]
impl SchemaProvider for SystemTables {
    fn table_names(&self) -> Vec<String> {
        system::NAMES.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let Ok(kind) = system::Table::named(name) else { return Ok(None) };
        let source = Source::System { view: self.0.clone(), kind };
        Ok(Some(Arc::new(Readable { schema: kind.schema(), kind: TableType::View, source })))
    }

    fn table_exist(&self, name: &str) -> bool {
        system::NAMES.contains(&name)
    }
}

/// A table of either schema, or the rows that a proc makes: what DataFusion asks of
/// it and where its rows come from.
#[derive(Debug)]
struct Readable {
    schema: SchemaRef,
    kind: TableType,
    source: Source,
}

#[async_trait]
impl TableProvider for Readable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    async fn scan(
        &self,
        _: &dyn CatalogSession,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        ScanExec::plan(self.source.clone(), &self.schema, projection, limit)
    }
}
