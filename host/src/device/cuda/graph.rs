//! Work that is recorded once and replayed with one call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::gpu::Gpu;
use super::owner::Shared;
use crate::base::Result;

/// Recorded work of a device. It holds addresses, not memory: who replays it keeps
/// the blocks that it uses.
pub struct Graph {
    graph: sys::CUgraphExec,
    /// Bytes that each replay copies on the device.
    copied_bytes: u64,
    /// Keeps the modules of its kernels.
    pins: Vec<Arc<()>>,
    shared: Arc<Shared>,
}

/// A graph on its way to the thread that destroys it.
struct Ended(sys::CUgraphExec);

// SAFETY: the graph is only used on the owner thread.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}
// SAFETY: as above.
unsafe impl Send for Ended {}

impl Gpu {
    /// Records what `record` puts on the stream, instead of executing it. Kernels
    /// are compiled and cuBLAS is opened before: what is recorded may take no
    /// memory, wait for nothing, and copy nothing from or to the host.
    pub fn capture(&self, record: impl FnOnce(&Self) -> Result<()>) -> Result<Graph> {
        self.ready_outside_graph("a graph was recorded")?;
        let before = self.shared.counts.copied_bytes.load(Ordering::Relaxed);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this device's.
        self.told("cuStreamBeginCapture", unsafe { result::stream::begin_capture(self.stream, mode) })?;
        let recording = Recording::begin(self);
        let recorded = record(self);
        let graph = recording.end().map(Recorded);
        let copied_bytes = self.shared.counts.copied_bytes.load(Ordering::Relaxed) - before;
        self.shared.counts.copied_bytes.fetch_sub(copied_bytes, Ordering::Relaxed);
        let pins = self.modules.borrow_mut().recorded();
        recorded?;
        let graph = graph?;
        // SAFETY: the graph was just recorded.
        let made = unsafe { result::graph::instantiate(graph.0, sys::CUgraphInstantiate_flags(0)) };
        let graph = self.told("cuGraphInstantiate", made)?;
        Ok(Graph { graph, copied_bytes, pins, shared: Arc::clone(&self.shared) })
    }

    /// Does what was recorded, after all that is on the stream.
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        self.ready_outside_graph("a graph was replayed")?;
        self.own(&graph.shared)?;
        // SAFETY: a graph of this device; who replays it keeps its memory.
        self.told("cuGraphLaunch", unsafe { result::graph::launch(graph.graph, self.stream) })?;
        self.shared.counts.replays.fetch_add(1, Ordering::Relaxed);
        self.shared.counts.copied_bytes.fetch_add(graph.copied_bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// The stream while it records; it stops when this is dropped.
struct Recording<'a>(&'a Gpu);

impl<'a> Recording<'a> {
    fn begin(gpu: &'a Gpu) -> Self {
        gpu.is_capturing.set(true);
        Self(gpu)
    }

    /// What was recorded.
    fn end(self) -> Result<sys::CUgraph> {
        self.0.is_capturing.set(false);
        // SAFETY: the stream records.
        let ended = unsafe { result::stream::end_capture(self.0.stream) };
        if ended.is_err() {
            // It may still record; when it does not, this does nothing.
            // SAFETY: as above; what was recorded is not used.
            drop(unsafe { result::stream::end_capture(self.0.stream) }.map(Recorded));
        }
        self.0.told("cuStreamEndCapture", ended)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        // Only after a panic it still records.
        if self.0.is_capturing.replace(false) {
            // SAFETY: the stream records; what was recorded is not used.
            let ended = unsafe { result::stream::end_capture(self.0.stream) };
            drop(ended.map(Recorded));
        }
    }
}

/// What was recorded, before it can be replayed.
struct Recorded(sys::CUgraph);

impl Drop for Recorded {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: given by the end of a recording; replays have their own copy.
            let _ = unsafe { result::graph::destroy(self.0) };
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let (ended, pins) = (Ended(self.graph), std::mem::take(&mut self.pins));
        // With a device that is gone its graphs are, too.
        let _ = self.shared.post(Box::new(move |gpu| {
            let ended = ended;
            if gpu.ready().is_ok() {
                // SAFETY: made by this device, and nobody has it any more. The driver
                // keeps what is under way.
                let _ = gpu.told("cuGraphExecDestroy", unsafe { result::graph::exec_destroy(ended.0) });
            }
            drop(pins);
        }));
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Graph({})", self.shared.name)
    }
}
