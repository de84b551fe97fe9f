//! Appending: batches are dealt to shards and written to files as they come,
//! one file per shard; few rows are held back for the catalog.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Decimal128Type, Schema as ArrowSchema, SchemaRef};

use super::data_file::{FileWriter, WrittenFile};
use super::file_layer::create_folders;
use super::format::DATA_FOLDER;
use super::stats::ColumnStats;
use super::write::{AppendTo, Step, Target, Write};
use super::{forms, inline, shards};
use crate::base::{ColumnType, Error, Result, Schema, Sharding};

/// Bytes of rows that one commit may keep in the catalog.
const INLINED_BYTES: usize = 1 << 20;

/// Rows of one append that may be kept in the catalog.
const INLINED_ROWS: usize = 10_000;

/// What a row without fixed width counts as, in bytes, for the size of row groups.
const ASSUMED_VALUE_BYTES: usize = 64;

/// A file of one append.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: WrittenFile,
    /// None in a replicated table.
    pub(super) shard: Option<u32>,
    /// Of each column.
    pub(super) stats: Vec<ColumnStats>,
}

/// What must be known of a table to write its files.
pub(super) struct Shape {
    name: String,
    schema: Schema,
    arrow: SchemaRef,
    stored: SchemaRef,
    folder: PathBuf,
    /// Whether the catalog names files in the folder already.
    has_files: bool,
    sharding: Sharding,
    shards: u32,
}

/// The name of a new table's folder: its own where that is a plain word.
pub(super) fn folder_name(table: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if table.chars().all(plain) { format!("{table}/") } else { format!("{}/", uuid::Uuid::now_v7()) }
}

/// The schema of a table's files.
pub(super) fn stored_schema<'a>(schema: &Schema, ids: impl Iterator<Item = &'a [i32]>) -> SchemaRef {
    let columns = schema.columns().iter().zip(ids);
    let fields: Vec<_> = columns
        .map(|(column, ids)| forms::stored_field(&column.name, &column.column_type, ids).with_nullable(column.nullable))
        .collect();
    Arc::new(ArrowSchema::new(fields))
}

/// See [`Write::append`].
pub(super) fn append(
    write: &mut Write,
    target: Target,
    to: AppendTo,
    batches: &mut dyn Iterator<Item = Result<RecordBatch>>,
) -> Result<u64> {
    let shape = Shape::of(write, &target)?;
    if let AppendTo::Shard(shard) = to
        && shape.sharding != Sharding::Replicated
        && shard >= shape.shards
    {
        let (name, shards) = (&shape.name, shape.shards);
        return Err(Error::OutOfRange(format!("table `{name}` has {shards} shards, shard {shard} asked")));
    }
    let may_inline = to == AppendTo::Deal && inline::can_inline(&shape.schema);
    let (mut held, mut held_bytes, mut rows) = (Vec::new(), 0, 0);
    let mut sinks: Option<Sinks> = None;
    for batch in batches {
        let batch = shape.checked(&batch?)?;
        if batch.num_rows() == 0 {
            continue;
        }
        let bytes = batch_bytes(&batch);
        rows += batch.num_rows();
        let few = may_inline && rows <= INLINED_ROWS && write.inlined_bytes + held_bytes + bytes <= INLINED_BYTES;
        if sinks.is_none() && few {
            held_bytes += bytes;
            held.push(batch);
            continue;
        }
        let sinks = sinks.get_or_insert_with(Sinks::default);
        for batch in held.drain(..).chain([batch]) {
            sinks.add(write, &shape, to, &batch)?;
        }
    }
    let files = match sinks {
        Some(sinks) => sinks.finish()?,
        None => Vec::new(),
    };
    if held.is_empty() {
        held_bytes = 0;
    }
    write.inlined_bytes += held_bytes;
    let rows = rows as u64;
    if rows > 0 {
        write.steps.push(Step::Append { target, files, inlined: held, rows });
    }
    Ok(rows)
}

impl Shape {
    fn of(write: &Write, target: &Target) -> Result<Self> {
        match target {
            Target::Existing(table) => Ok(Self {
                name: table.name.clone(),
                schema: table.schema.clone(),
                arrow: table.arrow.clone(),
                stored: stored_schema(&table.schema, table.columns.iter().map(|column| column.ids.as_slice())),
                folder: table.folder.clone(),
                has_files: !table.files.is_empty(),
                sharding: table.sharding.clone(),
                shards: table.shards,
            }),
            Target::New(index) => match write.steps.get(*index) {
                Some(Step::Create(new)) => Ok(Self {
                    name: new.name.clone(),
                    schema: new.schema.clone(),
                    arrow: new.schema.to_arrow(),
                    stored: stored_schema(&new.schema, new.ids.iter().map(Vec::as_slice)),
                    folder: write.storage.folder().join(DATA_FOLDER).join("main").join(&new.path),
                    has_files: false,
                    sharding: new.sharding.clone(),
                    shards: new.shards,
                }),
                _ => Err(Error::Internal("an append names a table that is not created".into())),
            },
        }
    }

    /// The batch under the table's own schema; columns must be of its types.
    fn checked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.columns();
        if batch.num_columns() != columns.len() {
            return Err(Error::TypeMismatch(format!(
                "table `{}` has {} columns, {} given",
                self.name,
                columns.len(),
                batch.num_columns()
            )));
        }
        for ((column, field), array) in columns.iter().zip(self.arrow.fields()).zip(batch.columns()) {
            if array.data_type() != field.data_type() {
                return Err(Error::TypeMismatch(format!(
                    "column `{}` of table `{}` is {}, given are values of Arrow type {}",
                    column.name,
                    self.name,
                    column.column_type,
                    array.data_type()
                )));
            }
            if !column.nullable && array.null_count() > 0 {
                return Err(Error::Invalid(format!(
                    "column `{}` of table `{}` must have a value in every row; {} of {} rows have none",
                    column.name,
                    self.name,
                    array.null_count(),
                    array.len()
                )));
            }
            if let ColumnType::Decimal128 { precision, .. } = column.column_type {
                let values = array.as_primitive::<Decimal128Type>();
                values.validate_decimal_precision(precision).map_err(|e| {
                    Error::OutOfRange(format!("column `{}` of table `{}`: {e}", column.name, self.name))
                })?;
            }
        }
        forms::arrow(RecordBatch::try_new(self.arrow.clone(), batch.columns().to_vec()))
    }
}

/// About what a row takes, in bytes.
pub(super) fn row_bytes(schema: &Schema) -> usize {
    schema.columns().iter().map(|c| c.column_type.row_bytes().unwrap_or(ASSUMED_VALUE_BYTES)).sum()
}

/// The open files of one append, by shard.
#[derive(Default)]
struct Sinks {
    open: BTreeMap<Option<u32>, Sink>,
    /// The shard whose turn it is to get a row more than others.
    turn: usize,
}

struct Sink {
    writer: FileWriter,
    stats: Vec<ColumnStats>,
}

impl Sinks {
    /// Writes a batch, each row to its shard.
    fn add(&mut self, write: &mut Write, shape: &Shape, to: AppendTo, batch: &RecordBatch) -> Result<()> {
        match (&shape.sharding, to) {
            (Sharding::Replicated, _) => self.write(write, shape, None, batch),
            (Sharding::Random, AppendTo::Shard(shard)) => self.write(write, shape, Some(shard), batch),
            (Sharding::Random, AppendTo::Deal) => {
                let (rows, shards) = (batch.num_rows(), shape.shards as usize);
                let mut start = 0;
                for turn in 0..shards.min(rows) {
                    let shard = (self.turn + turn) % shards;
                    let length = rows / shards + usize::from(turn < rows % shards);
                    let shard = u32::try_from(shard).unwrap_or(0);
                    self.write(write, shape, Some(shard), &batch.slice(start, length))?;
                    start += length;
                }
                self.turn = (self.turn + rows % shards) % shards;
                Ok(())
            }
            (Sharding::Key(_), to) => self.add_by_key(write, shape, to, batch),
        }
    }

    fn add_by_key(&mut self, write: &mut Write, shape: &Shape, to: AppendTo, batch: &RecordBatch) -> Result<()> {
        let homes = shards::shards_of_rows(&shape.schema, &shape.sharding, shape.shards, batch)?;
        if let AppendTo::Shard(shard) = to {
            if let Some(home) = homes.iter().find(|home| **home != shard) {
                return Err(Error::Invalid(format!(
                    "a row for shard {shard} of table `{}` has a key that belongs to shard {home}",
                    shape.name
                )));
            }
            return self.write(write, shape, Some(shard), batch);
        }
        let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (row, home) in (0..).zip(homes) {
            rows.entry(home).or_default().push(row);
        }
        for (shard, rows) in rows {
            let part = forms::arrow(take_record_batch(batch, &UInt32Array::from(rows)))?;
            self.write(write, shape, Some(shard), &part)?;
        }
        Ok(())
    }

    fn write(&mut self, write: &mut Write, shape: &Shape, shard: Option<u32>, batch: &RecordBatch) -> Result<()> {
        let sink = match self.open.entry(shard) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => vacant.insert(Sink::create(write, shape)?),
        };
        let mut stored = Vec::with_capacity(batch.num_columns());
        for ((column, field), (array, stats)) in
            shape.schema.columns().iter().zip(shape.stored.fields()).zip(batch.columns().iter().zip(&mut sink.stats))
        {
            stats.add(array);
            stored.push(forms::encode(array, &column.column_type, field.data_type())?);
        }
        sink.writer.write(stored)
    }

    fn finish(self) -> Result<Vec<StagedFile>> {
        let mut files = Vec::new();
        for (shard, sink) in self.open {
            if sink.writer.rows() > 0 {
                files.push(StagedFile { file: sink.writer.finish()?, shard, stats: sink.stats });
            }
        }
        Ok(files)
    }
}

impl Sink {
    fn create(write: &mut Write, shape: &Shape) -> Result<Self> {
        let storage = write.storage.clone();
        create_folders(storage.files(), &shape.folder).map_err(|e| Error::io("create", &shape.folder, e))?;
        match shape.has_files {
            true => write.writing_in(&shape.folder),
            // One without named files may be new itself.
            false => write.writing_in_new(&shape.folder),
        }
        let path = new_path(&shape.folder);
        write.making(path.clone());
        let writer = FileWriter::create(storage.files(), &path, shape.stored.clone(), row_bytes(&shape.schema))?;
        Ok(Self { writer, stats: new_stats(&shape.schema) })
    }
}

/// Bytes of a batch's values.
pub(super) fn batch_bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX >> 8)).sum()
}

/// A name for a new file, greater than those before it.
pub(super) fn new_path(folder: &std::path::Path) -> PathBuf {
    folder.join(format!("quern-{}.parquet", uuid::Uuid::now_v7()))
}

/// Statistics of no rows yet.
pub(super) fn new_stats(schema: &Schema) -> Vec<ColumnStats> {
    schema.columns().iter().map(|column| ColumnStats::new(&column.column_type)).collect()
}
