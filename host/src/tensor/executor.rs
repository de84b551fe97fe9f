//! What sessions of one device share: threads and prepared programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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
    programs: Mutex<Programs>,
}

/// Programs seen.
#[derive(Default)]
struct Programs {
    by_fingerprint: HashMap<u64, Vec<Seen>>,
    ops: usize,
    clock: u64,
}

/// One program.
struct Seen {
    graph: Arc<Graph>,
    plan: Option<Arc<Plan>>,
    used: u64,
}

impl Executor {
    /// An executor with `device.cores` threads, the sessions' own included.
    pub fn new(device: Device) -> Arc<Self> {
        Arc::new(Self { team: Team::new(device.cores), device, programs: Mutex::default() })
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Programs remembered and those of them that are prepared.
    pub fn program_counts(&self) -> (usize, usize) {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = || programs.by_fingerprint.values().flatten();
        (seen().count(), seen().filter(|seen| seen.plan.is_some()).count())
    }

    /// The plan of a program that was seen before, prepared at its second sighting,
    /// and the program; at its first only the program.
    pub(crate) fn sight(&self, graph: Graph) -> Result<(Arc<Plan>, Arc<Graph>), Arc<Graph>> {
        let fingerprint = graph.fingerprint();
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        programs.clock += 1;
        let clock = programs.clock;
        if let Some(seen) =
            programs.by_fingerprint.get_mut(&fingerprint).and_then(|same| same.iter_mut().find(|s| *s.graph == graph))
        {
            seen.used = clock;
            let plan = seen.plan.get_or_insert_with(|| Arc::new(Plan::new(&seen.graph)));
            return Ok((plan.clone(), seen.graph.clone()));
        }
        let graph = Arc::new(graph);
        programs.ops += graph.nodes.len();
        programs.by_fingerprint.entry(fingerprint).or_default().push(Seen {
            graph: graph.clone(),
            plan: None,
            used: clock,
        });
        while programs.ops > REMEMBERED_OPS && programs.forget_oldest() {}
        Err(graph)
    }
}

impl Programs {
    /// Forgets the least recently used program; false when there is only one.
    fn forget_oldest(&mut self) -> bool {
        let seen = || self.by_fingerprint.iter().flat_map(|(print, same)| same.iter().map(|s| (s.used, *print)));
        let oldest = seen().min();
        let several = seen().nth(1).is_some();
        let Some((used, print)) = oldest.filter(|_| several) else { return false };
        if let Some(same) = self.by_fingerprint.get_mut(&print) {
            let ops: usize = same.iter().filter(|s| s.used == used).map(|s| s.graph.nodes.len()).sum();
            same.retain(|s| s.used != used);
            self.ops -= ops;
            if same.is_empty() {
                self.by_fingerprint.remove(&print);
            }
        }
        true
    }
}
