//! Rows of outputs on the GPU where tensors wrote them. They stay there until the
//! run ends, come to the host once, and after the commit they are the columns that
//! the next run reads. Meanwhile they count against the quota of their run, and are
//! only where nobody else needs the room: when the quota or the device is full they
//! go to the host at once, as they would on the processor.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::COPIED_BYTES;
use super::bytes::Bytes;
use crate::base::{Error, Result};
use crate::device::{ALIGNMENT_BYTES, Buffer, Charge, ColumnBuffer, Idle, KillSwitch, Pool, Quota, tick};

/// The GPU on which rows can stay, and the quota that they count against.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) quota: Quota,
    /// Counts what comes to the host.
    pub(super) read_bytes: Arc<AtomicU64>,
}

/// The bytes of one output column of fixed width.
#[derive(Debug)]
pub(super) struct DeviceRows(Arc<Rows>);

/// What the column shares with those who need its room. No memory is taken while
/// the state is locked, since whoever takes memory may lock it.
#[derive(Debug)]
struct Rows {
    place: Place,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None once they were given up; then `host` has them.
    held: Option<Held>,
    /// The column's memory on the host, as long as it has rows here.
    host: Bytes,
    /// Whether `host` has what is held.
    is_read: bool,
    used: u64,
}

/// Device memory, and all of it counted.
#[derive(Debug)]
struct Held {
    bytes: ColumnBuffer,
    _charge: Charge,
}

/// Rows that an instance made, as far as they are on a device still; they may leave
/// it until they are claimed, and count against the quota of the run.
#[derive(Debug, Default)]
pub struct KeptOutput {
    pub(super) rows: u64,
    /// In the order of the output's columns.
    pub(super) columns: Vec<Option<DeviceRows>>,
}

impl KeptOutput {
    /// What is there, from now on the caller's.
    pub fn claim(self) -> KeptRows {
        let columns = self.columns.into_iter().map(|column| Some(column?.0.lock().held.take()?.bytes));
        KeptRows { rows: self.rows, columns: columns.collect() }
    }
}

/// Rows of an output that are committed and on a device.
#[derive(Debug, Default)]
pub struct KeptRows {
    pub(super) rows: u64,
    /// In the order of the output's columns.
    pub(super) columns: Vec<Option<ColumnBuffer>>,
}

impl KeptRows {
    /// Whether no column is.
    pub fn is_empty(&self) -> bool {
        self.columns.iter().all(Option::is_none)
    }
}

impl DeviceRows {
    /// Zeros, as many as `host` has, which it takes over; none where there is no room.
    pub(super) fn new(place: &Place, host: &mut Bytes) -> Result<Option<Self>> {
        let Some(mut held) = room(Held::take(place, host.len()))? else { return Ok(None) };
        held.bytes.append_filled(0, host.len())?;
        let state = State { held: Some(held), host: std::mem::take(host), is_read: false, used: tick() };
        let rows = Arc::new(Rows { place: place.clone(), state: Mutex::new(state) });
        let idle: Weak<dyn Idle> = Arc::<Rows>::downgrade(&rows);
        place.quota.on_shortage(Weak::clone(&idle));
        place.pool.on_shortage(idle);
        Ok(Some(Self(rows)))
    }

    /// Works on the column's memory on the host.
    pub(super) fn host<T>(&self, work: impl FnOnce(&mut Bytes) -> T) -> T {
        work(&mut self.0.lock().host)
    }

    /// Follows when the host's memory has another length; new bytes are zero. False
    /// where there is no room.
    pub(super) fn resize(&self) -> Result<bool> {
        let (length, capacity) = {
            let state = self.0.lock();
            let Some(held) = &state.held else { return Ok(true) };
            (state.host.len(), held.bytes.capacity_bytes())
        };
        let wanted = match length {
            more if more > capacity => more.max(capacity.saturating_add(capacity / 2)),
            few if few < capacity / 2 && capacity > ALIGNMENT_BYTES => few,
            _ => capacity,
        };
        let mut other = None;
        if wanted != capacity {
            other = room(Held::take(&self.0.place, wanted))?;
            if other.is_none() {
                return Ok(false);
            }
        }
        let mut state = self.0.lock();
        let Some(held) = &mut state.held else { return Ok(false) };
        held.bytes.truncate(length);
        if let Some(mut other) = other {
            other.bytes.append_buffer(&held.bytes.view())?;
            *held = other;
        }
        held.bytes.append_filled(0, length - held.bytes.len())?;
        state.is_read = false;
        Ok(true)
    }

    /// Overwrites bytes from `at` on; not where they were given up.
    pub(super) fn write(&self, at: usize, source: &Buffer) -> Result<bool> {
        let mut state = self.0.lock();
        let Some(held) = &mut state.held else { return Ok(false) };
        held.bytes.overwrite(at, source)?;
        (state.is_read, state.used) = (false, tick());
        Ok(true)
    }

    /// Copies all bytes to the host.
    pub(super) fn read_back(&self, kill: &KillSwitch) -> Result<()> {
        self.0.lock().read_back(&self.0.place.read_bytes, kill)
    }

    /// Whether they are here, and the host has them as well.
    pub(super) fn is_read(&self) -> bool {
        let state = self.0.lock();
        state.is_read && state.held.is_some()
    }
}

impl Held {
    /// Room for so many bytes, all of it counted; nothing of the run gives way to it.
    fn take(place: &Place, length: usize) -> Result<Self> {
        let mut charge = place.quota.charge_spare(length as u64)?;
        let bytes = ColumnBuffer::new(&place.pool, length)?;
        charge.grow((bytes.capacity_bytes() as u64).saturating_sub(charge.bytes()))?;
        Ok(Self { bytes, _charge: charge })
    }
}

impl State {
    fn read_back(&mut self, read_bytes: &AtomicU64, kill: &KillSwitch) -> Result<()> {
        let (Some(held), false) = (&self.held, self.is_read) else { return Ok(()) };
        // They differ only while the column is made longer or shorter.
        let length = held.bytes.len().min(self.host.len());
        let (mut at, bytes) = (0, held.bytes.view());
        for to in self.host.get_mut(0, length).unwrap_or_default().chunks_mut(COPIED_BYTES) {
            kill.check()?;
            let mut moved_bytes = 0;
            let read = bytes.slice(at, to.len())?.read_counted(to, &mut moved_bytes);
            read_bytes.fetch_add(moved_bytes, Ordering::Relaxed);
            read?;
            at += to.len();
        }
        self.is_read = true;
        Ok(())
    }
}

impl Rows {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for Rows {
    fn idle_bytes(&self) -> u64 {
        self.lock().held.as_ref().map_or(0, |held| held.bytes.capacity_bytes() as u64)
    }

    fn oldest(&self) -> Option<u64> {
        let state = self.lock();
        state.held.as_ref().map(|_| state.used)
    }

    fn give_oldest(&self) -> u64 {
        let mut state = self.lock();
        // What cannot be read is its run's to find out.
        if state.read_back(&self.place.read_bytes, &KillSwitch::new()).is_err() {
            return 0;
        }
        state.held.take().map_or(0, |held| held.bytes.capacity_bytes() as u64)
    }
}

/// None where quota or device have no room.
fn room<T>(made: Result<T>) -> Result<Option<T>> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(Error::Limit { .. } | Error::OutOfMemory { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}
