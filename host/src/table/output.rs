//! Rows that an instance makes. An output has a number of reserved rows and one
//! store per column; every write is checked against the column's type and the
//! reserved rows, and charged to the instance's limit `output_bytes` before
//! memory is taken. At the end it becomes Arrow batches, mostly without a copy.
//! What tensors write on a GPU stays there until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};

use super::DeviceColumn;
use super::cell::Cell;
use super::kept::{KeptOutput, Place};
use super::store::{RawColumn, Store};
use crate::base::{Column, DType, Error, Limits, Result, Schema};
use crate::device::{Buffer, Device, KillSwitch, Quota};

/// Bytes of new rows between two looks at the kill switch.
const STEP_BYTES: u64 = 16 << 20;

/// The limit `output_bytes` of one instance, shared by its outputs.
#[derive(Clone, Debug)]
pub struct OutputBudget {
    used_bytes: Arc<AtomicU64>,
    limit_bytes: u64,
}

impl OutputBudget {
    /// Nothing used of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Self { used_bytes: Arc::default(), limit_bytes }
    }

    /// Bytes charged so far.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: u64) -> Result<()> {
        let mut used = self.used_bytes.load(Ordering::Relaxed);
        loop {
            let Some(next) = used.checked_add(bytes).filter(|next| *next <= self.limit_bytes) else {
                return Err(Limits::exceeded("output_bytes", used.saturating_add(bytes), self.limit_bytes));
            };
            match self.used_bytes.compare_exchange_weak(used, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    fn release(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Rows of one output table while an instance makes them.
#[derive(Debug)]
pub struct OutputTable {
    name: String,
    schema: Schema,
    rows: usize,
    stores: Vec<Store>,
    budget: OutputBudget,
    kill: KillSwitch,
    /// The GPU on which rows can stay.
    place: Option<Place>,
    /// Bytes that came from there.
    read_bytes: Arc<AtomicU64>,
}

impl OutputTable {
    /// An empty output with the columns of `schema`. `name` is used in messages.
    pub fn new(name: &str, schema: Schema, budget: OutputBudget) -> Result<Self> {
        let stores = schema.columns().iter().map(Store::new).collect::<Result<_>>()?;
        let (name, kill) = (name.to_owned(), KillSwitch::new());
        Ok(Self { name, schema, rows: 0, stores, budget, kill, place: None, read_bytes: Arc::default() })
    }

    /// What tensors write stays on `device` until the end where that is a GPU, counts
    /// against the quota, and gives way to whatever else the run or others need.
    pub fn on_device(mut self, device: &Device, quota: &Quota) -> Self {
        self.place = (!device.is_host()).then(|| Place {
            pool: Arc::clone(&device.pool),
            quota: quota.clone(),
            read_bytes: Arc::clone(&self.read_bytes),
        });
        self
    }

    /// Long calls end early once `kill` is thrown.
    pub fn with_kill(mut self, kill: KillSwitch) -> Self {
        self.kill = kill;
        self
    }

    /// The proc's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Rows reserved so far.
    pub fn rows(&self) -> u64 {
        self.rows as u64
    }

    /// Memory held for rows, without the bytes of text and blobs.
    pub fn held_bytes(&self) -> usize {
        self.stores.iter().map(Store::held_bytes).sum()
    }

    /// Position and description of a column.
    pub fn column(&self, name: &str) -> Result<(usize, &Column)> {
        self.schema.column(&self.name, name)
    }

    /// Sets the number of rows. New rows are null where the column is nullable,
    /// else zero or empty; rows beyond are forgotten.
    pub fn resize(&mut self, rows: u64) -> Result<()> {
        let row_bytes: u64 = self.stores.iter().map(Store::row_bytes).sum();
        let (before, after) = (self.rows() * row_bytes, rows.saturating_mul(row_bytes));
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        if rows <= self.rows {
            self.set_rows(rows);
            self.budget.release(before - after);
            return self.resize_on_device();
        }
        self.budget.charge(after - before)?;
        let first = self.rows;
        let grown = self.grow(rows);
        if grown.is_err() {
            self.set_rows(first);
            self.budget.release(after - before);
            return grown;
        }
        self.resize_on_device()
    }

    /// Follows with values on a GPU.
    fn resize_on_device(&mut self) -> Result<()> {
        self.stores.iter_mut().try_for_each(|store| store.resize_on_device(&self.kill))
    }

    /// Reserves further rows, which are paid for.
    fn grow(&mut self, rows: usize) -> Result<()> {
        self.stores.iter_mut().try_for_each(|store| store.reserve(rows))?;
        let row_bytes = self.stores.iter().map(Store::row_bytes).sum::<u64>().max(1);
        let step = usize::try_from(STEP_BYTES / row_bytes).unwrap_or(1).max(1);
        // Zeros are written, which takes a second for a few GiB.
        while self.rows < rows {
            self.kill.check()?;
            self.set_rows(self.rows.saturating_add(step).min(rows));
        }
        Ok(())
    }

    fn set_rows(&mut self, rows: usize) {
        self.stores.iter_mut().for_each(|store| store.resize(rows));
        self.rows = rows;
    }

    /// Overwrites rows of column `index` from `start` with buffers in Arrow
    /// layout, which come from a guest and are checked.
    pub fn write(&mut self, index: usize, start: u64, data: &RawColumn<'_>) -> Result<()> {
        let start = self.range(index, start, data.rows)?;
        let (column, store) = self.at(index)?;
        let grown_bytes = store.check(column, data)?;
        self.make_room(index, grown_bytes)?;
        self.settle(index)?;
        let (_, store) = self.at(index)?;
        store.write(start, data);
        Ok(())
    }

    /// The bytes of rows `[start, start + shape[0])` of column `index` for a
    /// tensor of this element type and shape, to be overwritten by the caller.
    /// The rows become valid.
    pub fn tensor_target(&mut self, index: usize, start: u64, dtype: DType, shape: &[usize]) -> Result<&mut [u8]> {
        let (start, rows) = self.tensor_range(index, start, dtype, shape)?;
        self.settle(index)?;
        let (_, store) = self.at(index)?;
        store.fixed_target(start, rows)
    }

    /// Overwrites the same rows with the `values` of a tensor on a GPU, which stay
    /// there. False where they cannot, and nothing was done; `values` are not asked
    /// for where this is known before.
    pub fn keep_tensor(
        &mut self,
        (index, start): (usize, u64),
        dtype: DType,
        shape: &[usize],
        values: impl FnOnce() -> Result<Buffer>,
    ) -> Result<bool> {
        let Some(place) = self.place.clone() else { return Ok(false) };
        let (start, _) = self.tensor_range(index, start, dtype, shape)?;
        let values = values()?;
        let (_, store) = self.at(index)?;
        store.keep(start, &values, &place)
    }

    /// The first row and their number, where a tensor of this type fits.
    fn tensor_range(&mut self, index: usize, start: u64, dtype: DType, shape: &[usize]) -> Result<(usize, usize)> {
        let (column, _) = self.at(index)?;
        let Some((&rows, row_shape)) = shape.split_first() else {
            return Err(Error::TypeMismatch(format!("a scalar cannot be written to column `{}`", column.name)));
        };
        if column.column_type.row_tensor() != Some((dtype, row_shape)) {
            return Err(Error::TypeMismatch(format!(
                "column `{}` is {}, the tensor is {dtype} {shape:?}",
                column.name, column.column_type
            )));
        }
        Ok((self.range(index, start, rows as u64)?, rows))
    }

    /// Overwrites rows of column `index` from `start` with all rows of `source`.
    /// Answers how many bytes came from a GPU; none where they stay there.
    pub fn copy_from(&mut self, index: usize, start: u64, source: &DeviceColumn) -> Result<u64> {
        let (column, store) = self.at(index)?;
        if column.column_type != *source.column_type() {
            return Err(Error::TypeMismatch(format!(
                "column `{}` is {}, the source is {}",
                column.name,
                column.column_type,
                source.column_type()
            )));
        }
        let grown_bytes = store.check_copy(column, source)?;
        let start = self.range(index, start, source.rows())?;
        self.make_room(index, grown_bytes)?;
        let (kill, place) = (self.kill.clone(), self.place.clone());
        let (_, store) = self.at(index)?;
        if let Some(place) = place.filter(|_| source.is_on_gpu() && source.null_count() == 0)
            && store.keep(start, source.values_buffer(), &place)?
        {
            return Ok(0);
        }
        self.settle(index)?;
        let (_, store) = self.at(index)?;
        store.copy_from(start, source, &kill)?;
        Ok(if source.is_on_gpu() { source.values_buffer().len() as u64 } else { 0 })
    }

    /// Brings the values of a column that are on a GPU to where they are written.
    fn settle(&mut self, index: usize) -> Result<()> {
        let kill = self.kill.clone();
        let (_, store) = self.at(index)?;
        store.settle(&kill)
    }

    /// Brings everything that is on a GPU to the host, where it is as well then.
    pub fn read_back(&self) -> Result<()> {
        self.stores.iter().try_for_each(|store| store.read_back(&self.kill))
    }

    /// Bytes that came from a GPU, beside those that were told when rows were written.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// What is on a GPU still, after [`Self::read_back`]; gone from here.
    pub fn take_kept(&mut self) -> KeptOutput {
        let columns = self.stores.iter_mut().map(Store::take_kept).collect();
        KeptOutput { rows: self.rows as u64, columns }
    }

    /// Pays for further bytes of text or blobs of a column and makes room for them.
    fn make_room(&mut self, index: usize, further_bytes: u64) -> Result<()> {
        self.budget.charge(further_bytes)?;
        let made = self.at(index).and_then(|(_, store)| store.reserve_spans(further_bytes));
        made.inspect_err(|_| self.budget.release(further_bytes))
    }

    /// Appends one row; columns that are not named get null or the default of
    /// their type. Nothing is appended when a cell does not fit.
    pub fn push(&mut self, cells: &[(usize, Cell<'_>)]) -> Result<()> {
        let row = self.rows as u64;
        let lengths: Vec<usize> = self.stores.iter().map(Store::span_bytes).collect();
        self.resize(row + 1)?;
        for (index, cell) in cells {
            if let Err(error) = self.write_cell(*index, row, cell) {
                for (store, length) in self.stores.iter_mut().zip(lengths) {
                    self.budget.release((store.span_bytes() - length) as u64);
                    store.truncate_spans(length);
                }
                self.resize(row)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The rows as Arrow batches with exactly the types of the schema; none when
    /// there are no rows.
    pub fn into_batches(mut self) -> Result<Vec<RecordBatch>> {
        for index in 0..self.stores.len() {
            self.settle(index)?;
        }
        let schema = self.schema.to_arrow();
        let mut batches = Vec::new();
        for (start, rows) in self.chunks() {
            let whole = rows == self.rows;
            let arrays =
                self.stores.iter_mut().zip(self.schema.columns()).map(|(store, column)| {
                    if whole { store.take(column) } else { store.copy_range(column, start, rows) }
                });
            let arrays = arrays.collect::<Result<Vec<ArrayRef>>>()?;
            let batch = RecordBatch::try_new(Arc::clone(&schema), arrays);
            batches.push(batch.map_err(|e| Error::library("build the rows of an output", e))?);
        }
        Ok(batches)
    }

    /// Ranges of rows whose text fits 32-bit offsets.
    fn chunks(&self) -> Vec<(usize, usize)> {
        let (mut start, mut chunks) = (0, Vec::new());
        while start < self.rows {
            let rows = self.stores.iter().map(|s| s.rows_that_fit(start, self.rows)).min().unwrap_or(self.rows);
            let rows = rows.clamp(1, self.rows - start);
            chunks.push((start, rows));
            start += rows;
        }
        chunks
    }

    fn write_cell(&mut self, index: usize, row: u64, cell: &Cell<'_>) -> Result<()> {
        let (column, _) = self.at(index)?;
        match cell.encode(column)? {
            None => Ok(()),
            Some(encoded) => self.write(index, row, &encoded.as_raw()),
        }
    }

    fn at(&mut self, index: usize) -> Result<(&Column, &mut Store)> {
        match (self.schema.columns().get(index), self.stores.get_mut(index)) {
            (Some(column), Some(store)) => Ok((column, store)),
            _ => Err(Error::OutOfRange(format!("output `{}` has no column {index}", self.name))),
        }
    }

    /// `start` when rows `[start, start + rows)` are reserved.
    fn range(&self, index: usize, start: u64, rows: u64) -> Result<usize> {
        match start.checked_add(rows) {
            Some(end) if end <= self.rows as u64 => {
                usize::try_from(start).map_err(|_| Error::OutOfRange(format!("row {start} cannot be addressed")))
            }
            _ => {
                let column = self.schema.columns().get(index).map_or("", |c| c.name.as_str());
                Err(Error::OutOfRange(format!(
                    "rows {start} to {} of column `{column}` are not reserved; output `{}` has {} rows, call `resize` first",
                    start.saturating_add(rows),
                    self.name,
                    self.rows
                )))
            }
        }
    }
}
