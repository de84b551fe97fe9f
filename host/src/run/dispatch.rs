//! Who may execute when. There are as many places as the limit
//! `running_instances` says, and a proc may have a bound of its own over all its
//! runs. A run leaves the queue, first come first served among those whose proc
//! has room, when a place is free; its further instances take the next free
//! places, before other runs begin. The runs of a sweep are held back until all
//! of them are there.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backend::{Descriptor, InstanceLink, OnDone};
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
    /// Of each proc that has a bound or runs.
    procs: HashMap<String, Proc>,
    /// Sweeps that are still being queued.
    held_sweeps: HashSet<u64>,
    sweeps: u64,
}

/// How many places a proc has taken, and may take.
#[derive(Clone, Copy, Debug, Default)]
struct Proc {
    running: u64,
    allowed: Option<u64>,
}

/// An instance that waits for a place.
pub(super) struct Start {
    pub(super) live: Arc<Live>,
    pub(super) descriptor: Descriptor,
    pub(super) link: InstanceLink,
    pub(super) done: OnDone,
}

/// What has got a place.
pub(super) enum Next {
    Run(Arc<Live>),
    Instance(Box<Start>),
}

impl Dispatch {
    pub(super) fn new(places: u64) -> Self {
        let state = State {
            free: places.max(1),
            live: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting: VecDeque::new(),
            procs: HashMap::new(),
            held_sweeps: HashSet::new(),
            sweeps: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// Adds a run at the end of the queue. `allowed` places are for its proc
    /// from now on.
    pub(super) fn enqueue(&self, live: &Arc<Live>, allowed: Option<u64>) {
        let mut state = self.state();
        state.procs.entry(live.proc.clone()).or_default().allowed = allowed;
        state.live.insert(live.id, Arc::clone(live));
        state.queue.push_back(Arc::clone(live));
    }

    /// Bounds the places of a proc, also for its runs that wait.
    pub(super) fn bound(&self, proc: &str, allowed: Option<u64>) {
        self.state().procs.entry(proc.to_owned()).or_default().allowed = allowed;
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
        let State { waiting, queue, procs, held_sweeps, .. } = &mut *state;
        let has_room = |proc: &str| procs.get(proc).is_none_or(|p| p.allowed.is_none_or(|allowed| p.running < allowed));
        let next = match waiting.iter().position(|start| has_room(&start.live.proc)) {
            Some(at) => waiting.remove(at).map(|start| Next::Instance(Box::new(start))),
            None => {
                let is_held = |live: &Live| live.submission.sweep.is_some_and(|sweep| held_sweeps.contains(&sweep));
                let at = queue.iter().position(|live| has_room(&live.proc) && !is_held(live))?;
                queue.remove(at).map(Next::Run)
            }
        }?;
        let proc = match &next {
            Next::Run(live) => &live.proc,
            Next::Instance(start) => &start.live.proc,
        };
        procs.entry(proc.clone()).or_default().running += 1;
        state.free -= 1;
        Some(next)
    }

    /// Begins a sweep, whose runs stay in the queue until [`Dispatch::release_sweep`].
    pub(super) fn hold_sweep(&self) -> u64 {
        let mut state = self.state();
        state.sweeps += 1;
        let sweep = state.sweeps;
        state.held_sweeps.insert(sweep);
        sweep
    }

    /// Lets the runs of a sweep have places.
    pub(super) fn release_sweep(&self, sweep: u64) {
        self.state().held_sweeps.remove(&sweep);
    }

    /// Takes the place of an instance of `proc` back.
    pub(super) fn release(&self, proc: &str) {
        let mut state = self.state();
        state.free += 1;
        if let Some(taken) = state.procs.get_mut(proc) {
            taken.running = taken.running.saturating_sub(1);
        }
    }

    /// Takes a run's instances that still wait out; answers how many.
    pub(super) fn withdraw(&self, run: RunId) -> usize {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|start| start.live.id != run);
        before - state.waiting.len()
    }

    /// Takes runs out of the queue.
    pub(super) fn leave(&self, runs: &HashSet<RunId>) {
        self.state().queue.retain(|live| !runs.contains(&live.id));
    }

    /// Forgets a run that has ended and whose record is stored.
    pub(super) fn forget(&self, run: RunId) {
        self.state().live.remove(&run);
    }

    /// A run that has not ended.
    pub(super) fn find(&self, run: RunId) -> Option<Arc<Live>> {
        self.state().live.get(&run).cloned()
    }

    /// How many runs have not ended. Those whose end could not be stored are kept, not counted.
    pub(super) fn count(&self) -> usize {
        self.all().iter().filter(|live| !live.has_ended()).count()
    }

    /// All runs that have not ended, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        self.state().live.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
