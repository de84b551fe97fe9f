//! Moving rows from the catalog to Parquet files. Nothing changes for a reader:
//! the rows keep their ids, and the snapshots they were added by are written
//! into the file, so that older snapshots still show the rows they had.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Schema as ArrowSchema};
use rusqlite::{OptionalExtension, Transaction, params};

use super::catalog_rows::{self, quote};
use super::commit::{Commit, FileRow, check_unchanged, insert_file, note_table_stats};
use super::connections::{Durability, U, sql};
use super::data_file::FileWriter;
use super::file_layer::create_folders;
use super::inline::{self, Inlined};
use super::snapshot::TableState;
use super::staging::{self, StagedFile};
use super::{Storage, deletes, forms};
use crate::base::{ColumnType, DType, Error, Result};

/// Rows of a table in the catalog from which on they are moved after an append.
const DUE_ROWS: u64 = 64 << 10;

/// Bytes of them, about.
const DUE_BYTES: u64 = 16 << 20;

/// A file to be named, and what the catalog says of it.
struct Flushed {
    staged: StagedFile,
    row: FileRow,
}

impl Storage {
    /// Moves the rows of a table that the catalog keeps to Parquet files.
    /// Returns their number.
    pub fn flush_inlined(&self, table: &str) -> Result<u64> {
        let _alone = self.0.background.moving();
        let mut made = Vec::new();
        let outcome = self.flush_into(table, &mut made);
        if outcome.is_err() {
            for path in made {
                // What cannot be removed now is swept as an orphan later.
                drop(self.files().remove(&path));
            }
        }
        outcome
    }

    /// Whether the catalog keeps so many rows of a table that they are to be moved.
    pub(super) fn is_due(&self, table: &str) -> Result<bool> {
        let table = self.snapshot()?.table(table)?;
        let bytes = self.read(|connection| {
            let text = "SELECT inlined_bytes FROM quern_table WHERE table_id = ?1";
            sql(connection.query_row(text, [U(table.id.0)], |row| row.get::<_, U>(0)).optional())
        })?;
        Ok(table.inlined_rows >= DUE_ROWS || bytes.is_some_and(|bytes| bytes.0 >= DUE_BYTES))
    }

    fn flush_into(&self, name: &str, made: &mut Vec<PathBuf>) -> Result<u64> {
        let snapshot = self.snapshot()?;
        let table = snapshot.table(name)?;
        if table.inlined.is_empty() {
            return Ok(0);
        }
        let inlined = self.read(|connection| inline::read(connection, &table, snapshot.id))?;
        let files = self.write_flushed(&table, &inlined, made)?;
        let mut writer = self.writer();
        // Rows that a power cut leaves in the catalog are moved another time.
        writer.sync_at_commit(Durability::Later)?;
        let transaction = writer.begin()?;
        check_unchanged(&transaction, std::iter::once(&table))?;
        let removed = take_out(&transaction, &table, snapshot.id.0)?;
        let left = "UPDATE quern_table SET inlined_bytes = max(0, inlined_bytes - ?2) WHERE table_id = ?1";
        sql(transaction.execute(left, params![U(table.id.0), U(staging::batch_bytes(&inlined.batch) as u64)]))?;
        if removed != inlined.row_ids.len() {
            // Somebody was quicker: the rows are where it left them.
            return Err(Error::Invalid(format!("rows of table `{name}` changed while they were moved")));
        }
        let mut commit = Commit::begin(&transaction)?;
        let ids: Vec<&[i32]> = table.columns.iter().map(|column| column.ids.as_slice()).collect();
        for flushed in &files {
            let id = commit.file_id();
            insert_file(&transaction, id, table.id, &ids, &flushed.staged, &flushed.row)?;
            let next = catalog_rows::next_row_id(&transaction, table.id)?;
            note_table_stats(&transaction, table.id, 0, next, flushed.staged.file.size_bytes)?;
        }
        commit.changed(format!("inline_flush:{}", table.id));
        commit.finish(Some("quern"), Some("rows moved from the catalog to files"))?;
        made.clear();
        sql(transaction.commit())?;
        Ok(removed as u64)
    }

    /// One file for each run of rows that no other file lies between.
    fn write_flushed(&self, table: &TableState, inlined: &Inlined, made: &mut Vec<PathBuf>) -> Result<Vec<Flushed>> {
        let ids = inlined.row_ids.values();
        let mut files = Vec::new();
        let mut from = 0;
        create_folders(self.files(), &table.folder).map_err(|e| Error::io("create", &table.folder, e))?;
        let starts = table.files.iter().map(|file| file.row_id_start).chain([u64::MAX]);
        for start in starts {
            let to = ids.partition_point(|id| *id < start);
            if to > from {
                files.push(self.write_run(table, inlined, from..to, made)?);
                from = to;
            }
        }
        let parent = table.folder.parent().filter(|_| table.files.is_empty());
        for folder in parent.into_iter().chain([table.folder.as_path()]) {
            self.files().sync_folder(folder).map_err(|e| Error::io("sync", folder, e))?;
        }
        Ok(files)
    }

    fn write_run(
        &self,
        table: &TableState,
        inlined: &Inlined,
        rows: std::ops::Range<usize>,
        made: &mut Vec<PathBuf>,
    ) -> Result<Flushed> {
        let stored = staging::stored_schema(&table.schema, table.columns.iter().map(|column| column.ids.as_slice()));
        let number = ColumnType::Number(DType::I64);
        let mut fields: Vec<_> = stored.fields().iter().cloned().collect();
        for (name, id) in [(deletes::ROW_ID, deletes::ROW_ID_FIELD), (deletes::SNAPSHOT_ID, deletes::SNAPSHOT_ID_FIELD)]
        {
            fields.push(Arc::new(forms::stored_field(name, &number, &[id])));
        }
        let path = staging::new_path(&table.folder);
        made.push(path.clone());
        let schema = Arc::new(ArrowSchema::new(fields));
        let mut writer = FileWriter::create(self.files(), &path, schema, 0)?;
        let batch = inlined.batch.slice(rows.start, rows.len());
        let mut stats = staging::new_stats(&table.schema);
        let mut columns = Vec::new();
        for (((column, field), array), stats) in
            table.schema.columns().iter().zip(stored.fields()).zip(batch.columns()).zip(&mut stats)
        {
            stats.add(array);
            columns.push(forms::encode(array, &column.column_type, field.data_type())?);
        }
        let row_ids = inlined.row_ids.slice(rows.start, rows.len());
        let since = inlined.since.slice(rows.start, rows.len());
        let signed = |numbers: &UInt64Array| -> Result<ArrayRef> {
            let numbers: ArrayRef = Arc::new(numbers.clone());
            forms::convert(&numbers, &DataType::Int64)
        };
        columns.extend([signed(&row_ids)?, signed(&since)?]);
        writer.write(columns)?;
        let row = FileRow::partial(
            min(&since).unwrap_or_default(),
            max(&since).unwrap_or_default(),
            min(&row_ids).unwrap_or_default(),
        );
        Ok(Flushed { staged: StagedFile { file: writer.finish()?, shard: None, stats }, row })
    }
}

/// Removes the rows that were visible at a snapshot and still are.
fn take_out(transaction: &Transaction<'_>, table: &TableState, at: u64) -> Result<usize> {
    let mut removed = 0;
    for part in &table.inlined {
        let text =
            format!("DELETE FROM {} WHERE begin_snapshot <= ?1 AND end_snapshot IS NULL", quote(&part.table_name));
        removed += sql(transaction.execute(&text, params![U(at)]))?;
    }
    Ok(removed)
}
