//! What keeps memory of a device for the next who needs it, and gives it up when
//! the device is full: columns that no run reads, models that no run holds. What
//! was not used for longest leaves first, whoever keeps it.

use std::sync::atomic::{AtomicU64, Ordering};

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
