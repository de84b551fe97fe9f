//! Instances that are Rust instead of WebAssembly, so that what happens around
//! them can be told exactly.

use std::sync::Arc;

use quern::base::{Limits, Result};
use quern::device::KillSwitch;
use quern::proc::Receipt;
use quern::run::{Backend, Descriptor, InstanceLink, Made, Manifest, OnDone};
use quern::storage::ComponentRecord;

/// The name of a component that cannot be made ready.
pub(crate) const UNREADY: &str = "unready";

/// What an instance does: what it made, and what it used.
type Execute = dyn Fn(&Descriptor, &InstanceLink) -> (Result<Made>, Receipt) + Send + Sync;

/// Executes each instance as a function, on a thread of its own.
#[derive(Clone)]
pub(crate) struct RustInstances(Arc<Execute>);

impl RustInstances {
    pub(crate) fn new(
        execute: impl Fn(&Descriptor, &InstanceLink) -> (Result<Made>, Receipt) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(execute))
    }
}

impl Backend for RustInstances {
    fn prepare(&self, component: &ComponentRecord, _: &Limits, _: &KillSwitch) -> Result<()> {
        assert_ne!(component.name, UNREADY, "as the test wants it");
        Ok(())
    }

    fn start(&self, descriptor: Descriptor, link: InstanceLink, done: OnDone) {
        let execute = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let (made, receipt) = execute(&descriptor, &link);
            done(Manifest { instance: descriptor.task.instance, made, receipt });
        });
    }
}
