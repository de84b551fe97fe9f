//! Committed states: which tables there are, and of each where its rows lie.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use rusqlite::Connection;

use super::catalog_rows::{self, ChangeLog, Head, TableRow};
use super::format::DATA_FOLDER;
use crate::base::{Error, Result, Schema, Sharding, SnapshotId, TableId};

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The state.
    pub id: SnapshotId,
    /// When it was committed, microseconds since 1970.
    pub time_us: i64,
    /// What changed, in DuckLake's words.
    pub changes: String,
    /// Who committed it, for example `proc:train`.
    pub author: Option<String>,
    /// Why, for example `run 42`.
    pub message: Option<String>,
}

/// One committed state of all tables.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number.
    pub id: SnapshotId,
    /// When it was committed, microseconds since 1970.
    pub time_us: i64,
    tables: BTreeMap<String, Entry>,
    changes: ChangeLog,
}

#[derive(Debug)]
enum Entry {
    Table(Arc<TableState>),
    /// A table of another program with something we cannot hold.
    Unreadable(String),
}

/// A table in one committed state.
#[derive(Debug)]
pub struct TableState {
    /// Its number, never used again.
    pub id: TableId,
    /// Its name.
    pub name: String,
    /// Its columns.
    pub schema: Schema,
    /// The Arrow schema of its batches: [`Schema::to_arrow`].
    pub arrow: SchemaRef,
    /// How its rows are divided.
    pub sharding: Sharding,
    /// Number of shards; 1 for a replicated table.
    pub shards: u32,
    /// Number of rows.
    pub rows: u64,
    /// Size of its data files in bytes.
    pub file_bytes: u64,
    /// Number of its data files.
    pub file_count: usize,
    /// Rows kept in the catalog until they are flushed.
    pub inlined_rows: u64,
    /// The last snapshot that changed the table, or only moved its rows.
    pub version: SnapshotId,
    /// The last snapshot that did anything but add rows.
    pub rewritten: SnapshotId,
    /// Rows added later have this row id or a greater one.
    pub next_row_id: u64,
    /// The snapshot of which this was read.
    pub(super) read_at: SnapshotId,
    /// Whether it was read of a state that may not have been the newest.
    pub(super) historic: bool,
    pub(super) folder: PathBuf,
    pub(super) columns: Vec<StoredColumn>,
    pub(super) files: Vec<DataFile>,
    pub(super) inlined: Vec<InlinedPart>,
}

/// How the catalog names a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredColumn {
    /// Field ids: of the column, of its elements, of theirs, and so on.
    pub(super) ids: Vec<i32>,
}

/// A Parquet file of rows.
#[derive(Clone, Debug)]
pub(super) struct DataFile {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) rows: u64,
    /// The first snapshot that rows of it belong to.
    pub(super) since: u64,
    /// Whether it lies in the table's folder, neither partitioned nor mapped by
    /// another program.
    pub(super) plain: bool,
    /// Row id of its first row, unless the file itself holds row ids.
    pub(super) row_id_start: u64,
    pub(super) shard: Option<u32>,
    /// The last snapshot that rows of it belong to, when they belong to several.
    pub(super) partial_max: Option<u64>,
    pub(super) delete_file: Option<DeleteFile>,
    /// Positions of deleted rows that the catalog holds, ascending.
    pub(super) deleted: Vec<u64>,
}

/// A Parquet file of positions that are deleted.
#[derive(Clone, Debug)]
pub(super) struct DeleteFile {
    pub(super) path: PathBuf,
    pub(super) rows: u64,
    pub(super) partial_max: Option<u64>,
}

/// Rows kept in the catalog, of one version of the table's columns.
#[derive(Clone, Debug)]
pub(super) struct InlinedPart {
    pub(super) table_name: String,
    /// For each column its name in that table, when it has it.
    pub(super) columns: Vec<Option<String>>,
    pub(super) rows: u64,
}

impl Snapshot {
    /// All tables by name, except those of other programs that hold something
    /// we have no type for.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableState>> {
        self.tables.values().filter_map(|entry| match entry {
            Entry::Table(table) => Some(table),
            Entry::Unreadable(_) => None,
        })
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Result<Arc<TableState>> {
        match self.tables.get(name) {
            Some(Entry::Table(table)) => Ok(table.clone()),
            Some(Entry::Unreadable(reason)) => {
                Err(Error::Unsupported(format!("table `{name}` of another program cannot be read: {reason}")))
            }
            None => Err(Error::not_found("table", name, None, self.tables.keys())),
        }
    }

    /// Reads the state `head`; tables that `known` holds unchanged are shared.
    pub(super) fn load(connection: &Connection, folder: &Path, head: Head, known: Option<&Self>) -> Result<Self> {
        let known = known.filter(|known| known.id < head.id);
        let changes = ChangeLog::load(connection, head.id, known.map(|known| (known.id, &known.changes)))?;
        let kept: HashMap<TableId, &Arc<TableState>> =
            known.iter().flat_map(|known| known.tables()).map(|table| (table.id, table)).collect();
        let data_path = folder.join(DATA_FOLDER);
        let mut tables = BTreeMap::new();
        for row in catalog_rows::tables(connection, head.id)? {
            let (version, _) = changes.of(row.id, row.begin);
            let name = row.name.clone();
            let entry = match kept.get(&row.id) {
                Some(table) if table.version == version && table.name == name => Entry::Table(Arc::clone(table)),
                _ => match TableState::load(connection, &data_path, head, row, &changes) {
                    Ok(table) => Entry::Table(Arc::new(table)),
                    Err(Error::Unsupported(reason)) => Entry::Unreadable(reason),
                    Err(other) => return Err(other),
                },
            };
            tables.insert(name, entry);
        }
        Ok(Self { id: head.id, time_us: head.time_us, tables, changes })
    }
}

impl TableState {
    /// The snapshot of a state that was not the newest when it was read: newer rows
    /// were there already, so that none extends it.
    pub fn historic_at(&self) -> Option<SnapshotId> {
        self.historic.then_some(self.read_at)
    }

    /// Whether this state is `older` with rows added and nothing else: those
    /// have row ids from `older.next_row_id` on.
    pub fn extends(&self, older: &Self) -> bool {
        self.id == older.id && !older.historic && self.rewritten <= older.version && self.version >= older.version
    }

    pub(super) fn load(
        connection: &Connection,
        data_path: &Path,
        head: Head,
        row: TableRow,
        changes: &ChangeLog,
    ) -> Result<Self> {
        let at = head.id;
        let (version, rewritten) = changes.of(row.id, row.begin);
        let (schema, columns) = catalog_rows::columns(connection, &row, at)?;
        let (sharding, shards) = catalog_rows::sharding(connection, row.id, &schema, &columns)?;
        let folder = data_path.join(&row.path);
        let files = catalog_rows::files(connection, row.id, at, &folder)?;
        let inlined = catalog_rows::inlined(connection, row.id, at, &schema, &columns)?;
        let mut rows = 0;
        for file in &files {
            rows += super::deletes::live_rows(file, at)?;
        }
        let inlined_rows = inlined.iter().map(|part| part.rows).sum();
        Ok(Self {
            id: row.id,
            arrow: schema.to_arrow(),
            schema,
            sharding,
            shards,
            rows: rows + inlined_rows,
            file_bytes: files.iter().map(|file| file.size_bytes).sum(),
            file_count: files.len(),
            inlined_rows,
            version,
            rewritten,
            next_row_id: catalog_rows::next_row_id(connection, row.id)?,
            read_at: at,
            historic: head.historic,
            folder,
            columns,
            files,
            inlined,
            name: row.name,
        })
    }
}
