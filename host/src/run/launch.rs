//! Free places are given to those who wait: a run begins on a thread of its own,
//! an instance goes to the backend.

use std::sync::Arc;

use super::backend::{Manifest, OnDone};
use super::commit;
use super::dispatch::{Next, Start};
use super::execute;
use super::live::Live;
use super::runs::Inner;
use crate::base::Error;

impl Inner {
    /// Gives free places to those who wait.
    pub(super) fn pump(self: &Arc<Self>) {
        while let Some(next) = self.dispatch.next() {
            match next {
                Next::Instance(start) => self.launch(*start),
                Next::Run(live) => self.begin(live),
            }
        }
    }

    /// Takes the place of a run's instance back and gives it to the next.
    pub(super) fn release(self: &Arc<Self>, live: &Live) {
        self.dispatch.release(&live.proc);
        self.pump();
    }

    /// Starts an instance that has a place.
    pub(super) fn launch(&self, start: Start) {
        let Start { live, descriptor, link, done } = start;
        live.instance_began(descriptor.task.instance);
        let mut on_drop = ManifestOnDrop { instance: descriptor.task.instance, done: Some(done) };
        self.backend.start(descriptor, link, Box::new(move |manifest| on_drop.give(manifest)));
    }

    /// Lets a run that has a place begin, on a thread of its own.
    fn begin(self: &Arc<Self>, live: Arc<Live>) {
        let (this, run) = (Arc::clone(self), Arc::clone(&live));
        let thread = std::thread::Builder::new().name(format!("run {}", live.id));
        if let Err(e) = thread.spawn(move || execute::execute(&this, &run)) {
            commit::record_failure(self, &live, &Error::library("start a thread for a run", e));
            self.dispatch.release(&live.proc);
        }
    }
}

/// Tells a run that an instance has ended, whatever becomes of its thread.
struct ManifestOnDrop {
    instance: u32,
    done: Option<OnDone>,
}

impl ManifestOnDrop {
    fn give(&mut self, manifest: Manifest) {
        if let Some(done) = self.done.take() {
            done(manifest);
        }
    }
}

impl Drop for ManifestOnDrop {
    fn drop(&mut self) {
        let reason = "did not start, or ended without a word; the machine may be out of threads or memory";
        let error = Error::Internal(format!("instance {} {reason}", self.instance));
        self.give(Manifest::failed(self.instance, error));
    }
}
