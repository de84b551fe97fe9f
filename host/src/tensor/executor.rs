//! What sessions of one device share: threads and prepared programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::cuda::Machine;
use super::graph::Graph;
use super::plan::Plan;
use super::team::Team;
use crate::device::Device;

/// Operations of all programs that are remembered at most; the least recently
/// used leave first.
const REMEMBERED_OPS: usize = 200_000;

/// The executor of one device.
pub struct Executor {
    device: Device,
    pub(crate) team: Team,
    /// What executes programs, if it is not this process's threads.
    pub(crate) machine: Option<Arc<Machine>>,
    programs: Mutex<Programs>,
}

/// Programs seen.
#[derive(Default)]
struct Programs {
    by_fingerprint: HashMap<u64, Vec<(Arc<Seen>, u64)>>,
    ops: usize,
    /// Counts sightings; each entry has that of its last one.
    clock: u64,
}

/// A program that was seen.
pub(crate) struct Seen {
    pub(crate) graph: Graph,
    plan: OnceLock<Arc<Plan>>,
    threads: usize,
    machine: Option<Arc<Machine>>,
}

impl Seen {
    /// The plan, prepared at the first call.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plan.get_or_init(|| Arc::new(Plan::new(&self.graph, self.threads, self.machine.as_deref()))).clone()
    }
}

impl Executor {
    /// An executor with `device.cores` threads, the sessions' own included; on a GPU
    /// they only record and wait.
    pub fn new(device: Device) -> Arc<Self> {
        let machine = (!device.is_host()).then(|| Arc::new(Machine::new(&device.pool)));
        Arc::new(Self { team: Team::new(device.cores), device, machine, programs: Mutex::default() })
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Programs remembered and those of them that are prepared.
    pub fn program_counts(&self) -> (usize, usize) {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = || programs.by_fingerprint.values().flatten();
        (seen().count(), seen().filter(|(seen, _)| seen.plan.get().is_some()).count())
    }

    /// The program as it is remembered, and whether it was seen before.
    pub(crate) fn sight(&self, graph: Graph) -> (Arc<Seen>, bool) {
        let fingerprint = graph.fingerprint();
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.clock += 1;
        let clock = programs.clock;
        let same = programs.by_fingerprint.entry(fingerprint).or_default();
        if let Some((seen, last)) = same.iter_mut().find(|(seen, _)| seen.graph == graph) {
            *last = clock;
            return (seen.clone(), true);
        }
        let ops = graph.weight();
        let seen =
            Arc::new(Seen { graph, plan: OnceLock::new(), threads: self.device.cores, machine: self.machine.clone() });
        same.push((seen.clone(), clock));
        programs.ops += ops;
        if programs.ops > REMEMBERED_OPS {
            programs.forget_oldest();
        }
        (seen, false)
    }
}

impl Programs {
    /// Forgets the programs that were not seen for longest, until an eighth of the
    /// room is free; not one by one, since who makes every step a new program
    /// would have all others wait for the search each time. The last one seen stays.
    fn forget_oldest(&mut self) {
        let all = self.by_fingerprint.values().flatten();
        let mut ages: Vec<(u64, usize)> = all.map(|(seen, last)| (*last, seen.graph.weight())).collect();
        ages.sort_unstable();
        ages.pop();
        let (mut kept_from, mut ops) = (0, self.ops);
        for (last, weight) in ages {
            if ops <= REMEMBERED_OPS / 8 * 7 {
                break;
            }
            ops -= weight;
            kept_from = last + 1;
        }
        self.by_fingerprint.retain(|_, same| {
            same.retain(|(_, last)| *last >= kept_from);
            !same.is_empty()
        });
        self.ops = ops;
    }
}
