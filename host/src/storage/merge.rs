//! Merging: small data files of a table become one, as DuckLake merges adjacent
//! files. The rows keep their ids, their shard and the snapshots they were
//! added by, so that every snapshot shows what it showed before.
//!
//! 1. A run of files is chosen that follow one another in the order of row ids, also
//!    with what the catalog keeps, are of one shard (or of none), and have no deleted
//!    rows. What a scan shows is thus in the same order before and after.
//! 2. Their rows are copied to a new file, while others read and commit.
//! 3. One short transaction names the new file instead of the old ones, if
//!    those are still as they were. The old ones are removed an hour later
//!    ([`super::sweep`]): somebody may be reading them.
//!
//! Files grow as in a geometric series: an older file is taken when those after
//! it are as large together, so that a row is copied a few times in its life.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use rusqlite::{Transaction, params};

use super::catalog_rows::quote;
use super::commit::{Commit, check_unchanged, note_table_stats};
use super::connections::{Durability, U, sql};
use super::format::DATA_FOLDER;
use super::moved::{Moved, MovedWriter, Rows};
use super::snapshot::{DataFile, TableState};
use super::{Scan, Snapshot, Storage, catalog_rows, sweep};
use crate::base::{Error, Result};

/// Files that one is made of, at least.
const FEW: usize = 8;

/// Files that one is made of, at most: it bounds the transaction.
const MANY: usize = 1024;

/// Files up to this size count as equally large.
const TINY_BYTES: u64 = 64 << 10;

/// Files are not made larger than this, and those of half the size are left as they are.
const MERGED_BYTES: u64 = 64 << 20;

impl Storage {
    /// Merges small data files of a table, as long as there are some to merge.
    /// Returns the number of files that went into others.
    pub fn merge_files(&self, table: &str) -> Result<u64> {
        let mut merged = 0;
        loop {
            let _alone = self.0.background.moving();
            let snapshot = self.snapshot()?;
            let table = snapshot.table(table)?;
            if !Self::has_small_files(&table) {
                return Ok(merged);
            }
            let run = due(&table.files, self.columns_since(&table)?, &self.kept_row_ids(&table)?);
            let Some(run) = run.and_then(|run| table.files.get(run)) else { return Ok(merged) };
            let mut made = Vec::new();
            let outcome = self.merge_run(&snapshot, &table, run, &mut made);
            for path in made {
                // What cannot be removed now is swept as an orphan later.
                drop(self.files().remove(&path));
            }
            if !outcome? {
                // Somebody changed them meanwhile; there is another time.
                return Ok(merged);
            }
            merged += run.len() as u64;
        }
    }

    /// Whether a table has files to be merged.
    pub(super) fn has_small_files(table: &TableState) -> bool {
        due(&table.files, 0, &[]).is_some()
    }

    /// The ids of the rows of a table that the catalog keeps, in order; also of those
    /// that were deleted since, which older snapshots show.
    fn kept_row_ids(&self, table: &TableState) -> Result<Vec<u64>> {
        let mut row_ids: Vec<u64> = self.read(|connection| {
            let mut row_ids = Vec::new();
            for name in catalog_rows::inlined_tables(connection, table.id)? {
                let text = format!("SELECT row_id FROM {}", quote(&name));
                row_ids.extend(catalog_rows::collect(connection, &text, [], |row| Ok(row.get::<_, U>(0)?.0))?);
            }
            Ok(row_ids)
        })?;
        row_ids.sort_unstable();
        Ok(row_ids)
    }

    /// The snapshot that last changed the columns of a table. Older files are
    /// not merged: they may hold columns that the table has no more, and lack some.
    fn columns_since(&self, table: &TableState) -> Result<u64> {
        let text = "SELECT coalesce(max(max(begin_snapshot, coalesce(end_snapshot, 0))), 0) FROM ducklake_column \
        WHERE table_id = ?1";
        self.read(|connection| sql(connection.query_row(text, [U(table.id.0)], |row| row.get::<_, U>(0))))
            .map(|since| since.0)
    }

    /// Puts one file in the place of several; false when they are not as they were.
    fn merge_run(
        &self,
        snapshot: &Snapshot,
        table: &Arc<TableState>,
        run: &[DataFile],
        made: &mut Vec<PathBuf>,
    ) -> Result<bool> {
        let file = self.write_merged(snapshot, table, run, made)?;
        let mut writer = self.writer();
        // What a power cut undoes is done another time: the old files are still there.
        writer.sync_at_commit(Durability::Later)?;
        let transaction = writer.begin()?;
        check_unchanged(&transaction, std::iter::once(table))?;
        let data = self.folder().join(DATA_FOLDER);
        for old in run {
            if !take_out(&transaction, &data, table, old)? {
                return Ok(false);
            }
        }
        let mut commit = Commit::begin(&transaction)?;
        file.insert(&transaction, &mut commit, table)?;
        let next = catalog_rows::next_row_id(&transaction, table.id)?;
        note_table_stats(&transaction, table.id, 0, next, file.size_bytes())?;
        let freed = run.iter().map(|old| old.size_bytes).sum();
        let text = "UPDATE ducklake_table_stats SET file_size_bytes = max(0, file_size_bytes - ?2) WHERE table_id = ?1";
        sql(transaction.execute(text, params![U(table.id.0), U(freed)]))?;
        commit.changed(format!("merge_adjacent:{}", table.id));
        commit.finish_moved("small files merged")?;
        made.clear();
        sql(transaction.commit())?;
        Ok(true)
    }

    fn write_merged(
        &self,
        snapshot: &Snapshot,
        table: &TableState,
        run: &[DataFile],
        made: &mut Vec<PathBuf>,
    ) -> Result<Moved> {
        let mut writer = MovedWriter::create(self, table, made)?;
        let width = table.schema.columns().len();
        for batch in Scan::of_files(snapshot.id, table, run)? {
            let batch = batch?;
            let numbers =
                |place: usize| batch.columns().get(place).and_then(|array| array.as_primitive_opt::<UInt64Type>());
            let (Some(row_ids), Some(since)) = (numbers(width), numbers(width + 1)) else {
                return Err(Error::Internal("a scan of files gave no row ids".into()));
            };
            let columns = batch.columns().iter().take(width).cloned().collect();
            let rows = super::forms::arrow(RecordBatch::try_new(table.arrow.clone(), columns))?;
            writer.write(&Rows { batch: &rows, row_ids, since })?;
        }
        let file = writer.finish(run.first().and_then(|file| file.shard))?;
        let expected: u64 = run.iter().map(|file| file.rows).sum();
        if file.rows() != expected {
            return Err(Error::Internal(format!("{} rows were merged, {expected} expected", file.rows())));
        }
        self.files().sync_folder(&table.folder).map_err(|e| Error::io("sync", &table.folder, e))?;
        Ok(file)
    }
}

/// Files to be merged: positions of a run of them that has none of the rows `kept`
/// elsewhere between its own.
fn due(files: &[DataFile], columns_since: u64, kept: &[u64]) -> Option<Range<usize>> {
    let n_kept_before = |row_id: u64| kept.partition_point(|id| *id < row_id);
    let fits = |file: &DataFile| {
        let untouched = file.delete_file.is_none() && file.deleted.is_empty();
        untouched && file.plain && file.since >= columns_since && file.size_bytes < MERGED_BYTES / 2
    };
    let mut end = files.len();
    while let Some(last) = end.checked_sub(1).and_then(|last| files.get(last)) {
        let (mut bytes, mut follows) = (0, last.row_id_start);
        let older = files.get(..end).unwrap_or_default().iter().rev();
        let length = older
            .take(MANY)
            .take_while(|file| {
                let near = file.size_bytes <= TINY_BYTES.max(bytes) || bytes == 0;
                let adjoins = n_kept_before(file.row_id_start) == n_kept_before(follows);
                let alike = file.shard == last.shard && fits(file);
                let taken = near && adjoins && alike && bytes + file.size_bytes <= MERGED_BYTES;
                if taken {
                    bytes += file.size_bytes;
                    follows = file.row_id_start;
                }
                taken
            })
            .count();
        if length >= FEW {
            return Some(end - length..end);
        }
        end -= length.max(1);
    }
    None
}

/// Takes a file out of the catalog, to be removed later; false when it is not
/// as it was: ended, replaced, or with deleted rows.
fn take_out(transaction: &Transaction<'_>, data: &Path, table: &TableState, file: &DataFile) -> Result<bool> {
    let deleted = catalog_rows::inlined_delete_table(table.id);
    let none_deleted = match catalog_rows::has_table(transaction, &deleted)? {
        true => format!("AND NOT EXISTS (SELECT 1 FROM {deleted} WHERE file_id = ?1)"),
        false => String::new(),
    };
    let text = format!(
        "SELECT EXISTS (SELECT 1 FROM ducklake_data_file WHERE data_file_id = ?1 AND end_snapshot IS NULL) AND NOT \
        EXISTS (SELECT 1 FROM ducklake_delete_file WHERE data_file_id = ?1) {none_deleted}"
    );
    if !sql(transaction.query_row(&text, [U(file.id)], |row| row.get(0)))? {
        return Ok(false);
    }
    sweep::schedule(transaction, data, file)?;
    for kind in ["ducklake_data_file", "ducklake_file_column_stats", "ducklake_file_variant_stats", "quern_shard"] {
        sql(transaction.execute(&format!("DELETE FROM {kind} WHERE data_file_id = ?1"), [U(file.id)]))?;
    }
    Ok(true)
}
