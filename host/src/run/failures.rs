//! What the failures of instances mean for their run: which is tried again, when
//! the others are stopped, and what the run says in the end.

use std::collections::BTreeMap;

use super::live::Live;
use super::request::OnFailure;
use crate::base::{Error, ErrorCode, Result};

/// Failures of the instances of one run.
pub(super) struct Failures {
    on_failure: OnFailure,
    retries: u32,
    instances: u32,
    /// How often instances were tried again, by number.
    again: BTreeMap<u32, u32>,
    /// In the order they came.
    errors: Vec<(u32, Error)>,
    killed: Option<Error>,
}

impl Failures {
    /// None so far.
    pub(super) fn new(live: &Live) -> Self {
        let instances = live.status().run.instances;
        let (on_failure, retries) = (live.submission.request.on_failure, live.submission.request.retries);
        Self { on_failure, retries, instances, again: BTreeMap::new(), errors: Vec::new(), killed: None }
    }

    /// Whether an instance that failed is to be tried again; why, for its log.
    /// Faults of the host may pass; what a proc does, it does again.
    pub(super) fn again(&mut self, instance: u32, error: &Error) -> Option<String> {
        let times = self.again.entry(instance).or_default();
        if !is_of_host(error) || *times >= self.retries || self.stop() {
            return None;
        }
        let times = self.again.entry(instance).or_default();
        *times += 1;
        Some(format!("instance {instance} is tried again ({times} of {}): {}", self.retries, error.chain()))
    }

    /// Adds the failure of an instance.
    pub(super) fn add(&mut self, instance: u32, error: Error) {
        self.errors.push((instance, error));
    }

    /// Notes that the run was killed, or is past its deadline.
    pub(super) fn killed(&mut self, error: Error) {
        if self.errors.is_empty() || self.on_failure == OnFailure::KeepGoing {
            self.killed.get_or_insert(error);
        }
    }

    /// Whether the instances that still run are to be stopped.
    pub(super) fn stop(&self) -> bool {
        self.on_failure == OnFailure::Stop && !self.errors.is_empty()
    }

    /// Why the run failed: the kill, the first failure, or all of them.
    pub(super) fn into_result(self) -> Result<()> {
        if let Some(killed) = self.killed {
            return Err(killed);
        }
        let mut errors = self.errors;
        if self.on_failure == OnFailure::KeepGoing && errors.len() > 1 {
            errors.sort_by_key(|(instance, _)| *instance);
            let list: Vec<_> =
                errors.iter().map(|(instance, error)| format!("instance {instance}: {}", error.chain())).collect();
            let (failed, all) = (errors.len(), self.instances);
            return Err(Error::Invalid(format!("{failed} of {all} instances failed: {}", list.join("; "))));
        }
        match errors.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether the host failed, not the proc. A proc that passes on that the device was
/// full has done nothing wrong: others filled it, who may be gone by then.
fn is_of_host(error: &Error) -> bool {
    match error {
        Error::Proc { code, .. } => *code == ErrorCode::OutOfMemory,
        Error::Trap { .. } | Error::Killed { .. } => false,
        other => matches!(other.code(), ErrorCode::Internal | ErrorCode::OutOfMemory),
    }
}
