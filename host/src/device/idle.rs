//! What keeps memory of a device for the next who needs it, and gives it up when
//! the device is full: columns that no run reads, models that no run holds. What
//! was not used for longest leaves first, whoever keeps it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Keeps memory of a device that nobody uses now. Called while somebody takes
/// memory, so it must take none itself.
pub trait Idle: Send + Sync {
    /// Bytes that it could give up now.
    fn idle_bytes(&self) -> u64;

    /// When the oldest of what it could give up was last used, by [`tick`].
    fn oldest(&self) -> Option<u64>;

    /// Gives up the oldest; its bytes, 0 when there is nothing.
    fn give_oldest(&self) -> u64;
}

/// The number of a use: later ones are greater, so that uses of all kinds compare.
pub fn tick() -> u64 {
    static USES: AtomicU64 = AtomicU64::new(1);
    USES.fetch_add(1, Ordering::Relaxed)
}

/// Those that are asked when memory is short, as long as they live.
#[derive(Debug, Default)]
pub(super) struct Keepers(Mutex<Vec<Weak<dyn Idle>>>);

impl Keepers {
    /// From now on `idle` is asked too.
    pub(super) fn add(&self, idle: Weak<dyn Idle>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|idle| idle.strong_count() > 0);
        known.push(idle);
    }

    /// Those that live.
    pub(super) fn living(&self) -> Living {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Living(known.iter().filter_map(Weak::upgrade).collect())
    }
}

/// Keepers that are asked now.
pub(super) struct Living(Vec<Arc<dyn Idle>>);

/// Memory that is wanted, and what of it is there without asking anybody.
pub(super) struct Shortage {
    pub(super) wanted_bytes: u64,
    pub(super) free_bytes: u64,
}

impl Living {
    /// Bytes that they could give up. Who gives something up for others now answers when
    /// that is done: what is free is known only after this.
    pub(super) fn idle_bytes(&self) -> u64 {
        self.0.iter().map(|keeper| keeper.idle_bytes()).sum()
    }

    /// Lets what they keep leave, the oldest first, until there is what is wanted; whether
    /// any left. None does where all of it, `idle_bytes`, would not do.
    pub(super) fn reclaim(mut self, shortage: &Shortage, idle_bytes: u64) -> bool {
        let Shortage { wanted_bytes, free_bytes } = *shortage;
        if free_bytes.saturating_add(idle_bytes) < wanted_bytes {
            return false;
        }
        let mut given_bytes = 0;
        while given_bytes == 0 || free_bytes.saturating_add(given_bytes) < wanted_bytes {
            let uses = self.0.iter().enumerate().filter_map(|(place, keeper)| Some((keeper.oldest()?, place)));
            let Some((_, oldest)) = uses.min() else { break };
            match self.0.get(oldest).map_or(0, |keeper| keeper.give_oldest()) {
                // One that could not is not asked again; the others are.
                0 => drop(self.0.swap_remove(oldest)),
                more => given_bytes += more,
            }
        }
        given_bytes > 0
    }
}
