//! Work that nobody waits for, on a thread of its own: rows that have gathered
//! in the catalog move to files, small files are merged, files that others took
//! the place of are removed. Readers are not kept waiting, and who commits only
//! for the short transaction at the end of a move.
//!
//! The thread begins with the first rows that are added and ends with the
//! storage. It looks at a table when a commit made something due, and at all of
//! them every [`TICK`]. A move that fails is tried again at the next tick; a
//! table whose files cannot be merged is left as it is until the next open.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Inner, REMOVAL_AGE, Storage};
use crate::base::Result;

/// For how long few rows wait in the catalog.
const FLUSH_AGE: Duration = Duration::from_secs(60);

/// How often all tables are looked at.
const TICK: Duration = Duration::from_secs(20);

/// The way to the thread.
#[derive(Default)]
pub(super) struct Background {
    tables: OnceLock<Sender<String>>,
    /// Held while rows are moved.
    moving: Mutex<()>,
}

impl Background {
    /// Waits until nobody else moves rows.
    pub(super) fn moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage {
    /// Looks, some time later, at tables that rows were added to.
    pub(super) fn tidy_later(&self, tables: Vec<String>) {
        let background = &self.0.background;
        for table in tables {
            // Without the thread everything stays where it is for longer.
            let thread = background.tables.get_or_init(|| start(&self.0));
            if self.is_due(&table).unwrap_or(false) {
                drop(thread.send(table));
            }
        }
    }

    fn is_due(&self, table: &str) -> Result<bool> {
        let table = self.snapshot()?.table(table)?;
        Ok(Self::has_small_files(&table) || self.has_many_inlined(&table)?)
    }
}

fn start(storage: &Arc<Inner>) -> Sender<String> {
    let (sender, tables) = channel();
    let storage = Arc::downgrade(storage);
    let thread = std::thread::Builder::new().name("quern-storage".into());
    drop(thread.spawn(move || work(&storage, &tables)));
    sender
}

fn work(storage: &Weak<Inner>, tables: &Receiver<String>) {
    let mut unmergeable = BTreeSet::new();
    let mut next = Instant::now() + TICK;
    loop {
        let due: BTreeSet<String> = match tables.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(table) => tables.try_iter().chain([table]).collect(),
            Err(RecvTimeoutError::Timeout) => BTreeSet::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(storage) = storage.upgrade().map(Storage) else { return };
        for table in due {
            tidy(&storage, &table, &mut unmergeable);
        }
        if next <= Instant::now() {
            // What fails is tried again.
            drop(storage.flush_older(FLUSH_AGE));
            let snapshot = storage.snapshot();
            for table in snapshot.iter().flat_map(|snapshot| snapshot.tables()) {
                tidy(&storage, &table.name, &mut unmergeable);
            }
            drop(storage.remove_replaced(REMOVAL_AGE));
            next = Instant::now() + TICK;
        }
    }
}

/// Does what is due to a table. Until it succeeds the rows are safe where they are.
fn tidy(storage: &Storage, name: &str, unmergeable: &mut BTreeSet<String>) {
    let Ok(table) = storage.snapshot().and_then(|snapshot| snapshot.table(name)) else { return };
    if storage.has_many_inlined(&table).unwrap_or(false) {
        drop(storage.flush_inlined(name));
    }
    if !unmergeable.contains(name) && storage.merge_files(name).is_err() {
        unmergeable.insert(name.to_owned());
    }
}
