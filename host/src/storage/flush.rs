//! Moving rows from the catalog to Parquet files. Nothing changes for a reader:
//! the rows keep their ids, and the snapshots they were added by are written
//! into the file, so that older snapshots still show the rows they had.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::catalog_rows::{self, quote};
use super::commit::{Commit, check_unchanged, note_table_stats};
use super::connections::{Durability, U, sql};
use super::inline::{self, Inlined, can_inline};
use super::moved::{Moved, MovedWriter, Rows};
use super::snapshot::TableState;
use super::{Storage, staging};
use crate::base::{Error, Result};

/// Rows of a table in the catalog from which on they are moved after an append.
const DUE_ROWS: u64 = 64 << 10;

/// Bytes of them, about.
const DUE_BYTES: u64 = 16 << 20;

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

    /// Moves the rows of all tables in which some have waited for `age`. Returns
    /// their number.
    pub fn flush_older(&self, age: Duration) -> Result<u64> {
        let mut moved = 0;
        for table in self.snapshot()?.tables().filter(|table| table.inlined_rows > 0 && can_inline(&table.schema)) {
            if self.waits_for(table)? >= age {
                moved += self.flush_inlined(&table.name)?;
            }
        }
        Ok(moved)
    }

    /// For how long the oldest row that the catalog keeps has been there.
    fn waits_for(&self, table: &TableState) -> Result<Duration> {
        let mut longest = 0.0_f64;
        for part in &table.inlined {
            // A snapshot that is no more is old.
            let text = format!(
                "SELECT coalesce((SELECT (julianday('now') - julianday(substr(snapshot_time, 1, 23))) * 86400.0 FROM \
                ducklake_snapshot WHERE snapshot_id = (SELECT min(begin_snapshot) FROM {} WHERE end_snapshot IS NULL)), \
                1e9)",
                quote(&part.table_name)
            );
            longest = longest.max(self.read(|connection| sql(connection.query_row(&text, [], |row| row.get(0))))?);
        }
        Ok(Duration::try_from_secs_f64(longest).unwrap_or_default())
    }

    /// Whether the catalog keeps so many rows of a table that they are to be moved.
    pub(super) fn has_many_inlined(&self, table: &TableState) -> Result<bool> {
        if table.inlined_rows == 0 || !can_inline(&table.schema) {
            return Ok(false);
        }
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
        // What was deleted or truncated is not subtracted elsewhere: without rows it is 0.
        let bytes =
            if has_rows(&transaction, &table)? { staging::batch_bytes(&inlined.batch) as u64 } else { i64::MAX as u64 };
        let left = "UPDATE quern_table SET inlined_bytes = max(0, inlined_bytes - ?2) WHERE table_id = ?1";
        sql(transaction.execute(left, params![U(table.id.0), U(bytes)]))?;
        if removed != inlined.row_ids.len() {
            // Somebody was quicker: the rows are where it left them.
            return Err(Error::Invalid(format!("rows of table `{name}` changed while they were moved")));
        }
        let mut commit = Commit::begin(&transaction)?;
        for file in &files {
            file.insert(&transaction, &mut commit, &table)?;
            let next = catalog_rows::next_row_id(&transaction, table.id)?;
            note_table_stats(&transaction, table.id, 0, next, file.size_bytes())?;
        }
        commit.changed(format!("inline_flush:{}", table.id));
        commit.finish_moved("rows moved from the catalog to files")?;
        made.clear();
        sql(transaction.commit())?;
        Ok(removed as u64)
    }

    /// One file for each run of rows that no other file lies between.
    fn write_flushed(&self, table: &TableState, inlined: &Inlined, made: &mut Vec<PathBuf>) -> Result<Vec<Moved>> {
        let ids = inlined.row_ids.values();
        let mut files = Vec::new();
        let mut from = 0;
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
    ) -> Result<Moved> {
        let (start, length) = (rows.start, rows.len());
        let mut writer = MovedWriter::create(self, table, made)?;
        writer.write(&Rows {
            batch: &inlined.batch.slice(start, length),
            row_ids: &inlined.row_ids.slice(start, length),
            since: &inlined.since.slice(start, length),
        })?;
        writer.finish(None)
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

/// Whether the catalog still keeps rows of a table.
fn has_rows(transaction: &Transaction<'_>, table: &TableState) -> Result<bool> {
    for part in &table.inlined {
        let text = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE end_snapshot IS NULL)", quote(&part.table_name));
        if sql(transaction.query_row(&text, [], |row| row.get(0)))? {
            return Ok(true);
        }
    }
    Ok(false)
}
