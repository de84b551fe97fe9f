//! What a run uses of a device, against the limits `device_bytes`, `device_time_ms`
//! and `programs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Idle;
use super::idle::{Keepers, Shortage};
use crate::base::{Limits, Result};

/// A shared count of bytes with a ceiling. Clones count together.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Counts>);

/// The numbers behind a quota.
#[derive(Debug)]
struct Counts {
    used_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    allowed_bytes: u64,
    programs: AtomicU64,
    spent_us: AtomicU64,
    /// Who holds what is counted and can be given up.
    keepers: Keepers,
}

impl Quota {
    /// A quota of `allowed_bytes`.
    pub fn new(allowed_bytes: u64) -> Self {
        Self(Arc::new(Counts {
            used_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            allowed_bytes,
            programs: AtomicU64::new(0),
            spent_us: AtomicU64::new(0),
            keepers: Keepers::default(),
        }))
    }

    /// Counts `bytes` until the returned charge is dropped; what can be given up makes
    /// room. `Error::Limit` with the limit `device_bytes` when they do not fit.
    pub fn charge(&self, bytes: u64) -> Result<Charge> {
        let mut charged = self.charge_spare(bytes);
        // Others may have taken what was given up for this one.
        while charged.is_err() && self.reclaim(bytes) {
            charged = self.charge_spare(bytes);
        }
        charged
    }

    /// From now on `idle`, of which bytes are counted here, is asked before the quota is
    /// called full, as long as it lives.
    pub fn on_shortage(&self, idle: Weak<dyn Idle>) {
        self.0.keepers.add(idle);
    }

    /// Lets what can be given up leave, until `bytes` may fit; whether any left.
    fn reclaim(&self, bytes: u64) -> bool {
        let keepers = self.0.keepers.living();
        let idle_bytes = keepers.idle_bytes();
        let free_bytes = self.allowed_bytes().saturating_sub(self.used_bytes());
        keepers.reclaim(&Shortage { wanted_bytes: bytes, free_bytes }, idle_bytes)
    }

    /// The same where nothing is given up for it.
    pub fn charge_spare(&self, bytes: u64) -> Result<Charge> {
        let counts = &self.0;
        let added = counts.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= counts.allowed_bytes)
        });
        match added {
            Ok(before) => {
                counts.peak_bytes.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(Charge { quota: self.clone(), bytes })
            }
            Err(used) => Err(Limits::exceeded("device_bytes", used.saturating_add(bytes), counts.allowed_bytes)),
        }
    }

    /// A place for one prepared program, of which all who share the quota have
    /// `allowed` together; none when all are taken.
    pub fn prepare(&self, allowed: u64) -> Option<Prepared> {
        let more = |programs: u64| Some(programs + 1).filter(|more| *more <= allowed);
        self.0.programs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Prepared(self.clone()))
    }

    /// Counts device time.
    pub fn spend(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.spent_us.fetch_add(time_us, Ordering::Relaxed);
    }

    /// Milliseconds of device time counted.
    pub fn spent_ms(&self) -> u64 {
        self.0.spent_us.load(Ordering::Relaxed) / 1000
    }

    /// Bytes counted now.
    pub fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The most that was ever counted at once.
    pub fn peak_bytes(&self) -> u64 {
        self.0.peak_bytes.load(Ordering::Relaxed)
    }

    /// The ceiling.
    pub fn allowed_bytes(&self) -> u64 {
        self.0.allowed_bytes
    }
}

/// Bytes counted against a quota; dropping it gives them back.
#[derive(Debug)]
pub struct Charge {
    quota: Quota,
    bytes: u64,
}

impl Charge {
    /// The bytes it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `further` bytes as well, where nothing is given up for them.
    pub fn grow(&mut self, further: u64) -> Result<()> {
        let mut charge = self.quota.charge_spare(further)?;
        self.bytes += std::mem::take(&mut charge.bytes);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.quota.0.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The place of one prepared program; dropping it gives it back.
#[derive(Debug)]
pub struct Prepared(Quota);

impl Drop for Prepared {
    fn drop(&mut self) {
        self.0.0.programs.fetch_sub(1, Ordering::Relaxed);
    }
}
