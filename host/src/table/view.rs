//! What an instance sees of a table: some columns of one shard, or of all, at
//! one snapshot. Columns come to the device when they are asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::home::Tier;
use super::lease::Lease;
use super::resident::{Loading, Moved, Source};
use super::{DeviceColumn, Tables};
use crate::base::{Error, Result, Schema};
use crate::device::KillSwitch;

/// Rows of a table at a snapshot. Cheap to clone; pins its columns.
#[derive(Clone)]
pub struct TableView {
    tables: Tables,
    source: Source,
    rows: u64,
    lease: Arc<Lease>,
    schema: Schema,
    /// Places of the visible columns in the table.
    picked: Vec<usize>,
    kill: KillSwitch,
    moved: Arc<Moved>,
}

impl TableView {
    pub(super) fn new(tables: Tables, source: Source, rows: u64, lease: Lease) -> Self {
        let schema = source.table.schema.clone();
        let picked = (0..schema.columns().len()).collect();
        let (lease, moved) = (Arc::new(lease), Arc::default());
        Self { tables, source, rows, lease, schema, picked, kill: KillSwitch::new(), moved }
    }

    /// The same rows with only these of the visible columns, in this order.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        let outside = || Error::OutOfRange(format!("table `{}` has no such column", self.name()));
        let picked = columns.iter().map(|i| self.picked.get(*i).copied().ok_or_else(outside));
        let picked: Vec<usize> = picked.collect::<Result<_>>()?;
        let chosen = columns.iter().map(|i| self.schema.columns().get(*i).cloned().ok_or_else(outside));
        let schema = Schema::new(chosen.collect::<Result<_>>()?)?;
        Ok(Self { schema, picked, ..self.clone() })
    }

    /// The same rows; loading a column ends when `kill` is thrown.
    #[must_use]
    pub fn with_kill(mut self, kill: KillSwitch) -> Self {
        self.kill = kill;
        self
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.source.table.name
    }

    /// The visible columns.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// All rows of visible column `index`, on the device.
    pub fn column(&self, index: usize) -> Result<Arc<DeviceColumn>> {
        let outside = || Error::OutOfRange(format!("table `{}` has no column {index}", self.name()));
        let place = self.picked.get(index).copied().ok_or_else(outside)?;
        let loading = Loading {
            tables: &self.tables,
            source: &self.source,
            rows: self.rows,
            kill: &self.kill,
            moved: &self.moved,
            tier: Tier::Device,
            host: self.lease.host(),
        };
        let resident = self.lease.resident().ok_or_else(|| Error::Internal("a view without its columns".into()))?;
        resident.column(place, &loading).map(Arc::new)
    }

    /// Bytes that this view and its clones copied from storage to the device;
    /// 0 when the columns were there.
    pub fn loaded_bytes(&self) -> u64 {
        self.moved.loaded_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that this view and its clones copied on the device, to put shards
    /// one after the other.
    pub fn gathered_bytes(&self) -> u64 {
        self.moved.gathered_bytes.load(Ordering::Relaxed)
    }
}
