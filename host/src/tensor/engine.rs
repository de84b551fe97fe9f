//! Executes one program: plainly, or by replaying a plan.
//!
//! Deciding which ([`Engine::prepare`]) is the session's; all memory is counted
//! there, except that a program executed plainly takes memory as it goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::{Call, Operands, View};
use super::cuda::{Machine, Single};
use super::executor::{Executor, Seen};
use super::graph::{Binding, Graph, Node, Origin};
use super::op::Op;
use super::ops::elementwise::Fused;
use super::plan::{Arena, Plan};
use super::session::{Mode, Settings};
use super::team::{Allowance, Lanes, Lease};
use crate::base::Result;
use crate::device::{Block, Buffer, Charge, KillSwitch, Owner, Pool, Prepared, Quota};

/// A program with everything it is executed with.
pub(crate) struct Job {
    pub(crate) graph: Graph,
    pub(crate) binding: Binding,
    /// Memory of the values that are kept.
    pub(crate) outputs: Vec<(u32, Arc<Block>)>,
}

/// How a program was executed, and what that took, also where it failed.
pub(crate) struct Ran {
    pub(crate) result: Result<()>,
    pub(crate) time: Duration,
    pub(crate) replayed: bool,
}

/// What executing a program needs besides the program.
#[derive(Clone)]
pub(crate) struct Means {
    pool: Arc<Pool>,
    quota: Quota,
    kill: KillSwitch,
    owner: Owner,
    device_time_ms: u64,
    threads: usize,
    machine: Option<Arc<Machine>>,
}

/// Decides how a session's programs are executed, and holds the memory of plans.
pub(crate) struct Engine {
    executor: Arc<Executor>,
    means: Means,
    mode: Mode,
    max_plans: u64,
    /// Memory of prepared programs, by the address of the plan, which the arena keeps.
    arenas: HashMap<usize, (Arc<Mutex<Arena>>, Prepared)>,
}

/// A program of which is decided how it is executed.
pub(crate) struct Work {
    way: Way,
    binding: Binding,
    outputs: Vec<(u32, Arc<Block>)>,
}

/// How a program is executed.
enum Way {
    /// One operation at a time on one thread.
    Unplanned(Graph),
    /// One operation at a time.
    Plainly(Arc<Seen>),
    /// From its plan, for the first time: on a machine, where the kernels of a plan
    /// have to be compiled, and others would be needed once only.
    First(Box<Arena>),
    /// From its plan.
    Replayed(Arc<Mutex<Arena>>),
}

impl Engine {
    pub(crate) fn new(executor: &Arc<Executor>, settings: &Settings, owner: Owner) -> Self {
        let pool = executor.device().pool.clone();
        Self {
            executor: executor.clone(),
            means: Means {
                pool,
                quota: settings.quota.clone(),
                kill: settings.kill.clone(),
                owner,
                device_time_ms: settings.limits.device_time_ms,
                threads: executor.device().cores,
                machine: executor.machine.as_ref().map(|machine| machine.for_session(&settings.teller)),
            },
            mode: settings.mode,
            max_plans: settings.limits.programs,
            arenas: HashMap::new(),
        }
    }

    /// What [`Work::run`] wants.
    pub(crate) fn means(&self) -> &Means {
        &self.means
    }

    /// Decides how a program is executed. `settle` waits for the programs on
    /// their way; it is called before plans give their memory to another one.
    pub(crate) fn prepare(&mut self, job: Job, settle: impl FnOnce()) -> Work {
        let Job { graph, binding, outputs } = job;
        let way = if self.mode == Mode::Unplanned {
            Way::Unplanned(graph)
        } else {
            let (program, seen_before) = self.executor.sight(graph);
            if seen_before {
                self.arena(&program.plan(), settle).map_or(Way::Plainly(program), Way::Replayed)
            } else {
                self.first(&program).unwrap_or(Way::Plainly(program))
            }
        };
        Work { way, binding, outputs }
    }

    /// How a new program is executed on a machine, if there is memory.
    fn first(&self, program: &Seen) -> Option<Way> {
        self.means.machine.as_ref()?;
        let Means { pool, quota, owner, .. } = &self.means;
        Some(Way::First(Box::new(Arena::new(program.plan(), pool, (quota, *owner)).ok()?)))
    }

    /// Gives the memory of all plans back.
    pub(crate) fn forget_plans(&mut self) {
        self.arenas.clear();
    }

    /// This session's memory for a plan; none when the quota has no room for it,
    /// or the run no place, even without this session's other plans.
    fn arena(&mut self, plan: &Arc<Plan>, settle: impl FnOnce()) -> Option<Arc<Mutex<Arena>>> {
        let key = Arc::as_ptr(plan) as usize;
        if let Some((arena, _)) = self.arenas.get(&key) {
            return Some(arena.clone());
        }
        let made = self.make_arena(plan).or_else(|| {
            settle();
            self.arenas.clear();
            self.make_arena(plan)
        });
        let (arena, place) = made?;
        let arena = Arc::new(Mutex::new(arena));
        self.arenas.insert(key, (arena.clone(), place));
        Some(arena)
    }

    fn make_arena(&self, plan: &Arc<Plan>) -> Option<(Arena, Prepared)> {
        let Means { pool, quota, owner, .. } = &self.means;
        let place = quota.prepare(self.max_plans)?;
        Some((Arena::new(plan.clone(), pool, (quota, *owner)).ok()?, place))
    }
}

impl Work {
    /// Whether executing it takes memory that is not counted yet.
    pub(crate) fn takes_memory(&self) -> bool {
        !matches!(self.way, Way::First(_) | Way::Replayed(_))
    }

    /// Executes it, with helpers if there is a lease.
    pub(crate) fn run(self, means: &Means, lease: Option<&Lease>) -> Ran {
        let started = Instant::now();
        let Self { way, binding, outputs } = self;
        let (spent_ms, allowed_ms) = (means.quota.spent_ms(), means.device_time_ms);
        let allowance = match means.machine {
            Some(_) => Allowance::Measured { spent_ms, allowed_ms },
            None => Allowance::new(spent_ms, allowed_ms),
        };
        let lease = lease.filter(|_| !matches!(way, Way::Unplanned(_)));
        let lanes = Lanes::new(lease, &means.kill, allowance);
        let replayed = matches!(way, Way::Replayed(_));
        let checked = means.machine.as_ref().map_or(Ok(()), |machine| {
            let stored = binding.stored.iter().map(Buffer::block);
            let variables = binding.variables.iter().map(|cell| &cell.block);
            machine.check(stored.chain(variables).chain(outputs.iter().map(|(_, block)| block)))
        });
        let result = checked.and_then(|()| match way {
            Way::Unplanned(graph) => means.plainly(&graph, &binding, &outputs, &lanes),
            Way::Plainly(program) => means.plainly(&program.graph, &binding, &outputs, &lanes),
            Way::First(mut arena) => arena.replay(&binding, &outputs, &lanes, means.machine.as_deref()),
            Way::Replayed(arena) => {
                let mut arena = arena.lock().unwrap_or_else(PoisonError::into_inner);
                arena.replay(&binding, &outputs, &lanes, means.machine.as_deref())
            }
        });
        let time = if means.machine.is_some() { lanes.measured() } else { started.elapsed() };
        means.quota.spend(time);
        Ran { result, time, replayed }
    }
}

impl Means {
    /// As [`Machine::moved_bytes`]; nothing moves on the processor.
    pub(crate) fn moved_bytes(&self) -> (u64, u64) {
        self.machine.as_ref().map_or((0, 0), |machine| machine.moved_bytes())
    }

    /// As [`Machine::compile_time`]; nothing is compiled for the processor.
    pub(crate) fn compile_time(&self) -> Duration {
        self.machine.as_ref().map_or(Duration::ZERO, |machine| machine.compile_time())
    }

    /// Where memory comes from, what counts it, and who may see what was left in it.
    fn memory(&self) -> (&Pool, &Quota, Owner) {
        (&self.pool, &self.quota, self.owner)
    }

    /// One operation after the other; memory is taken when a value is made and
    /// given back after its last use.
    fn plainly(&self, graph: &Graph, binding: &Binding, outputs: &[(u32, Arc<Block>)], lanes: &Lanes) -> Result<()> {
        let last_uses = graph.last_uses();
        let mut views = views(graph);
        bind(graph, binding, outputs, &mut views);
        let mut temporary: HashMap<u32, (Arc<Block>, Charge)> = HashMap::new();
        if let Some(machine) = &self.machine {
            machine.prepare(graph.nodes.iter().filter_map(|node| alone(node, &views)).collect::<Vec<_>>().iter());
        }
        for (position, node) in graph.nodes.iter().enumerate() {
            for output in &node.outputs {
                if views[*output as usize].ptr.is_null() {
                    let (block, charge) = take(self.memory(), &views[*output as usize])?;
                    views[*output as usize].ptr = block.as_ptr();
                    temporary.insert(*output, (block, charge));
                }
            }
            for i in node.inputs.iter().chain(&node.outputs) {
                views[*i as usize].ptr = views[graph.root(*i) as usize].ptr;
            }
            let operands =
                Operands { views: &views, inputs: &node.inputs, outputs: &node.outputs, threads: self.threads };
            let params = &binding.params[node.param as usize..];
            if let Some(machine) = &self.machine {
                machine.single(&Single { op: &node.op, operands: &operands, params }, self.memory(), lanes)?;
            } else {
                let _scratch = self.quota.charge(node.op.scratch_bytes(&operands) as u64)?;
                node.op.run(&Call { views: &views, inputs: &node.inputs, outputs: &node.outputs, params, lanes })?;
            }
            for value in node.inputs.iter().map(|i| graph.root(*i)).chain(node.outputs.iter().copied()) {
                if last_uses[value as usize].is_none_or(|last| last <= position) {
                    temporary.remove(&value);
                }
            }
        }
        Ok(())
    }
}

/// An elementwise operation as a chain.
fn alone(node: &Node, views: &[View]) -> Option<Fused> {
    let Op::Elementwise(op) = node.op else { return None };
    let operands = Operands { views, inputs: &node.inputs, outputs: &node.outputs, threads: 1 };
    Some(Fused::single(op, &operands, node.param as usize))
}

fn take((pool, quota, owner): (&Pool, &Quota, Owner), view: &View) -> Result<(Arc<Block>, Charge)> {
    let size = view.shape.size_bytes(view.dtype);
    let charge = quota.charge(size as u64)?;
    Ok((pool.take(size, owner)?, charge))
}

/// A view without an address for every value.
pub(crate) fn views(graph: &Graph) -> Vec<View> {
    let view =
        |value: &super::graph::ValueInfo| View { ptr: std::ptr::null_mut(), dtype: value.dtype, shape: value.shape };
    graph.values.iter().map(view).collect()
}

/// Sets the addresses that the binding gives.
fn bind(graph: &Graph, binding: &Binding, outputs: &[(u32, Arc<Block>)], views: &mut [View]) {
    for (view, value) in views.iter_mut().zip(&graph.values) {
        match value.origin {
            Origin::Stored { slot, .. } => view.ptr = binding.stored[slot as usize].as_ptr(),
            Origin::Variable { variable } | Origin::Updated { variable, .. } => {
                view.ptr = binding.variables[variable as usize].block.as_ptr();
            }
            Origin::Node { .. } | Origin::View { .. } => {}
        }
    }
    for (value, block) in outputs {
        views[*value as usize].ptr = block.as_ptr();
    }
}
