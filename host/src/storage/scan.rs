//! Reading a table's rows: data files and rows kept in the catalog, in the
//! order of row ids, without deleted rows, of one shard or all.
//!
//! The order holds for everything Quern writes. A file in which another
//! program merged updated rows is read as it lies.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::catalog_rows::{self, ChangeLog, Head};
use super::data_file::{FileReader, corrupt};
use super::format::DATA_FOLDER;
use super::forms::{arrow, convert, decode};
use super::inline::{self, Inlined};
use super::snapshot::{DataFile, Snapshot, StoredColumn, TableState};
use super::{Storage, deletes, shards};
use crate::base::{Column, Error, Result, Sharding, SnapshotId};

/// The name of the column of row ids that [`ScanOptions::row_ids`] adds, of
/// Arrow type `UInt64`.
pub const ROW_ID_COLUMN: &str = "quern_row_id";

/// Rows of a batch, when they are small.
const BATCH_ROWS: usize = 8192;

/// Bytes of a batch, about.
const BATCH_BYTES: u64 = 16 << 20;

/// What to read of a table.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Only this shard; all rows of a replicated table.
    pub shard: Option<u32>,
    /// Only these columns: positions in the schema, in the order wanted.
    pub columns: Option<Vec<usize>>,
    /// Only rows from this id on.
    pub from_row_id: u64,
    /// With a last column [`ROW_ID_COLUMN`].
    pub row_ids: bool,
}

/// Batches of rows; see [`Storage::scan`].
pub struct Scan {
    plan: Arc<Plan>,
    pending: VecDeque<Source>,
    open: Option<FileScan>,
    /// Keeps its files from being removed.
    _begun: Option<Arc<SystemTime>>,
}

/// What all parts of a scan have in common.
struct Plan {
    table: String,
    at: SnapshotId,
    /// The batches that come out.
    schema: SchemaRef,
    /// The columns that come out, and after them those that only say the shard.
    columns: Vec<(usize, Column, StoredColumn)>,
    n_out: usize,
    shard: Option<u32>,
    shards: u32,
    /// Positions in `columns` of the shard columns; none: by row id.
    keys: Option<Vec<usize>>,
    from_row_id: u64,
    row_ids: bool,
    /// With a last column of the snapshots that added the rows.
    since: bool,
}

enum Source {
    File(DataFile),
    Inlined { batch: RecordBatch, row_ids: UInt64Array },
}

/// Rows as they were read.
struct Part {
    /// Those of the plan.
    columns: Vec<ArrayRef>,
    row_ids: UInt64Array,
    /// The snapshots that added the rows, when they are wanted.
    since: Option<UInt64Array>,
    /// Which rows are there; none when all are.
    keep: Option<Vec<bool>>,
}

impl Scan {
    pub(super) fn new(
        storage: &Storage,
        snapshot: &Snapshot,
        table: &TableState,
        options: &ScanOptions,
    ) -> Result<Self> {
        let at = snapshot.id;
        let plan = Arc::new(Plan::new(at, table, options)?);
        let begun = Some(storage.0.scans.begin());
        if table.inlined.is_empty() && storage.is_current(table) {
            return Ok(Self { _begun: begun, ..Self::over(plan, table.files.clone(), None) });
        }
        // Rows may have moved since the snapshot was read, from the catalog to
        // files or from files to others: where they lie now is read, together
        // with those in the catalog.
        let scan = storage.read(|connection| {
            if table.inlined.is_empty() {
                let files = catalog_rows::files(connection, table.id, at, &table.folder)?;
                return Ok(Self::over(plan, files, None));
            }
            let row = catalog_rows::tables(connection, at)?.into_iter().find(|row| row.id == table.id);
            let row = row.ok_or_else(|| Error::not_found("table", &table.name, None, [""; 0]))?;
            let head = Head { id: at, time_us: snapshot.time_us, historic: true };
            let folder = storage.folder().join(DATA_FOLDER);
            let now = TableState::load(connection, &folder, head, row, &ChangeLog::default())?;
            let inlined = inline::read(connection, &now, at)?;
            Ok(Self::over(plan, now.files, Some(inlined)))
        })?;
        Ok(Self { _begun: begun, ..scan })
    }

    /// Reads all rows of some data files, each batch with a column of row ids and
    /// one of the snapshots that added the rows.
    pub(super) fn of_files(at: SnapshotId, table: &TableState, files: &[DataFile]) -> Result<Self> {
        let mut plan = Plan::new(at, table, &ScanOptions { row_ids: true, ..ScanOptions::default() })?;
        let since = Arc::new(Field::new(deletes::SNAPSHOT_ID, DataType::UInt64, false));
        let fields = plan.schema.fields().iter().cloned().chain([since]);
        (plan.schema, plan.since) = (Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>())), true);
        Ok(Self::over(Arc::new(plan), files.to_vec(), None))
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.plan.schema.clone()
    }

    /// Puts files and rows of the catalog in the order of row ids.
    fn over(plan: Arc<Plan>, files: Vec<DataFile>, inlined: Option<Inlined>) -> Self {
        let mut pending = VecDeque::new();
        let mut taken = 0;
        let mut inlined_until = |pending: &mut VecDeque<Source>, row_id: u64| {
            let Some(inlined) = &inlined else { return };
            let until = inlined.row_ids.values().partition_point(|id| *id < row_id);
            if until > taken {
                let length = until - taken;
                let (batch, row_ids) = (inlined.batch.slice(taken, length), inlined.row_ids.slice(taken, length));
                pending.push_back(Source::Inlined { batch, row_ids });
                taken = until;
            }
        };
        for file in files {
            inlined_until(&mut pending, file.row_id_start);
            let elsewhere = plan.shard.is_some() && file.shard.is_some() && plan.shard != file.shard;
            if !elsewhere {
                pending.push_back(Source::File(file));
            }
        }
        inlined_until(&mut pending, u64::MAX);
        Self { plan, pending, open: None, _begun: None }
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(open) = &mut self.open {
                match open.next(&self.plan)? {
                    Some(batch) if batch.num_rows() > 0 => return Ok(Some(batch)),
                    Some(_) => continue,
                    None => self.open = None,
                }
            }
            match self.pending.pop_front() {
                None => return Ok(None),
                Some(Source::File(file)) => self.open = FileScan::open(&self.plan, &file)?,
                Some(Source::Inlined { batch, row_ids }) => {
                    let columns = self.plan.columns.iter().filter_map(|(position, ..)| batch.columns().get(*position));
                    let part = Part { columns: columns.cloned().collect(), row_ids, since: None, keep: None };
                    let batch = self.plan.finish(self.plan.only_shard(part)?)?;
                    if batch.num_rows() > 0 {
                        return Ok(Some(batch));
                    }
                }
            }
        }
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            // Rows after an unreadable part would look like the whole.
            (self.open, self.pending) = (None, VecDeque::new());
        }
        next
    }
}

impl Plan {
    fn new(at: SnapshotId, table: &TableState, options: &ScanOptions) -> Result<Self> {
        let all = table.schema.columns();
        let mut positions = options.columns.clone().unwrap_or_else(|| (0..all.len()).collect());
        let n_out = positions.len();
        let shard = options.shard.filter(|_| table.sharding != Sharding::Replicated);
        if let Some(shard) = shard.filter(|shard| *shard >= table.shards) {
            let (name, shards) = (&table.name, table.shards);
            return Err(Error::OutOfRange(format!("table `{name}` has {shards} shards, shard {shard} asked")));
        }
        let keys = match &table.sharding {
            Sharding::Key(keys) if shard.is_some() => {
                let keys = shards::key_columns(&table.schema, keys)?;
                positions.extend(&keys);
                Some((n_out..positions.len()).collect())
            }
            _ => None,
        };
        let column = |position: usize| {
            let found = all.get(position).zip(table.columns.get(position));
            found.map(|(column, stored)| (position, column.clone(), stored.clone())).ok_or_else(|| {
                Error::OutOfRange(format!(
                    "table `{}` has {} columns, position {position} asked",
                    table.name,
                    all.len()
                ))
            })
        };
        let columns: Vec<_> = positions.iter().map(|position| column(*position)).collect::<Result<_>>()?;
        let mut fields: Vec<Arc<Field>> =
            positions.iter().take(n_out).filter_map(|position| table.arrow.fields().get(*position)).cloned().collect();
        if options.row_ids {
            fields.push(Arc::new(Field::new(ROW_ID_COLUMN, DataType::UInt64, false)));
        }
        Ok(Self {
            table: table.name.clone(),
            at,
            schema: Arc::new(ArrowSchema::new(fields)),
            columns,
            n_out,
            shard,
            shards: table.shards,
            keys,
            from_row_id: options.from_row_id,
            row_ids: options.row_ids,
            since: false,
        })
    }

    /// Of a part that names no shard, the rows whose own is the wanted one.
    fn only_shard(&self, mut part: Part) -> Result<Part> {
        let Some(shard) = self.shard else { return Ok(part) };
        let rows = part.row_ids.len();
        let homes = match &self.keys {
            Some(keys) => {
                let keys: Vec<ArrayRef> = keys.iter().filter_map(|key| part.columns.get(*key)).cloned().collect();
                shards::by_key(&keys, rows, self.shards)?
            }
            None => part.row_ids.values().iter().map(|id| shards::by_row_id(*id, self.shards)).collect(),
        };
        let keep = part.keep.get_or_insert_with(|| vec![true; rows]);
        for (keep, home) in keep.iter_mut().zip(homes) {
            *keep &= home == shard;
        }
        Ok(part)
    }

    /// The wanted rows and columns of a part.
    fn finish(&self, part: Part) -> Result<RecordBatch> {
        let Part { mut columns, row_ids, since, mut keep } = part;
        let rows = row_ids.len();
        if row_ids.values().iter().any(|id| *id < self.from_row_id) {
            let keep = keep.get_or_insert_with(|| vec![true; rows]);
            for (keep, id) in keep.iter_mut().zip(row_ids.values()) {
                *keep &= *id >= self.from_row_id;
            }
        }
        columns.truncate(self.n_out);
        if self.row_ids {
            columns.push(Arc::new(row_ids));
        }
        columns.extend(since.map(|since| Arc::new(since) as ArrayRef));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = arrow(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options))?;
        match keep {
            Some(keep) => arrow(filter_record_batch(&batch, &BooleanArray::from(keep))),
            None => Ok(batch),
        }
    }
}

/// A data file being read.
struct FileScan {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    /// For each column of the plan its place in the batches, when the file has it.
    places: Vec<Option<usize>>,
    /// Place of the file's own row ids.
    row_ids: Option<usize>,
    row_id_start: u64,
    /// Place of the file's own snapshots, when they are wanted.
    snapshots: Option<usize>,
    since: u64,
    /// Position of the next row in the file.
    position: u64,
    /// Positions of rows that are not there, from `position` on.
    absent: VecDeque<u64>,
    by_row: bool,
}

impl FileScan {
    fn open(plan: &Plan, file: &DataFile) -> Result<Option<Self>> {
        let reader = FileReader::open(&file.path)?;
        if reader.rows() != file.rows {
            return Err(corrupt(&file.path, format!("it has {} rows, {} expected", reader.rows(), file.rows)));
        }
        let own_ids = reader.by_name(deletes::ROW_ID);
        if own_ids.is_none() && file.row_id_start.saturating_add(file.rows) <= plan.from_row_id {
            return Ok(None);
        }
        let in_file: Vec<Option<usize>> =
            plan.columns.iter().map(|(_, _, stored)| stored.ids.first().and_then(|id| reader.by_id(*id))).collect();
        let snapshots = if plan.since { reader.by_name(deletes::SNAPSHOT_ID) } else { None };
        // Columns come in the order of the file, each once.
        let mut read: Vec<usize> = in_file.iter().copied().chain([own_ids, snapshots]).flatten().collect();
        read.sort_unstable();
        read.dedup();
        let place = |column: Option<usize>| column.and_then(|column| read.binary_search(&column).ok());
        let batch_rows = BATCH_BYTES.checked_div(reader.row_bytes()).unwrap_or(u64::MAX);
        let batch_rows = usize::try_from(batch_rows).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS);
        Ok(Some(Self {
            places: in_file.into_iter().map(place).collect(),
            row_ids: place(own_ids),
            snapshots: place(snapshots),
            since: file.since,
            absent: deletes::absent(file, plan.at)?.into(),
            path: file.path.clone(),
            row_id_start: file.row_id_start,
            position: 0,
            by_row: file.shard.is_none(),
            reader: reader.batches(&read, batch_rows)?,
        }))
    }

    fn next(&mut self, plan: &Plan) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(|e| corrupt(&self.path, e.to_string()))?;
        let rows = batch.num_rows();
        let start = self.position;
        self.position += rows as u64;
        let row_ids = match self.numbers(&batch, self.row_ids)? {
            Some(ids) => ids,
            None => UInt64Array::from_iter_values((start..self.position).map(|i| self.row_id_start.saturating_add(i))),
        };
        let since = match self.numbers(&batch, self.snapshots)? {
            _ if !plan.since => None,
            Some(since) => Some(since),
            None => Some(UInt64Array::from_value(self.since, rows)),
        };
        let keep = self.present(start, rows);
        let columns = plan.columns.iter().zip(&self.places).map(|((_, column, _), place)| {
            let Some(array) = place.and_then(|place| batch.columns().get(place)) else {
                return Ok(new_null_array(&column.column_type.arrow_type(), rows));
            };
            let unfit = |reason: String| {
                corrupt(&self.path, format!("column `{}` of table `{}`: {reason}", column.name, plan.table))
            };
            let array = decode(array, &column.column_type).map_err(|e| unfit(e.chain()))?;
            if !column.nullable && array.null_count() > 0 {
                return Err(unfit("rows have no value where one is required".into()));
            }
            Ok(array)
        });
        let columns = columns.collect::<Result<_>>()?;
        let part = Part { columns, row_ids, since, keep };
        plan.finish(if self.by_row { plan.only_shard(part)? } else { part }).map(Some)
    }

    /// A column of numbers that DuckLake adds to some files.
    fn numbers(&self, batch: &RecordBatch, place: Option<usize>) -> Result<Option<UInt64Array>> {
        let Some(array) = place.and_then(|place| batch.columns().get(place)) else { return Ok(None) };
        let array = convert(array, &DataType::UInt64).map_err(|e| corrupt(&self.path, e.chain()))?;
        Ok(Some(array.as_primitive::<UInt64Type>().clone()))
    }

    /// Which rows of a batch are there; none when all are.
    fn present(&mut self, start: u64, rows: usize) -> Option<Vec<bool>> {
        let mut keep = None;
        while let Some(position) = self.absent.front().copied().filter(|position| *position < self.position) {
            self.absent.pop_front();
            let keep = keep.get_or_insert_with(|| vec![true; rows]);
            let offset = position.checked_sub(start).and_then(|offset| usize::try_from(offset).ok());
            if let Some(present) = offset.and_then(|offset| keep.get_mut(offset)) {
                *present = false;
            }
        }
        keep
    }
}
