//! The calls that the owner thread of a device makes. All of them put work on the
//! one stream of the device, in the order in which they are made, and return;
//! only a download, [`Gpu::synchronise`] and a wait for a mark wait.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use super::clock::Clock;
use super::cublas::Blas;
use super::failure::{Failure, Severity};
use super::modules::Modules;
use super::owner::Shared;
use super::probe::Info;
use super::staging::Staging;
use crate::base::{Error, Result};

/// A device on its owner thread.
pub struct Gpu {
    device: i32,
    pub(super) info: Info,
    pub(super) stream: sys::CUstream,
    pub(super) shared: Arc<Shared>,
    pub(super) modules: RefCell<Modules>,
    pub(super) blas: RefCell<Option<Blas>>,
    staging: RefCell<Staging>,
    pub(super) clock: Cell<Option<Clock>>,
    pub(super) is_capturing: Cell<bool>,
}

impl Gpu {
    /// Opens the device for this thread, which owns it from now on.
    pub(super) fn open(info: &Info, shared: Arc<Shared>) -> Result<Self> {
        let told = |call| {
            let name = shared.name.clone();
            move |error: DriverError| Failure::of_driver(call, error).into_error(&name)
        };
        let ordinal = i32::try_from(info.ordinal).map_err(|_| Error::Internal("a device's number".to_owned()))?;
        let device = result::device::get(ordinal).map_err(told("cuDeviceGet"))?;
        // SAFETY: the device was just given; what fails later gives the context back.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(told("cuDevicePrimaryCtxRetain"))?;
        let release = |error| {
            // SAFETY: retained above, and not used any more. What failed may have left
            // the context unusable for the next one.
            unsafe {
                let _ = sys::cuDevicePrimaryCtxReset_v2(device);
                let _ = result::primary_ctx::release(device);
            }
            error
        };
        // SAFETY: the context was just given.
        unsafe { result::ctx::set_current(context) }.map_err(told("cuCtxSetCurrent")).map_err(release)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = stream.map_err(told("cuStreamCreate")).map_err(release)?;
        Ok(Self {
            device,
            info: info.clone(),
            stream,
            shared,
            modules: RefCell::default(),
            blas: RefCell::default(),
            staging: RefCell::default(),
            clock: Cell::default(),
            is_capturing: Cell::new(false),
        })
    }

    /// Gives all back. Of a lost device nothing can be given back one by one.
    pub(super) fn close(self) {
        if !self.shared.is_lost() {
            let _ = self.synchronise();
            if let Some(blas) = self.blas.take() {
                blas.close();
            }
            self.staging.take().close();
            if let Some(clock) = self.clock.take() {
                clock.close();
            }
            self.modules.take().close();
            // SAFETY: nothing is on the stream any more.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
        // SAFETY: retained once; nobody uses it after this.
        unsafe {
            if self.shared.is_lost() {
                let _ = sys::cuDevicePrimaryCtxReset_v2(self.device);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }

    /// Whether this is the device of `shared`.
    pub(super) fn is_of(&self, shared: &Shared) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.shared), shared)
    }

    /// `cuda:0`, ….
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The result of a call of the driver. One that loses the device is noted.
    pub(super) fn told<T>(&self, call: &'static str, result: Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| self.failed(Failure::of_driver(call, error)))
    }

    /// A failure as an error.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        match failure.severity {
            // SAFETY: the stream is this device's.
            Severity::Doubtful if unsafe { result::stream::synchronize(self.stream) }.is_ok() => {
                failure.into_error(self.name())
            }
            Severity::Lost | Severity::Doubtful => {
                self.shared.lose(failure.text());
                self.shared.gone()
            }
            Severity::Full => Error::OutOfMemory {
                device: self.name().to_owned(),
                requested: 0,
                allowed: self.info.memory_bytes,
                // Asked past `told`, which would come here again where this is refused too.
                free: result::mem_get_info().map_or(0, |(free, _)| free as u64),
            },
            Severity::Call => failure.into_error(self.name()),
        }
    }

    /// Nothing is called once the device is lost.
    pub(super) fn ready(&self) -> Result<()> {
        if self.shared.is_lost() { Err(self.shared.gone()) } else { Ok(()) }
    }

    /// The same, for what cannot be recorded in a graph.
    pub(super) fn ready_outside_graph(&self, what: &str) -> Result<()> {
        match self.is_capturing.get() {
            true => Err(Error::Internal(format!("{what} while a graph is recorded"))),
            false => self.ready(),
        }
    }

    /// Memory that nobody has, in bytes.
    pub fn free_bytes(&self) -> Result<u64> {
        self.ready()?;
        Ok(self.told("cuMemGetInfo", result::mem_get_info())?.0 as u64)
    }

    /// The address of `size_bytes` bytes, which hold anything.
    pub(in crate::device) fn allocate(&self, size_bytes: usize) -> Result<u64> {
        self.ready_outside_graph("memory was asked for")?;
        // SAFETY: the caller frees it, or it goes with the context.
        let allocated = unsafe { result::malloc_sync(size_bytes) };
        self.told("cuMemAlloc", allocated).map_err(|error| match error {
            Error::OutOfMemory { device, allowed, free, .. } => {
                Error::OutOfMemory { device, requested: size_bytes as u64, allowed, free }
            }
            other => other,
        })
    }

    /// Gives memory back that nothing queued uses, except before in the stream.
    ///
    /// # Safety
    /// Given by [`Self::allocate`] of this device, and not used any more.
    pub(in crate::device) unsafe fn free(&self, address: u64) -> Result<()> {
        self.ready()?;
        // SAFETY: as the caller promises; the driver waits for what uses it.
        self.told("cuMemFree", unsafe { result::free_sync(address) })
    }

    /// Sets `size_bytes` bytes to `byte`.
    pub fn fill(&self, address: u64, byte: u8, size_bytes: usize) -> Result<()> {
        self.ready()?;
        if size_bytes == 0 {
            return Ok(());
        }
        // SAFETY: the driver checks the range against its allocations.
        self.told("cuMemsetD8Async", unsafe { result::memset_d8_async(address, byte, size_bytes, self.stream) })
    }

    /// Copies on the device; the ranges do not overlap.
    pub fn copy(&self, from: u64, to: u64, size_bytes: usize) -> Result<()> {
        self.ready()?;
        if size_bytes == 0 {
            return Ok(());
        }
        // SAFETY: the driver checks both ranges against its allocations.
        let copied = unsafe { result::memcpy_dtod_async(to, from, size_bytes, self.stream) };
        self.told("cuMemcpyDtoDAsync", copied)?;
        self.shared.counts.copied_bytes.fetch_add(size_bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Copies `bytes` to the device; they may change as soon as this returns.
    pub fn upload(&self, bytes: &[u8], to: u64) -> Result<()> {
        self.ready_outside_graph("bytes were uploaded")?;
        self.staging.borrow_mut().upload(self, bytes, to)?;
        self.shared.counts.uploaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Copies from the device, after all that is on the stream.
    pub fn download(&self, from: u64, into: &mut [u8]) -> Result<()> {
        self.download_counted(from, into, &mut 0)
    }

    /// As [`Self::download`]. What moved is added to `moved_bytes`, also where a later
    /// call of the driver fails.
    pub fn download_counted(&self, from: u64, into: &mut [u8], moved_bytes: &mut u64) -> Result<()> {
        self.ready_outside_graph("bytes were downloaded")?;
        let mut sent_bytes = 0;
        let downloaded = self.staging.borrow_mut().download(self, from, into, &mut sent_bytes);
        self.shared.counts.downloaded_bytes.fetch_add(sent_bytes, Ordering::Relaxed);
        *moved_bytes += sent_bytes;
        downloaded
    }

    /// Waits until nothing is on the stream.
    pub fn synchronise(&self) -> Result<()> {
        self.ready_outside_graph("the stream was waited for")?;
        // SAFETY: the stream is this device's.
        self.told("cuStreamSynchronize", unsafe { result::stream::synchronize(self.stream) })
    }

    /// A place in the stream: here.
    pub fn mark(&self) -> Result<Mark> {
        self.ready_outside_graph("a mark was made")?;
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let event = self.told("cuEventCreate", result::event::create(flags))?;
        let mark = Mark { event, shared: Arc::clone(&self.shared) };
        // SAFETY: the event was just made, the stream is this device's.
        self.told("cuEventRecord", unsafe { result::event::record(event, self.stream) })?;
        Ok(mark)
    }

    /// Waits until all before the mark has ended.
    pub fn wait_for(&self, mark: &Mark) -> Result<()> {
        self.ready_outside_graph("a mark was waited for")?;
        self.own(&mark.shared)?;
        // SAFETY: an event of this device.
        self.told("cuEventSynchronize", unsafe { result::event::synchronize(mark.event) })
    }

    /// Milliseconds that the device took from one mark to a later one, after waiting for it.
    pub fn elapsed_ms(&self, from: &Mark, to: &Mark) -> Result<f64> {
        self.own(&from.shared)?;
        self.wait_for(to)?;
        // SAFETY: both are events of this device that were recorded.
        self.told("cuEventElapsedTime", unsafe { result::event::elapsed(from.event, to.event) }).map(f64::from)
    }

    /// Refuses what was made by another device, or by this one before it was lost.
    pub(super) fn own(&self, shared: &Arc<Shared>) -> Result<()> {
        match self.is_of(shared) {
            true => Ok(()),
            false => Err(shared.gone()),
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.name())
    }
}

/// A place in the stream of a device.
pub struct Mark {
    event: sys::CUevent,
    shared: Arc<Shared>,
}

// SAFETY: the event is only used on the owner thread.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

/// An event on its way to the thread that destroys it.
struct Ended(sys::CUevent);

// SAFETY: as above.
unsafe impl Send for Ended {}

impl Drop for Mark {
    fn drop(&mut self) {
        let ended = Ended(self.event);
        // With a device that is gone its events are, too.
        let _ = self.shared.post(Box::new(move |gpu| {
            let ended = ended;
            if gpu.ready().is_ok() {
                // SAFETY: made by this device, and nobody has it any more.
                let _ = gpu.told("cuEventDestroy", unsafe { result::event::destroy(ended.0) });
            }
        }));
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mark({})", self.shared.name)
    }
}
