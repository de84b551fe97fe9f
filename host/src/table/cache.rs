//! Which columns are on the device. One [`Resident`] holds the columns of one
//! part of a table since its rows were last changed other than by appending;
//! views of later snapshots extend it, views of earlier ones see a prefix.
//! Over the budget the least recently used one that no view holds leaves first,
//! unless its table is pinned; nothing leaves for what does not fit anyway.

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::TableView;
use super::home::{Home, Homes, Tier};
use super::lease::Lease;
use super::residency::names;
use super::resident::{Part, Resident, Source};
use crate::base::{Error, Residency, Result, SnapshotId, TableId};
use crate::device::{Device, Idle, tick};
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
    /// Held by who says where columns stay, from the commit until it is known here.
    saying: Mutex<()>,
}

#[derive(Default)]
struct State {
    residents: HashMap<Key, Kept>,
    /// What was said of tables, once it was read.
    residencies: Option<HashMap<TableId, Residency>>,
    /// The newest snapshot that a view was of.
    newest: Option<SnapshotId>,
}

struct Kept {
    resident: Arc<Resident>,
    /// The table's name.
    name: String,
    last_used: u64,
    rows: Rows,
}

/// What the newest snapshot says of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// The next view finds them.
    Current,
    /// The table has changed since.
    Stale,
    /// The table is gone.
    Dropped,
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
    tier: Tier,
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
        let inner =
            Arc::new(Inner { storage, device, homes, host_bytes, state: Mutex::default(), saying: Mutex::default() });
        let weak = Arc::downgrade(&inner);
        inner.device.pool.on_shortage(weak as Weak<dyn Idle>);
        Self(inner)
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
        let is_from_host = self.residency(table.id)? == Residency::Host && !self.0.device.is_host();
        let resident = self.resident(&source, Tier::Device);
        let host = is_from_host.then(|| self.resident(&source, Tier::Host));
        let lease = Lease::new(self.clone(), Arc::clone(&resident), host);
        let rows = resident.count_rows(&self.0.storage, &source)?;
        drop(resident);
        Ok(TableView::new(self.clone(), source, rows, lease))
    }

    /// Device memory held by columns.
    pub fn resident_bytes(&self) -> u64 {
        self.state().residents.values().map(|kept| kept.resident.size_bytes(Home::Device)).sum()
    }

    /// Calls `look` with each table and columns of it.
    pub(super) fn each_resident(&self, mut look: impl FnMut(TableId, &Resident)) {
        self.state().residents.iter().for_each(|(key, kept)| look(key.table, &kept.resident));
    }

    pub(super) fn homes(&self) -> &Homes {
        &self.0.homes
    }

    pub(super) fn storage(&self) -> &Storage {
        &self.0.storage
    }

    /// What was said about tables, to look at or change; read by the first who asks.
    pub(super) fn residencies<T>(&self, work: impl FnOnce(&mut HashMap<TableId, Residency>) -> T) -> Result<T> {
        if let Some(known) = self.state().residencies.as_mut() {
            return Ok(work(known));
        }
        let read = self.0.storage.residencies()?;
        Ok(work(self.state().residencies.get_or_insert(read)))
    }

    /// Others that say where columns stay wait until this is dropped.
    pub(super) fn saying(&self) -> MutexGuard<'_, ()> {
        self.0.saying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what nobody holds and its table does not keep.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        let State { residents, residencies, .. } = &mut *state;
        let is_host = self.0.device.is_host();
        let keeps =
            |key: &Key| match residencies.as_ref().and_then(|known| known.get(&key.table)).copied().unwrap_or_default()
            {
                Residency::Device | Residency::Pinned => key.tier == Tier::Device,
                Residency::Host => is_host || key.tier == Tier::Host,
                Residency::Disk => false,
            };
        let gone: Vec<Kept> = residents
            .extract_if(|key, kept| kept.is_free() && (kept.rows == Rows::Dropped || !keeps(key)))
            .map(|(_, kept)| kept)
            .collect();
        // Giving much memory back takes a while, which nobody has to wait for.
        drop(state);
        drop(gone);
    }

    /// Takes back what a view held.
    pub(super) fn release(&self, held: [Option<Arc<Resident>>; 2]) {
        // Nobody finds it held by two who both give it back.
        let state = self.state();
        drop(held);
        drop(state);
        self.settle();
    }

    /// The columns of a part, shared with other views of it.
    pub(super) fn resident(&self, source: &Source, tier: Tier) -> Arc<Resident> {
        let mut state = self.state();
        let state = &mut *state;
        let key = Key::of(source, tier);
        if !self.0.device.is_host() {
            // What was lost with the device is loaded again.
            state.residents.retain(|_, kept| !kept.resident.is_lost());
        }
        // What a change of rows has made stale is kept only for views that hold it.
        state.residents.retain(|other, kept| {
            let is_older = other.part == key.part && other.tier == key.tier && other.since < key.since;
            !(other.table == key.table && is_older && kept.is_free())
        });
        let kept = state.residents.entry(key).or_insert_with(|| Kept {
            resident: Arc::new(Resident::new(source.table.schema.columns().len())),
            name: source.table.name.clone(),
            last_used: 0,
            rows: if key.only.is_some() { Rows::Stale } else { Rows::Current },
        });
        kept.last_used = tick();
        let resident = Arc::clone(&kept.resident);
        state.compare(&source.snapshot);
        resident
    }

    /// The columns of one shard when they are there already.
    pub(super) fn resident_shard(&self, source: &Source, shard: u32, tier: Tier) -> Option<Arc<Resident>> {
        let key = Key::of(&Source { part: Part::Shard(shard), ..source.clone() }, tier);
        self.state().residents.get(&key).map(|kept| Arc::clone(&kept.resident))
    }

    /// The columns of a part when there are some.
    pub(super) fn resident_there(&self, source: &Source, tier: Tier) -> Option<Arc<Resident>> {
        self.state().residents.get(&Key::of(source, tier)).map(|kept| Arc::clone(&kept.resident))
    }

    /// Lets columns leave, the least recently used first, until `bytes` more
    /// fit the budget; an error when views and pinned tables hold too much.
    pub(super) fn make_room(&self, source: &Source, home: Home, bytes: u64) -> Result<()> {
        let (limit, allowed) = match home {
            Home::Device => ("device memory", self.0.device.memory_bytes),
            Home::Host => ("memory of the machine", self.0.host_bytes),
        };
        let mut state = self.state();
        let mut used: u64 = state.residents.values().map(|kept| kept.resident.size_bytes(home)).sum();
        let idle = state.idle_bytes(home);
        if used.saturating_sub(idle).saturating_add(bytes) > allowed {
            return Err(Error::Limit {
                limit,
                requested: used.saturating_sub(idle).saturating_add(bytes),
                allowed,
                unit: "bytes",
                hint: state.why_full(&source.table.name, home),
            });
        }
        while used.saturating_add(bytes) > allowed
            && let Some((key, _)) = state.oldest(home)
        {
            used = used.saturating_sub(state.give(&key, home));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for Inner {
    fn idle_bytes(&self) -> u64 {
        self.state().idle_bytes(Home::Device)
    }

    fn oldest(&self) -> Option<u64> {
        self.state().oldest(Home::Device).map(|(_, last_used)| last_used)
    }

    fn give_oldest(&self) -> u64 {
        let mut state = self.state();
        let oldest = state.oldest(Home::Device);
        oldest.map_or(0, |(key, _)| state.give(&key, Home::Device))
    }
}

impl State {
    fn is_pinned(&self, table: TableId) -> bool {
        self.residencies.as_ref().and_then(|known| known.get(&table)) == Some(&Residency::Pinned)
    }

    /// How rows of pinned tables were last read: in one way they stay.
    fn pinned(&self) -> HashMap<TableId, Discriminant<Part>> {
        let mut newest: HashMap<TableId, (u64, Discriminant<Part>)> = HashMap::new();
        let is_pinned = |(key, kept): &(&Key, &Kept)| kept.rows == Rows::Current && self.is_pinned(key.table);
        for (key, kept) in self.residents.iter().filter(is_pinned) {
            let this = (kept.last_used, discriminant(&key.part));
            let last = newest.entry(key.table).or_insert(this);
            if last.0 < this.0 {
                *last = this;
            }
        }
        newest.into_iter().map(|(table, (_, part))| (table, part)).collect()
    }

    /// Notes which rows a newer snapshot has no longer.
    fn compare(&mut self, snapshot: &Snapshot) {
        if self.newest.is_some_and(|newest| snapshot.id < newest) {
            return;
        }
        self.newest = Some(snapshot.id);
        for (key, kept) in self.residents.iter_mut().filter(|(key, _)| key.only.is_none()) {
            kept.rows = match snapshot.table(&kept.name) {
                Ok(table) if table.id != key.table => Rows::Dropped,
                Ok(table) if Key::since(key.part, &table) != key.since => Rows::Stale,
                Ok(_) => Rows::Current,
                Err(_) => Rows::Dropped,
            };
        }
    }

    /// Gives up what a part holds there; how many bytes.
    fn give(&mut self, key: &Key, home: Home) -> u64 {
        let Some(kept) = self.residents.get(key) else { return 0 };
        let before = kept.resident.size_bytes(home);
        kept.resident.give(home);
        // A part without columns is not kept, nor one that could not give them.
        let is_empty = kept.resident.size_bytes(Home::Device) == 0 && kept.resident.size_bytes(Home::Host) == 0;
        if is_empty || kept.resident.size_bytes(home) > 0 {
            self.residents.remove(key);
        }
        before
    }

    /// What could leave: no view holds it, and it is not pinned.
    fn idle(&self, home: Home) -> impl Iterator<Item = (&Key, &Kept)> {
        let pinned = if home == Home::Device { self.pinned() } else { HashMap::new() };
        let may_leave = move |key: &Key, kept: &Kept| {
            kept.rows != Rows::Current || pinned.get(&key.table) != Some(&discriminant(&key.part))
        };
        let has = move |kept: &Kept| kept.is_free() && kept.resident.size_bytes(home) > 0;
        self.residents.iter().filter(move |(key, kept)| has(kept) && may_leave(key, kept))
    }

    fn idle_bytes(&self, home: Home) -> u64 {
        self.idle(home).map(|(_, kept)| kept.resident.size_bytes(home)).sum()
    }

    /// The least recently used of that, and when it was used.
    fn oldest(&self, home: Home) -> Option<(Key, u64)> {
        self.idle(home).map(|(key, kept)| (*key, kept.last_used)).min_by_key(|(_, last_used)| *last_used)
    }

    /// Why columns of a table do not fit, and what to do.
    fn why_full(&self, table: &str, home: Home) -> String {
        let holds = |key: &Key, kept: &Kept| self.is_pinned(key.table) && kept.resident.size_bytes(home) > 0;
        let mut pinned: Vec<&str> =
            self.residents.iter().filter(|(key, kept)| holds(key, kept)).map(|(_, kept)| kept.name.as_str()).collect();
        pinned.sort_unstable();
        pinned.dedup();
        match pinned.first().filter(|_| home == Home::Device) {
            None => format!(
                "columns of table `{table}` do not fit beside those in use; \
                 name fewer input columns or wait for other runs"
            ),
            Some(first) => format!(
                "columns of table `{table}` do not fit beside those in use and the pinned {}; \
                 unpin with ALTER TABLE {first} SET RESIDENCY device, name fewer input columns or wait for other runs",
                names(pinned.iter().copied())
            ),
        }
    }
}

impl Kept {
    /// Whether no view holds it.
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.resident) == 1
    }
}

impl Key {
    fn of(source: &Source, tier: Tier) -> Self {
        let only = source.table.historic_at();
        Self { table: source.table.id, part: source.part, tier, since: Self::since(source.part, &source.table), only }
    }

    /// Since when a part of a table in this state has the rows that it has.
    fn since(part: Part, table: &TableState) -> SnapshotId {
        match part {
            Part::Shard(_) | Part::InOrder => table.rewritten,
            Part::Gathered => table.version,
        }
    }
}
