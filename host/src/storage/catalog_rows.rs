//! Reading DuckLake's tables: one query each, at one snapshot.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::connections::{U, sql};
use super::forms;
use super::moved::MOVED;
use super::snapshot::{DataFile, DeleteFile, InlinedPart, SnapshotInfo, StoredColumn};
use crate::base::{Column, ColumnType, DEFAULT_SHARDS, Error, Result, Schema, Sharding, SnapshotId, TableId};

/// Rows that are visible at snapshot `?1`.
const LIVE: &str = "begin_snapshot <= ?1 AND (end_snapshot IS NULL OR end_snapshot > ?1)";

/// A snapshot's own row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) id: SnapshotId,
    pub(super) time_us: i64,
    /// Asked for by number: it need not be the newest.
    pub(super) historic: bool,
}

/// A table's own row.
#[derive(Clone, Debug)]
pub(super) struct TableRow {
    pub(super) id: TableId,
    pub(super) name: String,
    pub(super) begin: SnapshotId,
    /// Relative to the data folder, or absolute.
    pub(super) path: PathBuf,
}

/// Microseconds since 1970 of DuckLake's text form of a time.
const TIME_US: &str = "CAST(strftime('%s', substr(snapshot_time, 1, 19)) AS INTEGER) * 1000000 + \
CAST(substr(replace(substr(snapshot_time, 21), '+', '000000'), 1, 6) AS INTEGER)";

/// A snapshot of the past.
fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let time_us = row.get::<_, Option<i64>>(1)?.unwrap_or(0);
    Ok(Head { id: SnapshotId(row.get::<_, U>(0)?.0), time_us, historic: true })
}

/// The newest snapshot.
pub(super) fn newest(connection: &Connection) -> Result<Head> {
    let text = format!("SELECT snapshot_id, {TIME_US} FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1");
    sql(connection.query_row(&text, [], |row| Ok(Head { historic: false, ..head(row)? })).optional())?
        .ok_or_else(|| Error::Corrupt { what: "catalog.sqlite".into(), reason: "it holds no snapshot".into() })
}

/// The snapshot of that number.
pub(super) fn at(connection: &Connection, id: SnapshotId) -> Result<Head> {
    let text = format!("SELECT snapshot_id, {TIME_US} FROM ducklake_snapshot WHERE snapshot_id = ?1");
    sql(connection.query_row(&text, [U(id.0)], head).optional())?
        .ok_or_else(|| Error::not_found("snapshot", &id.to_string(), None, [""; 0]))
}

/// All snapshots, oldest first.
pub(super) fn history(connection: &Connection) -> Result<Vec<SnapshotInfo>> {
    let text = format!(
        "SELECT s.snapshot_id, {TIME_US}, coalesce(c.changes_made, ''), c.author, c.commit_message FROM \
        ducklake_snapshot s LEFT JOIN ducklake_snapshot_changes c USING (snapshot_id) ORDER BY s.snapshot_id"
    );
    collect(connection, &text, [], |row| {
        let Head { id, time_us, .. } = head(row)?;
        Ok(SnapshotInfo { id, time_us, changes: row.get(2)?, author: row.get(3)?, message: row.get(4)? })
    })
}

/// Who made a snapshot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// This program, moving rows: each is in its shard and in its order as before.
    Ourselves,
    Anyone,
}

/// For each table the last snapshots that changed it, from the words of
/// `ducklake_snapshot_changes`.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeLog(HashMap<TableId, (SnapshotId, SnapshotId)>);

impl ChangeLog {
    /// Reads the words up to `to`, or only those after a state already read.
    pub(super) fn load(connection: &Connection, to: SnapshotId, known: Option<(SnapshotId, &Self)>) -> Result<Self> {
        let (from, mut log) = match known {
            Some((from, log)) => (from.0.saturating_add(1), log.clone()),
            None => (0, Self::default()),
        };
        let text = "SELECT snapshot_id, coalesce(changes_made, ''), coalesce(commit_extra_info = ?3, 0) FROM \
        ducklake_snapshot_changes WHERE snapshot_id BETWEEN ?1 AND ?2 ORDER BY snapshot_id";
        let rows: Vec<(U, String, bool)> = collect(connection, text, params![U(from), U(to.0), MOVED], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        for (id, words, moved) in rows {
            let by = if moved { Author::Ourselves } else { Author::Anyone };
            log.note(SnapshotId(id.0), &words, by);
        }
        Ok(log)
    }

    /// Notes words such as `inserted_into_table:3,inlined_delete:4`. Names in
    /// quotes may hold anything, also commas, and are passed over.
    fn note(&mut self, id: SnapshotId, words: &str, by: Author) {
        for word in words.split(',') {
            let Some((kind, table)) = word.split_once(':') else { continue };
            let Ok(table) = table.parse() else { continue };
            let (version, rewritten) = self.0.entry(TableId(table)).or_insert((id, id));
            *version = id;
            if by == Author::Anyone && !matches!(kind, "inserted_into_table" | "inlined_insert") {
                *rewritten = id;
            }
        }
    }

    /// The last change, and the last one that did anything but add rows.
    pub(super) fn of(&self, table: TableId, begin: SnapshotId) -> (SnapshotId, SnapshotId) {
        self.0.get(&table).map_or((begin, begin), |(version, rewritten)| (*version.max(&begin), *rewritten.max(&begin)))
    }
}

/// The tables of schema `main`.
pub(super) fn tables(connection: &Connection, at: SnapshotId) -> Result<Vec<TableRow>> {
    let text = "SELECT t.table_id, t.table_name, t.begin_snapshot, s.path, t.path FROM ducklake_table t JOIN \
    ducklake_schema s ON s.schema_id = t.schema_id AND s.schema_name = 'main' AND s.begin_snapshot <= ?1 AND \
    (s.end_snapshot IS NULL OR s.end_snapshot > ?1) WHERE t.begin_snapshot <= ?1 AND (t.end_snapshot IS NULL OR \
    t.end_snapshot > ?1) ORDER BY t.table_id";
    collect(connection, text, [U(at.0)], |row| {
        let (schema, table): (String, String) = (row.get(3)?, row.get(4)?);
        Ok(TableRow {
            id: TableId(row.get::<_, U>(0)?.0),
            name: row.get(1)?,
            begin: SnapshotId(row.get::<_, U>(2)?.0),
            // Joining an absolute path gives that path.
            path: Path::new(&schema).join(table),
        })
    })
}

/// A row of `ducklake_column`.
struct ColumnRow {
    id: i32,
    name: String,
    duck_type: String,
    nullable: bool,
    parent: Option<i32>,
}

/// The columns of a table.
pub(super) fn columns(
    connection: &Connection,
    table: &TableRow,
    at: SnapshotId,
) -> Result<(Schema, Vec<StoredColumn>)> {
    let rows = column_rows(connection, table.id, at)?;
    let exact: HashMap<i32, String> =
        collect(connection, "SELECT column_id, type FROM quern_column WHERE table_id = ?1", [U(table.id.0)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .into_iter()
        .collect();
    let (mut columns, mut stored) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.parent.is_none()) {
        let (found, ids) = column_type(row, &rows)
            .ok_or_else(|| Error::Unsupported(format!("column `{}` is of type {}", row.name, row.duck_type)))?;
        // What another program made of the column counts more than our note.
        let noted = exact.get(&row.id).and_then(|text| text.parse::<ColumnType>().ok());
        let column_type = noted.filter(|noted| forms::same_form(noted, &found)).unwrap_or(found);
        columns.push(Column { name: row.name.clone(), column_type, nullable: row.nullable });
        stored.push(StoredColumn { ids });
    }
    let schema = Schema::new(columns).map_err(|e| Error::Unsupported(e.to_string()))?;
    Ok((schema, stored))
}

fn column_rows(connection: &Connection, table: TableId, at: SnapshotId) -> Result<Vec<ColumnRow>> {
    let text = format!(
        "SELECT column_id, column_name, column_type, nulls_allowed, parent_column FROM ducklake_column WHERE \
        table_id = ?2 AND {LIVE} ORDER BY column_order"
    );
    collect(connection, &text, params![U(at.0), U(table.0)], |row| {
        Ok(ColumnRow {
            id: row.get(0)?,
            name: row.get(1)?,
            duck_type: row.get(2)?,
            nullable: row.get(3)?,
            parent: row.get(4)?,
        })
    })
}

/// The type a DuckLake column seems to have, with its field ids.
fn column_type(row: &ColumnRow, all: &[ColumnRow]) -> Option<(ColumnType, Vec<i32>)> {
    if row.duck_type != "list" {
        return Some((forms::from_duck_type(&row.duck_type)?, vec![row.id]));
    }
    let element = all.iter().find(|other| other.parent == Some(row.id))?;
    let (item, mut ids) = column_type(element, all)?;
    ids.insert(0, row.id);
    Some((ColumnType::List(Box::new(item)), ids))
}

/// How a table is divided; tables of other programs are random.
pub(super) fn sharding(
    connection: &Connection,
    table: TableId,
    schema: &Schema,
    columns: &[StoredColumn],
) -> Result<(Sharding, u32)> {
    let text = "SELECT sharding, shards FROM quern_table WHERE table_id = ?1";
    let found: Option<(String, u32)> =
        sql(connection.query_row(text, [U(table.0)], |row| Ok((row.get(0)?, row.get(1)?))).optional())?;
    let Some((kind, shards)) = found else { return Ok((Sharding::Random, DEFAULT_SHARDS)) };
    let sharding = match kind.as_str() {
        "replicated" => return Ok((Sharding::Replicated, 1)),
        "key" => {
            let text = "SELECT column_id FROM quern_shard_key WHERE table_id = ?1 ORDER BY position";
            let ids: Vec<i32> = collect(connection, text, [U(table.0)], |row| row.get(0))?;
            let name = |id: &i32| {
                let position = columns.iter().position(|column| column.ids.first() == Some(id))?;
                schema.columns().get(position).map(|column| column.name.clone())
            };
            let names: Option<Vec<String>> = ids.iter().map(name).collect();
            names.map_or(Sharding::Random, Sharding::Key)
        }
        _ => Sharding::Random,
    };
    Ok((sharding, shards.max(1)))
}

/// The data files of a table, in the order of their row ids.
pub(super) fn files(connection: &Connection, table: TableId, at: SnapshotId, folder: &Path) -> Result<Vec<DataFile>> {
    let mut deleted = inlined_deletes(connection, table, at)?;
    let text = format!(
        "SELECT data_file_id, path, delete_count, partial_max FROM ducklake_delete_file WHERE table_id = ?2 AND \
        {LIVE}"
    );
    let mut delete_files: HashMap<u64, DeleteFile> = collect(connection, &text, params![U(at.0), U(table.0)], |row| {
        let path = folder.join(row.get::<_, String>(1)?);
        let partial_max = row.get::<_, Option<U>>(3)?.map(|max| max.0);
        Ok((row.get::<_, U>(0)?.0, DeleteFile { path, rows: row.get::<_, U>(2)?.0, partial_max }))
    })?
    .into_iter()
    .collect();
    let text = format!(
        "SELECT f.data_file_id, f.path, f.record_count, coalesce(f.row_id_start, 0), s.shard, f.partial_max, \
        f.begin_snapshot, coalesce(f.file_size_bytes, 0), \
        f.path_is_relative AND f.partition_id IS NULL AND f.mapping_id IS NULL \
        FROM ducklake_data_file f LEFT JOIN quern_shard s ON s.data_file_id = f.data_file_id WHERE f.table_id = \
        ?2 AND {LIVE} ORDER BY f.row_id_start, f.data_file_id"
    );
    collect(connection, &text, params![U(at.0), U(table.0)], |row| {
        let id = row.get::<_, U>(0)?.0;
        Ok(DataFile {
            id,
            path: folder.join(row.get::<_, String>(1)?),
            size_bytes: row.get::<_, U>(7)?.0,
            rows: row.get::<_, U>(2)?.0,
            since: row.get::<_, U>(6)?.0,
            plain: row.get(8)?,
            row_id_start: row.get::<_, U>(3)?.0,
            shard: row.get(4)?,
            partial_max: row.get::<_, Option<U>>(5)?.map(|max| max.0),
            delete_file: delete_files.remove(&id),
            deleted: deleted.remove(&id).unwrap_or_default(),
        })
    })
}

/// Deleted positions that the catalog holds, by data file.
fn inlined_deletes(connection: &Connection, table: TableId, at: SnapshotId) -> Result<HashMap<u64, Vec<u64>>> {
    let name = inlined_delete_table(table);
    let mut deleted: HashMap<u64, Vec<u64>> = HashMap::new();
    if !has_table(connection, &name)? {
        return Ok(deleted);
    }
    let text = format!("SELECT file_id, row_id FROM {name} WHERE begin_snapshot <= ?1 ORDER BY file_id, row_id");
    let rows: Vec<(U, U)> = collect(connection, &text, [U(at.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (file, position) in rows {
        deleted.entry(file.0).or_default().push(position.0);
    }
    Ok(deleted)
}

/// Where the catalog keeps deleted positions of a table's files.
pub(super) fn inlined_delete_table(table: TableId) -> String {
    format!("ducklake_inlined_delete_{table}")
}

/// Whether the catalog has a table of that name.
pub(super) fn has_table(connection: &Connection, name: &str) -> Result<bool> {
    let text = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    Ok(sql(connection.query_row(text, [name], |_| Ok(())).optional())?.is_some())
}

/// The names of the catalog's tables for rows of a table.
pub(super) fn inlined_tables(connection: &Connection, table: TableId) -> Result<Vec<String>> {
    let text = "SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = ?1";
    collect(connection, text, [U(table.0)], |row| row.get(0))
}

/// The rows of a table that the catalog holds.
pub(super) fn inlined(
    connection: &Connection,
    table: TableId,
    at: SnapshotId,
    schema: &Schema,
    columns: &[StoredColumn],
) -> Result<Vec<InlinedPart>> {
    let text = "SELECT i.table_name, (SELECT min(begin_snapshot) FROM ducklake_schema_versions v WHERE \
    v.schema_version = i.schema_version AND v.table_id = i.table_id) FROM ducklake_inlined_data_tables i WHERE \
    i.table_id = ?1 ORDER BY i.schema_version";
    let registered: Vec<(String, Option<U>)> =
        collect(connection, text, [U(table.0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut parts = Vec::new();
    for (table_name, since) in registered {
        let quoted = quote(&table_name);
        let text = format!("SELECT count(*) FROM {quoted} WHERE {LIVE}");
        let rows = sql(connection.query_row(&text, [U(at.0)], |row| row.get::<_, U>(0)))?.0;
        if rows == 0 {
            continue;
        }
        let then = column_rows(connection, table, since.map_or(at, |since| SnapshotId(since.0)))?;
        let name_of = |column: &StoredColumn| {
            then.iter().find(|row| Some(&row.id) == column.ids.first()).map(|row| row.name.clone())
        };
        let columns: Vec<Option<String>> = columns.iter().map(name_of).collect();
        debug_assert_eq!(columns.len(), schema.columns().len());
        parts.push(InlinedPart { table_name, columns, rows });
    }
    Ok(parts)
}

/// The row id the next row of a table gets.
pub(super) fn next_row_id(connection: &Connection, table: TableId) -> Result<u64> {
    let text = "SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?1";
    let found = sql(connection.query_row(text, [U(table.0)], |row| row.get::<_, U>(0)).optional())?;
    Ok(found.map_or(0, |next| next.0))
}

/// A name in double quotes.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// All rows of a query.
pub(super) fn collect<T>(
    connection: &Connection,
    text: &str,
    values: impl rusqlite::Params,
    each: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = sql(connection.prepare(text))?;
    let rows = sql(statement.query_map(values, each))?;
    sql(rows.collect())
}
