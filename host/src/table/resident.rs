//! The columns of one part of a table on the device, and how they are loaded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray};

use super::growing::Growing;
use super::home::{Home, Tier};
use super::{COPIED_BYTES, DeviceColumn, Tables};
use crate::base::{Column, ColumnType, Error, Result};
use crate::device::{ColumnBuffer, KillSwitch};
use crate::storage::{ScanOptions, Snapshot, Storage, TableState};

/// The rows that a [`Resident`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Of one shard.
    Shard(u32),
    /// Of several shards, one after the other.
    Gathered,
    /// Of several shards, by row id.
    InOrder,
}

/// Where rows come from: fixed for the life of a view.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) table: Arc<TableState>,
    pub(super) part: Part,
}

/// Columns of one part. Held by the cache and by views.
pub(super) struct Resident {
    columns: Vec<Mutex<Option<Loaded>>>,
    /// Rows of the part below a row id.
    counts: Mutex<BTreeMap<u64, u64>>,
    on_device_bytes: AtomicU64,
    on_host_bytes: AtomicU64,
}

struct Loaded {
    growing: Growing,
    /// Rows with a lower row id are in it.
    next_row_id: u64,
}

/// Bytes brought to the device and copied on it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) loaded_bytes: AtomicU64,
    pub(super) gathered_bytes: AtomicU64,
}

/// What was added to a part of a table by the commit that made its newest state.
pub(super) struct Published<'a> {
    pub(super) tables: &'a Tables,
    pub(super) table: &'a TableState,
    /// Rows of the part with those that were added.
    pub(super) rows: u64,
    pub(super) n_added: u64,
}

/// What a load needs beside its source.
pub(super) struct Loading<'a> {
    pub(super) tables: &'a Tables,
    pub(super) source: &'a Source,
    pub(super) rows: u64,
    pub(super) kill: &'a KillSwitch,
    pub(super) moved: &'a Moved,
    pub(super) tier: Tier,
    /// The same columns in the machine's memory, from where they come.
    pub(super) host: Option<&'a Resident>,
}

impl Resident {
    pub(super) fn new(columns: usize) -> Self {
        let columns = std::iter::repeat_with(|| Mutex::new(None)).take(columns).collect();
        Self { columns, counts: Mutex::default(), on_device_bytes: AtomicU64::new(0), on_host_bytes: AtomicU64::new(0) }
    }

    /// Memory held there.
    pub(super) fn size_bytes(&self, home: Home) -> u64 {
        self.held(home).load(Ordering::Relaxed)
    }

    fn held(&self, home: Home) -> &AtomicU64 {
        match home {
            Home::Device => &self.on_device_bytes,
            Home::Host => &self.on_host_bytes,
        }
    }

    /// Whether a column of it was lost with the device.
    pub(super) fn is_lost(&self) -> bool {
        // Who loads a column now looks itself.
        let is_lost = |loaded: &Option<Loaded>| loaded.as_ref().is_some_and(|loaded| loaded.growing.is_lost());
        self.columns.iter().any(|slot| slot.try_lock().is_ok_and(|loaded| is_lost(&loaded)))
    }

    /// Gives up the columns there, of a part that nobody else holds.
    pub(super) fn give(&self, home: Home) {
        for mut slot in self.columns.iter().filter_map(|slot| slot.try_lock().ok()) {
            if let Some(given) = slot.take_if(|loaded| loaded.growing.home() == home) {
                self.held(home).fetch_sub(given.growing.capacity_bytes(), Ordering::Relaxed);
            }
        }
    }

    /// Whether rows were counted, so that only those added since are to be.
    pub(super) fn is_counted(&self) -> bool {
        !self.counts.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Rows of the part at the source's snapshot. Shards are counted by their
    /// row ids, once, and from then on only what was added.
    pub(super) fn count_rows(&self, storage: &Storage, source: &Source) -> Result<u64> {
        let table = &source.table;
        let shard = match source.part {
            Part::Shard(shard) if table.shards > 1 => shard,
            _ => return Ok(table.rows),
        };
        let counts = || self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts().range(..=table.next_row_id).next_back().map(|(id, n)| (*id, *n));
        let (from_row_id, mut rows) = known.unwrap_or((0, 0));
        // Others are not kept waiting: who counts the same rows finds the same number.
        if from_row_id < table.next_row_id {
            let options =
                ScanOptions { shard: Some(shard), columns: Some(Vec::new()), from_row_id, ..ScanOptions::default() };
            for batch in storage.scan_with(&source.snapshot, table, &options)? {
                rows += batch?.num_rows() as u64;
            }
            counts().insert(table.next_row_id, rows);
        }
        Ok(rows)
    }

    /// Column `index` up to the source's snapshot, loaded as far as it is not there.
    pub(super) fn column(&self, index: usize, loading: &Loading<'_>) -> Result<DeviceColumn> {
        let table = &loading.source.table;
        let (Some(slot), Some(column)) = (self.columns.get(index), table.schema.columns().get(index)) else {
            return Err(Error::Internal(format!("column {index} is outside table `{}`", table.name)));
        };
        let homes = loading.tables.homes().at(loading.tier);
        let home = homes.of(&column.column_type);
        if let Some(host) = loading.host.filter(|_| home == Home::Host) {
            return loading.of_host(index, host);
        }
        let mut slot = lock_column(slot, loading.kill)?;
        if let Some(lost) = slot.take_if(|loaded| loaded.growing.is_lost()) {
            self.held(lost.growing.home()).fetch_sub(lost.growing.capacity_bytes(), Ordering::Relaxed);
        }
        if let Some(loaded) = slot.as_ref().filter(|loaded| loaded.next_row_id >= table.next_row_id) {
            return loaded.growing.view(loading.rows);
        }
        let known = slot.as_ref().map_or(0, |loaded| loaded.growing.rows());
        let expected_bytes = expected_row_bytes(column).saturating_mul(loading.rows.saturating_sub(known));
        loading.tables.make_room(loading.source, home, expected_bytes)?;
        // What is taken out here is put back whole or not at all.
        let loaded = slot.take();
        let held_bytes = loaded.as_ref().map_or(0, |loaded| loaded.growing.capacity_bytes());
        self.held(home).fetch_sub(held_bytes, Ordering::Relaxed);
        let afresh = || {
            let growing = Growing::new(&homes, column, loading.rows)?;
            loading.extend(Loaded { growing, next_row_id: 0 }, index)
        };
        let loaded = match loaded.map(|loaded| loading.extend(loaded, index)) {
            // While it grows it needs room for both; alone it may have it.
            None | Some(Err(Error::OutOfMemory { .. })) => afresh()?,
            Some(extended) => extended?,
        };
        let loaded = slot.insert(loaded);
        self.held(home).fetch_add(loaded.growing.capacity_bytes(), Ordering::Relaxed);
        loaded.growing.view(loading.rows)
    }

    /// Takes rows of column `index` over that were just added, if all rows before them
    /// are there and nobody loads it now.
    pub(super) fn publish(
        &self,
        index: usize,
        published: &Published<'_>,
        added: Vec<(u64, ColumnBuffer)>,
    ) -> Result<()> {
        let Published { tables, table, rows, n_added } = published;
        let (Some(slot), Some(column)) = (self.columns.get(index), table.schema.columns().get(index)) else {
            return Ok(());
        };
        let Ok(mut slot) = slot.try_lock() else { return Ok(()) };
        let known = slot.as_ref().map_or(0, |loaded| loaded.growing.rows());
        let is_lost = slot.as_ref().is_some_and(|loaded| loaded.growing.is_lost());
        // Rows that are not there lie after those that are: just as many are new.
        if is_lost || known + n_added != *rows {
            return Ok(());
        }
        // What is taken out here is put back whole or not at all.
        let mut growing = slot.take().map(|loaded| loaded.growing);
        let held_bytes = growing.as_ref().map_or(0, Growing::capacity_bytes);
        self.held(Home::Device).fetch_sub(held_bytes, Ordering::Relaxed);
        for (rows, values) in added {
            match &mut growing {
                None => growing = Some(Growing::of_rows(tables.homes(), column, rows, values)),
                Some(growing) => growing.append_rows(rows, &values.view())?,
            }
        }
        if let Some(growing) = growing {
            self.held(Home::Device).fetch_add(growing.capacity_bytes(), Ordering::Relaxed);
            *slot = Some(Loaded { growing, next_row_id: table.next_row_id });
        }
        Ok(())
    }

    /// Column `index` if it is on the device up to a row id.
    fn loaded_column(&self, index: usize, next_row_id: u64, rows: u64) -> Option<DeviceColumn> {
        let slot = self.columns.get(index)?.try_lock().ok()?;
        let loaded = slot.as_ref().filter(|loaded| loaded.next_row_id >= next_row_id && !loaded.growing.is_lost())?;
        loaded.growing.view(rows).ok()
    }
}

impl Loading<'_> {
    /// Adds the rows that are missing.
    fn extend(&self, mut loaded: Loaded, index: usize) -> Result<Loaded> {
        let table = &self.source.table;
        match (self.host, self.source.part) {
            (Some(host), _) => {
                let column = self.of_host(index, host)?;
                let piece_rows = (COPIED_BYTES / column.column_type().row_bytes().unwrap_or(1).max(1)).max(1) as u64;
                loaded.growing.reserve(column.rows())?;
                while loaded.growing.rows() < column.rows() {
                    self.kill.check()?;
                    let rows = column.rows_from(loaded.growing.rows(), piece_rows)?;
                    self.counted(&mut loaded, |growing| growing.append_column(&rows))?;
                }
            }
            (None, Part::Shard(shard)) => self.append_rows(&mut loaded, index, Some(shard))?,
            (None, Part::InOrder) => self.append_rows(&mut loaded, index, None)?,
            (None, Part::Gathered) => {
                for shard in 0..table.shards {
                    match self.shard_on_device(index, shard)? {
                        Some(column) => {
                            loaded.growing.append_column(&column)?;
                            self.moved.gathered_bytes.fetch_add(column.device_bytes(), Ordering::Relaxed);
                        }
                        None => self.append_rows(&mut loaded, index, Some(shard))?,
                    }
                }
            }
        }
        if loaded.growing.rows() < self.rows {
            return Err(Error::Internal(format!(
                "table `{}` has {} rows here, storage gave {}",
                table.name,
                self.rows,
                loaded.growing.rows()
            )));
        }
        loaded.next_row_id = table.next_row_id;
        Ok(loaded)
    }

    /// The column in the machine's memory, loaded as far as it is not there.
    fn of_host(&self, index: usize, host: &Resident) -> Result<DeviceColumn> {
        // What is not on the device has not moved.
        let moved = Moved::default();
        host.column(index, &Loading { tier: Tier::Host, host: None, moved: &moved, ..*self })
    }

    /// Adds the rows of a shard, or of all, from storage: those not yet there.
    fn append_rows(&self, loaded: &mut Loaded, index: usize, shard: Option<u32>) -> Result<()> {
        let table = &self.source.table;
        let options = ScanOptions {
            shard: shard.filter(|_| table.shards > 1),
            columns: Some(vec![index]),
            from_row_id: loaded.next_row_id,
            ..ScanOptions::default()
        };
        for batch in self.tables.storage().scan_with(&self.source.snapshot, table, &options)? {
            self.kill.check()?;
            let batch = batch?;
            if let Some(array) = batch.columns().first() {
                // Of text and bytes nobody knew how many there are.
                let bytes = span_bytes(array);
                if bytes > 0 {
                    let held = loaded.growing.capacity_bytes();
                    self.tables.make_room(self.source, loaded.growing.home(), held.saturating_add(bytes))?;
                }
                self.counted(loaded, |growing| growing.append(array))?;
            }
        }
        Ok(())
    }

    /// Appends, and counts what had moved, also where a part of it fails.
    fn counted(&self, loaded: &mut Loaded, append: impl FnOnce(&mut Growing) -> Result<()>) -> Result<()> {
        let before = loaded.growing.uploaded_bytes();
        let appended = append(&mut loaded.growing);
        self.moved.loaded_bytes.fetch_add(loaded.growing.uploaded_bytes() - before, Ordering::Relaxed);
        appended
    }

    /// A shard's column, when another view brought it to the device.
    fn shard_on_device(&self, index: usize, shard: u32) -> Result<Option<DeviceColumn>> {
        let source = Source { part: Part::Shard(shard), ..self.source.clone() };
        let Some(resident) = self.tables.resident_shard(&source, shard, self.tier) else { return Ok(None) };
        let rows = resident.count_rows(self.tables.storage(), &source)?;
        Ok(resident.loaded_column(index, source.table.next_row_id, rows))
    }
}

/// Waits for who loads the same column now, but not longer than `kill` allows.
fn lock_column<'a, T>(slot: &'a Mutex<T>, kill: &KillSwitch) -> Result<MutexGuard<'a, T>> {
    loop {
        match slot.try_lock() {
            Ok(held) => return Ok(held),
            Err(TryLockError::Poisoned(held)) => return Ok(held.into_inner()),
            Err(TryLockError::WouldBlock) => kill.sleep(Duration::from_micros(500))?,
        }
    }
}

/// Bytes of the rows of an array of text or bytes; 0 for types of fixed width.
fn span_bytes(array: &ArrayRef) -> u64 {
    let between = |first: Option<i64>, last: Option<i64>| match (first, last) {
        (Some(first), Some(last)) => u64::try_from(last.saturating_sub(first)).unwrap_or(0),
        _ => 0,
    };
    let ends =
        |offsets: &[i32]| between(offsets.first().copied().map(i64::from), offsets.last().copied().map(i64::from));
    match (array.as_string_opt::<i32>(), array.as_binary_opt::<i64>()) {
        (Some(text), _) => ends(text.value_offsets()),
        (_, Some(bytes)) => between(bytes.value_offsets().first().copied(), bytes.value_offsets().last().copied()),
        _ => 0,
    }
}

/// Device memory of a row, as far as it is known before it is read.
pub(super) fn expected_row_bytes(column: &Column) -> u64 {
    match (&column.column_type, column.column_type.row_bytes()) {
        (ColumnType::List(_), _) => 0,
        (_, Some(width)) => width as u64 + u64::from(column.nullable),
        (_, None) => 8 + 16,
    }
}
