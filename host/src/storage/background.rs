//! Work that nobody waits for: rows that have gathered in the catalog move to
//! files, on a thread of its own, after the commit that made them due was
//! answered. Readers are not kept waiting, and who commits only for the short
//! transaction at the end of the move.
//!
//! The thread begins with the first rows that are due and ends with the
//! storage. A move that fails is tried again after the next append.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::{Inner, Storage};

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
    /// Lets rows of tables that are due move to files, some time later.
    pub(super) fn flush_later(&self, tables: Vec<String>) {
        for table in tables.into_iter().filter(|table| self.is_due(table).unwrap_or(false)) {
            // Without the thread rows stay in the catalog for longer.
            drop(self.0.background.tables.get_or_init(|| start(&self.0)).send(table));
        }
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
    while let Ok(table) = tables.recv() {
        let tables: BTreeSet<String> = tables.try_iter().chain([table]).collect();
        let Some(storage) = storage.upgrade().map(Storage) else { return };
        for table in tables {
            // Another move may have come first. The rows are safe where they are.
            if storage.is_due(&table).unwrap_or(false) {
                drop(storage.flush_inlined(&table));
            }
        }
    }
}
