//! Which columns are on the device. One [`Resident`] holds the columns of one
//! part of a table since its rows were last changed other than by appending;
//! views of later snapshots extend it, views of earlier ones see a prefix.
//! Over the budget the least recently used one that no view holds leaves first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TableView;
use super::home::{Home, Homes};
use super::resident::{Part, Resident, Source};
use crate::base::{Error, Result, SnapshotId, TableId};
use crate::device::Device;
use crate::storage::{Snapshot, Storage, TableState};

/// The columns on one device. Cheap to clone.
#[derive(Clone)]
pub struct Tables(Arc<Inner>);

struct Inner {
    storage: Storage,
    device: Device,
    homes: Homes,
    /// Memory of the machine for columns that are not on the device.
    host_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    residents: HashMap<Key, Kept>,
    clock: u64,
}

struct Kept {
    resident: Arc<Resident>,
    last_used: u64,
}

/// The rows that a view shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shards {
    /// Those of one shard; all of a replicated table.
    One(u32),
    /// All, in shard order.
    All,
    /// All, in the order they were added: the newest is the last.
    InOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    table: TableId,
    part: Part,
    /// Rows were only added since; gathered rows are of just this snapshot.
    since: SnapshotId,
    /// Of an older state that was asked for later, which no other extends.
    only: Option<SnapshotId>,
}

impl Tables {
    /// No columns yet, on `device`, whose memory is the budget.
    pub fn new(storage: Storage, device: Device) -> Self {
        let homes = Homes::new(&device);
        let host_bytes = if device.is_host() { 0 } else { Device::cpu_of_this_machine().memory_bytes };
        let inner = Arc::new(Inner { storage, device, homes, host_bytes, state: Mutex::default() });
        let weak = Arc::downgrade(&inner);
        inner.device.pool.on_shortage(move |bytes| weak.upgrade().is_some_and(|inner| Self(inner).give(bytes)));
        Self(inner)
    }

    /// Lets columns leave the device, the least recently used first, until so many
    /// bytes are free of them; whether any left.
    fn give(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let mut given = 0;
        while given < bytes
            && let Some(key) = state.oldest_free(Home::Device)
        {
            given += state.residents.remove(&key).map_or(0, |kept| kept.resident.size_bytes(Home::Device));
        }
        given > 0
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Rows of `table` at `snapshot`. Nothing is loaded before a column is asked for.
    pub fn view(&self, snapshot: &Arc<Snapshot>, table: &Arc<TableState>, shards: Shards) -> Result<TableView> {
        let part = match shards {
            Shards::One(shard) if shard < table.shards => Part::Shard(shard),
            Shards::One(shard) => {
                return Err(Error::OutOfRange(format!(
                    "table `{}` has {} shards, none is number {shard}",
                    table.name, table.shards
                )));
            }
            Shards::All | Shards::InOrder if table.shards == 1 => Part::Shard(0),
            Shards::All => Part::Gathered,
            Shards::InOrder => Part::InOrder,
        };
        let source = Source { snapshot: Arc::clone(snapshot), table: Arc::clone(table), part };
        let resident = self.resident(&source);
        let rows = resident.count_rows(&self.0.storage, &source)?;
        Ok(TableView::new(self.clone(), source, rows, resident))
    }

    /// Device memory held by columns.
    pub fn resident_bytes(&self) -> u64 {
        self.state().residents.values().map(|kept| kept.resident.size_bytes(Home::Device)).sum()
    }

    pub(super) fn homes(&self) -> &Homes {
        &self.0.homes
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// The columns of a part, shared with other views of it.
    fn resident(&self, source: &Source) -> Arc<Resident> {
        let mut state = self.state();
        let state = &mut *state;
        state.clock += 1;
        let key = Key::of(source);
        if !self.0.device.is_host() {
            // What was lost with the device is loaded again.
            state.residents.retain(|_, kept| !kept.resident.is_lost());
        }
        // What a change of rows has made stale is kept only for views that hold it.
        state.residents.retain(|other, kept| {
            !(other.table == key.table && other.part == key.part && other.since < key.since && kept.is_free())
        });
        let kept = state.residents.entry(key).or_insert_with(|| Kept {
            resident: Arc::new(Resident::new(source.table.schema.columns().len())),
            last_used: 0,
        });
        kept.last_used = state.clock;
        Arc::clone(&kept.resident)
    }

    /// The columns of one shard when they are on the device already.
    pub(super) fn resident_shard(&self, source: &Source, shard: u32) -> Option<Arc<Resident>> {
        let key = Key::of(&Source { part: Part::Shard(shard), ..source.clone() });
        self.state().residents.get(&key).map(|kept| Arc::clone(&kept.resident))
    }

    /// Lets columns leave, the least recently used first, until `bytes` more
    /// fit the budget; an error when views hold too much.
    pub(super) fn make_room(&self, source: &Source, home: Home, bytes: u64) -> Result<()> {
        let (limit, allowed) = match home {
            Home::Device => ("device memory", self.0.device.memory_bytes),
            Home::Host => ("memory of the machine", self.0.host_bytes),
        };
        let mut state = self.state();
        let mut used: u64 = state.residents.values().map(|kept| kept.resident.size_bytes(home)).sum();
        while used.saturating_add(bytes) > allowed {
            let Some(key) = state.oldest_free(home) else {
                return Err(Error::Limit {
                    limit,
                    requested: used.saturating_add(bytes),
                    allowed,
                    unit: "bytes",
                    hint: format!(
                        "columns of table `{}` do not fit beside those in use; name fewer input columns or wait for other runs",
                        source.table.name
                    ),
                });
            };
            used -= state.residents.remove(&key).map_or(0, |kept| kept.resident.size_bytes(home));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The least recently used columns that no view holds.
    fn oldest_free(&self, home: Home) -> Option<Key> {
        let free = self.residents.iter().filter(|(_, kept)| kept.is_free() && kept.resident.size_bytes(home) > 0);
        free.min_by_key(|(_, kept)| kept.last_used).map(|(key, _)| *key)
    }
}

impl Kept {
    /// Whether no view holds it.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.resident) == 1
    }
}

impl Key {
    fn of(source: &Source) -> Self {
        let since = match source.part {
            Part::Shard(_) | Part::InOrder => source.table.rewritten,
            Part::Gathered => source.table.version,
        };
        let only = source.table.historic_at();
        Self { table: source.table.id, part: source.part, since, only }
    }
}
