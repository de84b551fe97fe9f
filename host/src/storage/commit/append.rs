//! Rows that a commit adds: files, rows kept in the catalog, statistics.

use arrow::array::RecordBatch;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{Commit, Place};
use crate::base::{ColumnType, Result, Schema, TableId};
use crate::storage::catalog_rows::{has_table, next_row_id, quote};
use crate::storage::connections::{U, sql};
use crate::storage::inline;
use crate::storage::staging::{StagedFile, batch_bytes, new_stats};
use crate::storage::stats::ColumnStats;

impl Commit<'_> {
    pub(super) fn append(
        &mut self,
        place: &Place<'_>,
        files: &[StagedFile],
        inlined: &[RecordBatch],
        rows: u64,
    ) -> Result<()> {
        let mut row_id = next_row_id(self.connection, place.id)?;
        let mut stats = new_stats(place.schema);
        let mut bytes = 0;
        for staged in files {
            let id = self.file_id();
            insert_file(self.connection, id, place.id, &place.ids, staged, &FileRow::new(self.id.0, row_id))?;
            merge(&mut stats, &staged.stats);
            row_id += staged.file.rows;
            bytes += staged.file.size_bytes;
        }
        if !files.is_empty() {
            self.changed(format!("inserted_into_table:{}", place.id));
        }
        if !inlined.is_empty() {
            let name = self.inlined_table(place.id, place.schema)?;
            for batch in inlined {
                self.insert_inlined(&name, place.schema, batch, row_id)?;
                for (stats, array) in stats.iter_mut().zip(batch.columns()) {
                    stats.add(array);
                }
                row_id += batch.num_rows() as u64;
            }
            sql(self.connection.execute(
                "UPDATE quern_table SET inlined_bytes = inlined_bytes + ?2 WHERE table_id = ?1",
                params![U(place.id.0), U(inlined.iter().map(|batch| batch_bytes(batch) as u64).sum())],
            ))?;
            self.changed(format!("inlined_insert:{}", place.id));
        }
        note_table_stats(self.connection, place.id, rows, row_id, bytes)?;
        for ((column, ids), stats) in place.schema.columns().iter().zip(&place.ids).zip(stats) {
            if !matches!(column.column_type, ColumnType::List(_)) {
                note_column_stats(self.connection, place.id, ids.first().copied(), &column.column_type, stats)?;
            }
        }
        Ok(())
    }

    /// The table that keeps rows of the table's present columns, made when it
    /// is not there.
    fn inlined_table(&self, table: TableId, schema: &Schema) -> Result<String> {
        let text = "SELECT max(schema_version) FROM ducklake_schema_versions WHERE table_id = ?1";
        let version = sql(self.connection.query_row(text, [U(table.0)], |row| row.get::<_, Option<U>>(0)))?;
        let version = version.map_or(self.schema_version, |version| version.0);
        let name = format!("ducklake_inlined_data_{table}_{version}");
        if has_table(self.connection, &name)? {
            return Ok(name);
        }
        let columns: Vec<String> = schema
            .columns()
            .iter()
            .map(|c| format!("{} {}", quote(&c.name), inline::sql_type(&c.column_type)))
            .collect();
        sql(self.connection.execute_batch(&format!(
            "CREATE TABLE {name}(row_id BIGINT, begin_snapshot BIGINT, end_snapshot BIGINT, {});
             CREATE INDEX quern_{name} ON {name}(row_id, end_snapshot, begin_snapshot);",
            columns.join(", ")
        )))?;
        sql(self.connection.execute(
            "INSERT INTO ducklake_inlined_data_tables VALUES (?1, ?2, ?3)",
            params![U(table.0), name, U(version)],
        ))?;
        Ok(name)
    }

    fn insert_inlined(&self, name: &str, schema: &Schema, batch: &RecordBatch, row_id: u64) -> Result<()> {
        let columns = schema.columns().iter().zip(batch.columns());
        let mut columns: Vec<std::vec::IntoIter<Value>> = columns
            .map(|(column, array)| Ok(inline::to_sql(array, &column.column_type)?.into_iter()))
            .collect::<Result<_>>()?;
        let names: Vec<String> = schema.columns().iter().map(|column| quote(&column.name)).collect();
        let marks = ", ?".repeat(columns.len());
        let mut statement = sql(self.connection.prepare(&format!(
            "INSERT INTO {name}(row_id, begin_snapshot, end_snapshot, {}) VALUES (?, ?, NULL{marks})",
            names.join(", ")
        )))?;
        for row_id in (row_id..).take(batch.num_rows()) {
            let (row_id, snapshot) = (U(row_id), U(self.id.0));
            let row: Vec<Value> = columns.iter_mut().map(|column| column.next().unwrap_or(Value::Null)).collect();
            let head: [&dyn ToSql; 2] = [&row_id, &snapshot];
            let values = head.into_iter().chain(row.iter().map(|value| value as &dyn ToSql));
            sql(statement.execute(rusqlite::params_from_iter(values)))?;
        }
        Ok(())
    }
}

fn merge(all: &mut [ColumnStats], more: &[ColumnStats]) {
    for (all, more) in all.iter_mut().zip(more) {
        all.merge(more);
    }
}

/// What a file's row in the catalog says beside the file itself.
pub(in crate::storage) struct FileRow {
    begin: u64,
    row_id_start: u64,
    partial_max: Option<u64>,
}

impl FileRow {
    fn new(begin: u64, row_id_start: u64) -> Self {
        Self { begin, row_id_start, partial_max: None }
    }

    /// Of a file whose rows come from the snapshots `begin..=max`.
    pub(in crate::storage) fn partial(begin: u64, max: u64, row_id_start: u64) -> Self {
        Self { begin, row_id_start, partial_max: Some(max) }
    }
}

/// Names a staged file in the catalog.
pub(in crate::storage) fn insert_file(
    connection: &Connection,
    id: u64,
    table: TableId,
    ids: &[&[i32]],
    staged: &StagedFile,
    row: &FileRow,
) -> Result<()> {
    let file = &staged.file;
    let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned());
    sql(connection.execute(
        "INSERT INTO ducklake_data_file VALUES (?1, ?2, ?3, NULL, NULL, ?4, 1, 'parquet', ?5, ?6, ?7, ?8, NULL, \
        NULL, NULL, ?9)",
        params![
            U(id),
            U(table.0),
            U(row.begin),
            name,
            U(file.rows),
            U(file.size_bytes),
            U(file.footer_bytes),
            U(row.row_id_start),
            row.partial_max.map(U)
        ],
    ))?;
    if let Some(shard) = staged.shard {
        sql(connection.execute("INSERT INTO quern_shard VALUES (?1, ?2, ?3)", params![U(id), U(table.0), shard]))?;
    }
    let mut statement =
        sql(connection
            .prepare("INSERT INTO ducklake_file_column_stats VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL)"))?;
    for ((ids, stats), bytes) in ids.iter().zip(&staged.stats).zip(&file.column_bytes) {
        let [column] = ids else { continue };
        let (low, high) = stats.bounds_text();
        sql(statement.execute(params![
            U(id),
            U(table.0),
            column,
            U(*bytes),
            U(stats.values),
            U(stats.nulls),
            low,
            high,
            stats.nan
        ]))?;
    }
    Ok(())
}

/// Adds to a table's counts.
pub(in crate::storage) fn note_table_stats(
    connection: &Connection,
    table: TableId,
    rows: u64,
    next_row_id: u64,
    bytes: u64,
) -> Result<()> {
    let values = params![U(table.0), U(rows), U(next_row_id), U(bytes)];
    let changed = sql(connection.execute(
        "UPDATE ducklake_table_stats SET record_count = record_count + ?2, next_row_id = ?3, file_size_bytes = \
        file_size_bytes + ?4 WHERE table_id = ?1",
        values,
    ))?;
    if changed == 0 {
        sql(connection.execute("INSERT INTO ducklake_table_stats VALUES (?1, ?2, ?3, ?4)", values))?;
    }
    Ok(())
}

/// Widens what the catalog knows of a whole column.
fn note_column_stats(
    connection: &Connection,
    table: TableId,
    column: Option<i32>,
    column_type: &ColumnType,
    mut stats: ColumnStats,
) -> Result<()> {
    let text = "SELECT contains_null, contains_nan, min_value, max_value FROM ducklake_table_column_stats WHERE \
    table_id = ?1 AND column_id = ?2";
    type Known = (Option<bool>, Option<bool>, Option<String>, Option<String>);
    let known: Option<Known> = sql(connection
        .query_row(text, params![U(table.0), column], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional())?;
    let mut nulls = stats.nulls > 0;
    let mut nan = stats.nan;
    let update = known.is_some();
    if let Some((known_nulls, known_nan, low, high)) = known {
        nulls |= known_nulls.unwrap_or(true);
        nan = nan.zip(known_nan).map(|(left, right)| left || right);
        stats.widen_by_text(column_type, low.as_deref(), high.as_deref());
    }
    let (low, high) = stats.bounds_text();
    let text = if update {
        "UPDATE ducklake_table_column_stats SET contains_null = ?3, contains_nan = ?4, min_value = ?5, \
        max_value = ?6 WHERE table_id = ?1 AND column_id = ?2"
    } else {
        "INSERT INTO ducklake_table_column_stats VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)"
    };
    sql(connection.execute(text, params![U(table.0), column, nulls, nan, low, high])).map(drop)
}
