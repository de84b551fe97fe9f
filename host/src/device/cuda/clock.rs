//! How long a device takes, by its own clock.

use std::time::Duration;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::gpu::Gpu;
use crate::base::Result;

/// Where a measurement begins and where it ends in the stream, made at the first one.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    begun: sys::CUevent,
    ended: sys::CUevent,
}

impl Gpu {
    /// Does `work`, waits for what it put on the stream, and tells how long the device
    /// had it: neither what was on the stream before, nor how long `work` waited.
    pub fn timed<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<(T, Duration)> {
        self.ready_outside_graph("time was measured")?;
        let clock = self.clock()?;
        self.stamp(clock.begun)?;
        let done = work(self)?;
        self.stamp(clock.ended)?;
        self.synchronise()?;
        // SAFETY: both are events of this device that were recorded.
        let elapsed = unsafe { result::event::elapsed(clock.begun, clock.ended) };
        let elapsed_ms = f64::from(self.told("cuEventElapsedTime", elapsed)?);
        Ok((done, Duration::try_from_secs_f64(elapsed_ms / 1e3).unwrap_or_default()))
    }

    fn stamp(&self, event: sys::CUevent) -> Result<()> {
        // SAFETY: an event and the stream of this device.
        self.told("cuEventRecord", unsafe { result::event::record(event, self.stream) })
    }

    fn clock(&self) -> Result<Clock> {
        if let Some(clock) = self.clock.get() {
            return Ok(clock);
        }
        let event = || self.told("cuEventCreate", result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT));
        let begun = event()?;
        let ended = event().inspect_err(|_| {
            // SAFETY: just made, and used by nobody.
            let _ = unsafe { result::event::destroy(begun) };
        })?;
        let clock = Clock { begun, ended };
        self.clock.set(Some(clock));
        Ok(clock)
    }
}

impl Clock {
    /// Gives it back; the device uses nothing of it.
    pub(super) fn close(self) {
        // SAFETY: made by `Gpu::clock`, and not used any more.
        unsafe {
            let _ = result::event::destroy(self.begun);
            let _ = result::event::destroy(self.ended);
        }
    }
}
