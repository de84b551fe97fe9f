//! Models as rows: found in every table that has a model table's columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimestampMicrosecondType, UInt64Type};
use serde::{Deserialize, Serialize};

use super::Database;
use crate::base::{ColumnType, Error, Result, RunId, sha256_hex};
use crate::catalog::{MODEL_COLUMNS, Privilege, Rights};
use crate::storage::{ScanOptions, Snapshot, TableState};

/// A stored model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The column `id` of its row.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The table that holds it.
    pub table: String,
    /// When it was saved, microseconds since 1970.
    pub created_us: i64,
    /// Size of its file; known where a run of this folder saved it.
    pub size_bytes: Option<u64>,
    /// Of its file, 64 hex digits; known where a run of this folder saved it.
    pub sha256: Option<String>,
    /// The run that saved it.
    pub run: Option<RunId>,
}

/// Which model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Its id, or its name for the newest of that name.
    pub model: String,
    /// The table, where several have such a model.
    pub table: Option<String>,
}

/// A model and where its row is.
struct Found {
    model: Model,
    table: Arc<TableState>,
    row_id: u64,
}

impl Database {
    /// All models in tables that may be read, oldest first.
    pub fn models(&self, rights: &Rights) -> Result<Vec<Model>> {
        let found = self.find_models(self.storage.snapshot()?.as_ref(), (Privilege::Select, rights))?;
        Ok(found.into_iter().map(|found| found.model).collect())
    }

    /// A model and its file, of a table that may be read.
    pub fn export_model(&self, which: &ModelRef, rights: &Rights) -> Result<(Model, Vec<u8>)> {
        let snapshot = self.storage.snapshot()?;
        let Found { mut model, table, row_id } =
            choose(self.find_models(&snapshot, (Privilege::Select, rights))?, which)?;
        let (position, _) = table.schema.column(&table.name, "model")?;
        let options = ScanOptions { columns: Some(vec![position]), from_row_id: row_id, ..ScanOptions::default() };
        let batch = self.storage.scan_with(&snapshot, &table, &options)?.next().transpose()?;
        let file = batch.as_ref().and_then(|batch| bytes_at(batch.columns().first()?, 0));
        let Some(file) = file else {
            return Err(Error::Corrupt { what: format!("model {}", model.id), reason: "its row has no file".into() });
        };
        let sha256 = sha256_hex(&file);
        match &model.sha256 {
            Some(kept) if *kept != sha256 => Err(Error::Corrupt {
                what: format!("model {} in table `{}`", model.id, table.name),
                reason: format!("its file has sha256 {sha256}, {kept} was saved"),
            }),
            _ => {
                model.size_bytes = Some(file.len() as u64);
                model.sha256 = Some(sha256);
                Ok((model, file))
            }
        }
    }

    /// Deletes the row of a model, of a table whose rows may be deleted.
    pub fn delete_model(&self, which: &ModelRef, rights: &Rights) -> Result<Model> {
        let snapshot = self.storage.snapshot()?;
        let found = choose(self.find_models(&snapshot, (Privilege::Delete, rights))?, which)?;
        let mut write = self.storage.begin();
        write.expect_table(&found.table);
        write.delete_rows(&found.table.name, &[found.row_id])?;
        write.commit()?;
        Ok(found.model)
    }

    /// The models of all tables with which so much may be done.
    fn find_models(&self, snapshot: &Snapshot, (privilege, rights): (Privilege, &Rights)) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        let is_allowed = |table: &TableState| rights.table(privilege, &table.name).is_ok();
        for table in snapshot.tables().filter(|table| is_model_table(table) && is_allowed(table)) {
            let positions = ["id", "name", "date_time_created"].map(|name| table.schema.column(&table.name, name));
            let columns = positions.into_iter().map(|found| found.map(|(at, _)| at)).collect::<Result<_>>()?;
            let options = ScanOptions { columns: Some(columns), row_ids: true, ..ScanOptions::default() };
            for batch in self.storage.scan_with(snapshot, table, &options)? {
                self.models_of(table, &batch?, &mut all)?;
            }
        }
        all.sort_by(|a: &Found, b: &Found| {
            (a.model.created_us, a.row_id, &a.model.table).cmp(&(b.model.created_us, b.row_id, &b.model.table))
        });
        Ok(all)
    }

    /// The models of a batch of ids, names, times and row ids.
    fn models_of(&self, table: &Arc<TableState>, batch: &RecordBatch, all: &mut Vec<Found>) -> Result<()> {
        let [ids, names, times, row_ids] = batch.columns() else {
            return Err(Error::Internal("a scan of models has other columns than asked for".into()));
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let row_ids = row_ids.as_primitive::<UInt64Type>();
        for row in 0..batch.num_rows() {
            let id = match ids.data_type() {
                DataType::Utf8 => text_at(ids, row),
                _ => uuid::Uuid::from_slice(ids.as_fixed_size_binary().value(row)).unwrap_or_default().to_string(),
            };
            let kept = self.storage.model(&id)?;
            let model = Model {
                name: text_at(names, row),
                table: table.name.clone(),
                created_us: times.value(row),
                size_bytes: kept.as_ref().map(|kept| kept.size_bytes),
                run: kept.as_ref().and_then(|kept| kept.run),
                sha256: kept.map(|kept| kept.sha256),
                id,
            };
            all.push(Found { model, table: table.clone(), row_id: row_ids.value(row) });
        }
        Ok(())
    }
}

/// Whether a table has the columns of models.
fn is_model_table(table: &TableState) -> bool {
    MODEL_COLUMNS.iter().all(|(name, column_type)| {
        let found = table.schema.columns().iter().find(|column| column.name == *name).map(|c| &c.column_type);
        found == Some(column_type) || (*name == "id" && found == Some(&ColumnType::Utf8))
    })
}

/// The newest of those meant.
fn choose(found: Vec<Found>, which: &ModelRef) -> Result<Found> {
    let names: Vec<String> = found.iter().map(|found| found.model.name.clone()).collect();
    let meant = |found: &Found| {
        (found.model.id == which.model || found.model.name == which.model)
            && which.table.as_ref().is_none_or(|table| *table == found.model.table)
    };
    let mut meant: Vec<Found> = found.into_iter().filter(meant).collect();
    let tables: std::collections::BTreeSet<&str> = meant.iter().map(|found| found.model.table.as_str()).collect();
    if tables.len() > 1 {
        let tables = tables.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::Invalid(format!(
            "model `{}` is in several tables: {tables}; say which with --table",
            which.model
        )));
    }
    let within = which.table.as_ref().map(|table| format!("table `{table}`"));
    meant.pop().ok_or_else(|| Error::not_found("model", &which.model, within, names))
}

fn text_at(column: &ArrayRef, row: usize) -> String {
    column.as_string_opt::<i32>().map(|texts| texts.value(row).to_owned()).unwrap_or_default()
}

fn bytes_at(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    let files = column.as_binary_opt::<i64>()?;
    (row < files.len() && !files.is_null(row)).then(|| files.value(row).to_vec())
}
