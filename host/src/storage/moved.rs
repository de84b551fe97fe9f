//! A file of rows that were in the table before, in the catalog or in other
//! files: each with its row id and the snapshot that added it, so that nothing
//! changes for a reader, also of an older snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Schema as ArrowSchema, SchemaRef};
use rusqlite::Connection;

use super::commit::{Commit, FileRow, insert_file};
use super::data_file::FileWriter;
use super::file_layer::create_folders;
use super::snapshot::TableState;
use super::staging::{self, StagedFile};
use super::stats::ColumnStats;
use super::{Storage, deletes, forms};
use crate::base::{ColumnType, DType, Error, Result};

/// The word in `commit_extra_info` for commits that only moved rows: each is
/// in the shard it was in, and their order is the same.
pub(super) const MOVED: &str = "quern: rows moved";

/// Rows that were moved at once.
pub(super) struct Rows<'a> {
    /// In the table's Arrow schema.
    pub(super) batch: &'a RecordBatch,
    pub(super) row_ids: &'a UInt64Array,
    /// The snapshot that added each row.
    pub(super) since: &'a UInt64Array,
}

/// Such a file being written.
pub(super) struct MovedWriter {
    writer: FileWriter,
    columns: Vec<ColumnType>,
    schema: SchemaRef,
    stats: Vec<ColumnStats>,
    row_id_start: u64,
    /// The first and the last snapshot that rows belong to.
    since: Option<(u64, u64)>,
}

/// Such a file, to be named in the catalog.
pub(super) struct Moved {
    staged: StagedFile,
    row: FileRow,
}

impl MovedWriter {
    /// Creates a file in the folder of the table, whose path is noted in `made` first.
    pub(super) fn create(storage: &Storage, table: &TableState, made: &mut Vec<PathBuf>) -> Result<Self> {
        let stored = staging::stored_schema(&table.schema, table.columns.iter().map(|column| column.ids.as_slice()));
        let number = ColumnType::Number(DType::I64);
        let mut fields: Vec<_> = stored.fields().iter().cloned().collect();
        for (name, id) in [(deletes::ROW_ID, deletes::ROW_ID_FIELD), (deletes::SNAPSHOT_ID, deletes::SNAPSHOT_ID_FIELD)]
        {
            fields.push(Arc::new(forms::stored_field(name, &number, &[id])));
        }
        create_folders(storage.files(), &table.folder).map_err(|e| Error::io("create", &table.folder, e))?;
        let path = staging::new_path(&table.folder);
        made.push(path.clone());
        let schema = Arc::new(ArrowSchema::new(fields));
        let row_bytes = staging::row_bytes(&table.schema);
        Ok(Self {
            writer: FileWriter::create(storage.files(), &path, schema.clone(), row_bytes)?,
            columns: table.schema.columns().iter().map(|column| column.column_type.clone()).collect(),
            schema,
            stats: staging::new_stats(&table.schema),
            row_id_start: u64::MAX,
            since: None,
        })
    }

    /// Adds rows, whose ids are greater than those before.
    pub(super) fn write(&mut self, rows: &Rows<'_>) -> Result<()> {
        let mut columns = Vec::with_capacity(self.columns.len() + 2);
        for (((column_type, field), array), stats) in
            self.columns.iter().zip(self.schema.fields()).zip(rows.batch.columns()).zip(&mut self.stats)
        {
            stats.add(array);
            columns.push(forms::encode(array, column_type, field.data_type())?);
        }
        let signed = |numbers: &UInt64Array| -> Result<ArrayRef> {
            let numbers: ArrayRef = Arc::new(numbers.clone());
            forms::convert(&numbers, &DataType::Int64)
        };
        columns.extend([signed(rows.row_ids)?, signed(rows.since)?]);
        self.row_id_start = self.row_id_start.min(min(rows.row_ids).unwrap_or(u64::MAX));
        if let Some((first, last)) = min(rows.since).zip(max(rows.since)) {
            let (known_first, known_last) = self.since.unwrap_or((first, last));
            self.since = Some((first.min(known_first), last.max(known_last)));
        }
        self.writer.write(columns)
    }

    /// Syncs the file; its folder is the caller's. `shard`: all rows are of this one.
    pub(super) fn finish(self, shard: Option<u32>) -> Result<Moved> {
        let (first, last) = self.since.unwrap_or_default();
        let row = FileRow::partial(first, last, self.row_id_start);
        Ok(Moved { staged: StagedFile { file: self.writer.finish()?, shard, stats: self.stats }, row })
    }
}

impl Moved {
    /// Rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.staged.file.rows
    }

    /// Size of the file in bytes.
    pub(super) fn size_bytes(&self) -> u64 {
        self.staged.file.size_bytes
    }

    /// Names the file in the catalog.
    pub(super) fn insert(&self, connection: &Connection, commit: &mut Commit<'_>, table: &TableState) -> Result<()> {
        let ids: Vec<&[i32]> = table.columns.iter().map(|column| column.ids.as_slice()).collect();
        insert_file(connection, commit.file_id(), table.id, &ids, &self.staged, &self.row)
    }
}
