//! Rows that a commit removes. Of files, few positions go to the catalog, many
//! to a file of positions; a file without rows left ends. Rows kept in the
//! catalog end where they are.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Schema as ArrowSchema};
use rusqlite::params;

use super::Commit;
use crate::base::{ColumnType, DType, Error, Result, SnapshotId};
use crate::storage::catalog_rows::{self, ChangeLog, Head, inlined_delete_table, quote};
use crate::storage::connections::{U, sql};
use crate::storage::data_file::{FileWriter, WrittenFile};
use crate::storage::format::DATA_FOLDER;
use crate::storage::snapshot::{DataFile, TableState};
use crate::storage::{Storage, deletes, forms, staging};

/// Positions of one file that a commit puts into the catalog; more go to a file.
const POSITIONS: usize = 4096;

impl Commit<'_> {
    pub(super) fn delete(&mut self, storage: &Storage, table: &TableState, row_ids: &[u64]) -> Result<()> {
        let now = self.present_state(storage, table)?;
        let mut wanted: Vec<u64> = row_ids.to_vec();
        for part in &now.inlined {
            let ended = self.end_inlined(&part.table_name, &mut wanted)?;
            if ended > 0 {
                self.changed(format!("inlined_delete:{}", table.id));
            }
        }
        for file in &now.files {
            if wanted.is_empty() {
                break;
            }
            let positions = take_positions(file, &mut wanted, self.before())?;
            if !positions.is_empty() {
                self.delete_positions(storage, &now, file, positions)?;
            }
        }
        match wanted.first() {
            None => Ok(()),
            Some(row_id) => Err(Error::Invalid(format!(
                "row {row_id} of table `{}` was deleted or changed meanwhile, nothing was changed; run it again",
                table.name
            ))),
        }
    }

    pub(super) fn truncate(&mut self, table: &TableState) -> Result<()> {
        for kind in ["data_file", "delete_file"] {
            let text =
                format!("UPDATE ducklake_{kind} SET end_snapshot = ?1 WHERE table_id = ?2 AND end_snapshot IS NULL");
            sql(self.connection.execute(&text, params![U(self.id.0), U(table.id.0)]))?;
        }
        let text = "SELECT table_name FROM ducklake_inlined_data_tables WHERE table_id = ?1";
        let inlined: Vec<String> = catalog_rows::collect(self.connection, text, [U(table.id.0)], |row| row.get(0))?;
        for name in inlined {
            let text = format!("UPDATE {} SET end_snapshot = ?1 WHERE end_snapshot IS NULL", quote(&name));
            sql(self.connection.execute(&text, [U(self.id.0)]))?;
        }
        self.changed(format!("deleted_from_table:{}", table.id));
        Ok(())
    }

    /// The newest snapshot before this one.
    fn before(&self) -> SnapshotId {
        SnapshotId(self.id.0.saturating_sub(1))
    }

    /// Where the table's rows lie now, with what this commit did so far.
    fn present_state(&self, storage: &Storage, table: &TableState) -> Result<TableState> {
        let rows = catalog_rows::tables(self.connection, self.before())?;
        let row = rows.into_iter().find(|row| row.id == table.id);
        let row = row.ok_or_else(|| Error::not_found("table", &table.name, None, [""; 0]))?;
        let head = Head { id: self.before(), time_us: 0, historic: true };
        let folder = storage.folder().join(DATA_FOLDER);
        TableState::load(self.connection, &folder, head, row, &ChangeLog::default())
    }

    /// Ends rows that the catalog keeps and takes their ids out of `wanted`.
    fn end_inlined(&self, name: &str, wanted: &mut Vec<u64>) -> Result<usize> {
        let name = quote(name);
        let text = format!(
            "UPDATE {name} SET end_snapshot = ?1 WHERE row_id = ?2 AND end_snapshot IS NULL AND begin_snapshot < ?1"
        );
        let mut statement = sql(self.connection.prepare(&text))?;
        let before = wanted.len();
        let mut left = Vec::with_capacity(before);
        for row_id in wanted.drain(..) {
            if sql(statement.execute(params![U(self.id.0), U(row_id)]))? == 0 {
                left.push(row_id);
            }
        }
        *wanted = left;
        Ok(before - wanted.len())
    }

    fn delete_positions(
        &mut self,
        storage: &Storage,
        table: &TableState,
        file: &DataFile,
        positions: Vec<u64>,
    ) -> Result<()> {
        let live = deletes::live_rows(file, self.before())?;
        if live == positions.len() as u64 {
            for kind in ["data_file", "delete_file"] {
                let text = format!(
                    "UPDATE ducklake_{kind} SET end_snapshot = ?1 WHERE data_file_id = ?2 AND end_snapshot IS NULL"
                );
                sql(self.connection.execute(&text, params![U(self.id.0), U(file.id)]))?;
            }
            self.changed(format!("deleted_from_table:{}", table.id));
            return Ok(());
        }
        if positions.len() > POSITIONS {
            return self.write_positions(storage, table, file, positions);
        }
        let name = inlined_delete_table(table.id);
        sql(self.connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {name}(file_id BIGINT, row_id BIGINT, begin_snapshot BIGINT);
             CREATE INDEX IF NOT EXISTS quern_{name} ON {name}(file_id, row_id, begin_snapshot);"
        )))?;
        let mut statement = sql(self.connection.prepare(&format!("INSERT INTO {name} VALUES (?1, ?2, ?3)")))?;
        for position in positions {
            sql(statement.execute(params![U(file.id), U(position), U(self.id.0)]))?;
        }
        self.changed(format!("inlined_delete:{}", table.id));
        Ok(())
    }

    /// Writes a file of positions in the place of the one the data file has.
    fn write_positions(
        &mut self,
        storage: &Storage,
        table: &TableState,
        file: &DataFile,
        mut positions: Vec<u64>,
    ) -> Result<()> {
        if let Some(before) = &file.delete_file {
            positions.extend(deletes::in_delete_file(before, self.before())?);
        }
        positions.sort_unstable();
        positions.dedup();
        let path = staging::new_path(&table.folder);
        self.made.push(path.clone());
        let written = write_delete_file(storage, &path, file, positions)?;
        storage.files().sync_folder(&table.folder).map_err(|e| Error::io("sync", &table.folder, e))?;
        let text = "UPDATE ducklake_delete_file SET end_snapshot = ?1 WHERE data_file_id = ?2 AND end_snapshot IS NULL";
        sql(self.connection.execute(text, params![U(self.id.0), U(file.id)]))?;
        let (id, name) = (self.file_id(), path.file_name().map(|name| name.to_string_lossy().into_owned()));
        sql(self.connection.execute(
            "INSERT INTO ducklake_delete_file VALUES (?1, ?2, ?3, NULL, ?4, ?5, 1, 'parquet', ?6, ?7, ?8, NULL, NULL)",
            params![
                U(id),
                U(table.id.0),
                U(self.id.0),
                U(file.id),
                name,
                U(written.rows),
                U(written.size_bytes),
                U(written.footer_bytes)
            ],
        ))?;
        self.changed(format!("deleted_from_table:{}", table.id));
        Ok(())
    }
}

/// A file of positions of `file`, ascending.
fn write_delete_file(storage: &Storage, path: &Path, file: &DataFile, positions: Vec<u64>) -> Result<WrittenFile> {
    let types = [ColumnType::Utf8, ColumnType::Number(DType::I64)];
    let fields = deletes::DELETE_FIELDS.iter().zip(&types);
    let fields: Vec<_> =
        fields.map(|((name, id), column_type)| forms::stored_field(name, column_type, &[*id])).collect();
    let mut writer = FileWriter::create(storage.files(), path, Arc::new(ArrowSchema::new(fields)), 0)?;
    let name = file.path.to_string_lossy().into_owned();
    let paths = StringArray::from_iter_values(std::iter::repeat_n(name, positions.len()));
    let positions: ArrayRef = Arc::new(UInt64Array::from(positions));
    writer.write(vec![Arc::new(paths), forms::convert(&positions, &DataType::Int64)?])?;
    writer.finish()
}

/// Positions in a file of the wanted rows that are there; their ids are taken
/// out of `wanted`, which is ascending.
fn take_positions(file: &DataFile, wanted: &mut Vec<u64>, at: SnapshotId) -> Result<Vec<u64>> {
    let own = deletes::own_row_ids(file)?;
    let found: Vec<(u64, u64)> = match own {
        Some(ids) => (0..).zip(ids).filter(|(_, id)| wanted.binary_search(id).is_ok()).collect(),
        None => {
            let end = file.row_id_start.saturating_add(file.rows);
            let (from, to) =
                (wanted.partition_point(|id| *id < file.row_id_start), wanted.partition_point(|id| *id < end));
            wanted.get(from..to).unwrap_or_default().iter().map(|id| (id - file.row_id_start, *id)).collect()
        }
    };
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let absent = deletes::absent(file, at)?;
    let there: Vec<(u64, u64)> =
        found.into_iter().filter(|(position, _)| absent.binary_search(position).is_err()).collect();
    let mut taken: Vec<u64> = there.iter().map(|(_, id)| *id).collect();
    taken.sort_unstable();
    wanted.retain(|id| taken.binary_search(id).is_err());
    Ok(there.into_iter().map(|(position, _)| position).collect())
}
