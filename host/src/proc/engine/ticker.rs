//! The clock by which guests that compute look at their kill switch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Time between two looks at the kill switch of a guest that computes.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// Advances the engine's epoch while an instance exists, and sleeps otherwise.
pub(super) struct Ticker {
    instances: AtomicU64,
    lock: Mutex<()>,
    wake: Condvar,
}

/// An instance that needs ticks.
pub(in crate::proc) struct Ticking(Arc<Ticker>);

impl Ticker {
    /// Starts its thread.
    pub(super) fn start(engine: wasmtime::Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self { instances: AtomicU64::new(0), lock: Mutex::new(()), wake: Condvar::new() });
        let own = ticker.clone();
        std::thread::Builder::new().name("quern-epoch".into()).spawn(move || own.tick(&engine))?;
        Ok(ticker)
    }

    fn tick(&self, engine: &wasmtime::Engine) {
        loop {
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while self.instances.load(Ordering::Acquire) == 0 {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            drop(guard);
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    /// Instances that exist now.
    pub(super) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Acquire)
    }

    /// Keeps time ticking while the answer lives.
    pub(super) fn hold(self: &Arc<Self>) -> Ticking {
        if self.instances.fetch_add(1, Ordering::AcqRel) == 0 {
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_one();
        }
        Ticking(Arc::clone(self))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::AcqRel);
    }
}
