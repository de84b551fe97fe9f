//! Which rows of a data file are gone or not there yet: positional deletes, in
//! files or in the catalog, and rows that a later snapshot added to a file
//! that holds several.

use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use super::data_file::{FileReader, corrupt};
use super::snapshot::{DataFile, DeleteFile};
use crate::base::{Result, SnapshotId};

/// The column of row ids that some files hold.
pub(super) const ROW_ID: &str = "_ducklake_internal_row_id";

/// Its field id.
pub(super) const ROW_ID_FIELD: i32 = 2_147_483_540;

/// The column of snapshots in files whose rows come from several.
pub(super) const SNAPSHOT_ID: &str = "_ducklake_internal_snapshot_id";

/// Its field id.
pub(super) const SNAPSHOT_ID_FIELD: i32 = 2_147_483_539;

/// Field ids of the columns of a delete file: the data file's path, positions.
pub(super) const DELETE_FIELDS: [(&str, i32); 2] = [("file_path", 2_147_483_646), ("pos", 2_147_483_645)];

/// Rows read at a time from these narrow columns.
const BATCH_ROWS: usize = 64 << 10;

/// Number of rows of a file that are there at a snapshot.
pub(super) fn live_rows(file: &DataFile, at: SnapshotId) -> Result<u64> {
    let simple = !is_partial(file.partial_max, at)
        && file
            .delete_file
            .as_ref()
            .is_none_or(|deletes| !is_partial(deletes.partial_max, at) && file.deleted.is_empty());
    if simple {
        let deleted = file.delete_file.as_ref().map_or(0, |deletes| deletes.rows) + file.deleted.len() as u64;
        return Ok(file.rows.saturating_sub(deleted));
    }
    Ok(file.rows.saturating_sub(absent(file, at)?.len() as u64))
}

/// Positions of a file's rows that are not there at a snapshot, ascending.
pub(super) fn absent(file: &DataFile, at: SnapshotId) -> Result<Vec<u64>> {
    let mut absent = file.deleted.clone();
    if let Some(deletes) = &file.delete_file {
        absent.extend(in_delete_file(deletes, at)?);
    }
    if is_partial(file.partial_max, at) {
        let reader = FileReader::open(&file.path)?;
        if let Some(since) = reader.by_name(SNAPSHOT_ID) {
            let found = numbers(reader, since, None, &file.path)?;
            absent.extend((0..).zip(found).filter(|(_, (since, _))| *since > at.0).map(|(position, _)| position));
        }
    }
    absent.sort_unstable();
    absent.dedup();
    Ok(absent)
}

/// The positions that a delete file holds, as of a snapshot.
pub(super) fn in_delete_file(deletes: &DeleteFile, at: SnapshotId) -> Result<Vec<u64>> {
    let reader = FileReader::open(&deletes.path)?;
    let position = reader.by_name("pos").ok_or_else(|| corrupt(&deletes.path, "it has no column `pos`".into()))?;
    let since = if is_partial(deletes.partial_max, at) { reader.by_name(SNAPSHOT_ID) } else { None };
    let found = numbers(reader, position, since, &deletes.path)?;
    Ok(found.into_iter().filter(|(_, since)| *since <= at.0).map(|(position, _)| position).collect())
}

/// The row ids that a file itself holds; none when they count on from its start.
pub(super) fn own_row_ids(file: &DataFile) -> Result<Option<Vec<u64>>> {
    let reader = FileReader::open(&file.path)?;
    let Some(column) = reader.by_name(ROW_ID) else { return Ok(None) };
    Ok(Some(numbers(reader, column, None, &file.path)?.into_iter().map(|(id, _)| id).collect()))
}

/// Whether a file of rows up to snapshot `max` holds some that are later than `at`.
fn is_partial(max: Option<u64>, at: SnapshotId) -> bool {
    max.is_some_and(|max| max > at.0)
}

/// A column of numbers, each with that of a second column, or 0.
fn numbers(
    reader: FileReader,
    column: usize,
    second: Option<usize>,
    path: &std::path::Path,
) -> Result<Vec<(u64, u64)>> {
    let columns: Vec<usize> = std::iter::once(column).chain(second).collect();
    // Batches hold columns in the order of the file.
    let (first, second) = match second {
        Some(second) if second < column => (1, Some(0)),
        Some(_) => (0, Some(1)),
        None => (0, None),
    };
    let unfit = || corrupt(path, "a column of row numbers holds something else".into());
    let mut all = Vec::new();
    for batch in reader.batches(&columns, BATCH_ROWS)? {
        let batch = batch.map_err(|e| corrupt(path, e.to_string()))?;
        let read = |index: usize| -> Result<Int64Array> {
            let array = cast(batch.column(index), &DataType::Int64).map_err(|_| unfit())?;
            if array.null_count() > 0 { Err(unfit()) } else { Ok(array.as_primitive::<Int64Type>().clone()) }
        };
        let numbers = read(first)?;
        let seconds = second.map(read).transpose()?;
        for (i, number) in numbers.values().iter().enumerate() {
            let number = u64::try_from(*number).map_err(|_| unfit())?;
            let second = seconds.as_ref().and_then(|s| s.values().get(i)).map_or(0, |s| u64::try_from(*s).unwrap_or(0));
            all.push((number, second));
        }
    }
    Ok(all)
}
