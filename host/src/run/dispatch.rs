//! Who may execute when. There are as many places as the limit
//! `running_instances` says. A run leaves the queue, first come first served,
//! when a place is free; its further instances take the next free places,
//! before other runs begin.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backend::{Contact, Descriptor, Done};
use super::live::Live;
use crate::base::RunId;

/// The queue and the places.
pub(super) struct Dispatch {
    state: Mutex<State>,
}

struct State {
    free: u64,
    live: BTreeMap<RunId, Arc<Live>>,
    queue: VecDeque<Arc<Live>>,
    waiting: VecDeque<Start>,
}

/// An instance that waits for a place.
pub(super) struct Start {
    pub(super) live: Arc<Live>,
    pub(super) descriptor: Descriptor,
    pub(super) contact: Contact,
    pub(super) done: Done,
}

/// What has got a place.
pub(super) enum Next {
    Run(Arc<Live>),
    Instance(Box<Start>),
}

impl Dispatch {
    pub(super) fn new(places: u64) -> Self {
        let state =
            State { free: places.max(1), live: BTreeMap::new(), queue: VecDeque::new(), waiting: VecDeque::new() };
        Self { state: Mutex::new(state) }
    }

    /// Adds a run at the end of the queue.
    pub(super) fn enqueue(&self, live: &Arc<Live>) {
        let mut state = self.state();
        state.live.insert(live.id, Arc::clone(live));
        state.queue.push_back(Arc::clone(live));
    }

    /// Adds an instance that waits for a place.
    pub(super) fn wait(&self, start: Start) {
        self.state().waiting.push_back(start);
    }

    /// Gives a free place to whoever is next.
    pub(super) fn next(&self) -> Option<Next> {
        let mut state = self.state();
        if state.free == 0 {
            return None;
        }
        let waiting = state.waiting.pop_front().map(|start| Next::Instance(Box::new(start)));
        let next = waiting.or_else(|| state.queue.pop_front().map(Next::Run))?;
        state.free -= 1;
        Some(next)
    }

    /// Takes a place back.
    pub(super) fn release(&self) {
        self.state().free += 1;
    }

    /// Takes a run's instances that still wait out; answers how many.
    pub(super) fn withdraw(&self, run: RunId) -> usize {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|start| start.live.id != run);
        before - state.waiting.len()
    }

    /// Takes a run out of the queue.
    pub(super) fn leave(&self, run: RunId) {
        self.state().queue.retain(|live| live.id != run);
    }

    /// Forgets a run that has ended and whose record is stored.
    pub(super) fn forget(&self, run: RunId) {
        self.state().live.remove(&run);
    }

    /// A run that has not ended.
    pub(super) fn find(&self, run: RunId) -> Option<Arc<Live>> {
        self.state().live.get(&run).cloned()
    }

    /// All runs that have not ended, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.state().live.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
