//! Executes a session's programs: plainly, or by replaying a plan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::{Call, View};
use super::executor::Executor;
use super::graph::{Binding, Graph, Origin};
use super::plan::{Arena, Plan};
use super::session::{Mode, Settings};
use super::team::Lanes;
use crate::base::Result;
use crate::device::{Block, Charge, KillSwitch, Owner, Pool, Prepared, Quota};

/// A program with everything it is executed with.
pub(crate) struct Job {
    pub(crate) graph: Graph,
    pub(crate) binding: Binding,
    /// Memory of the values that are kept.
    pub(crate) outputs: Vec<(u32, Arc<Block>)>,
}

/// What executing one program took.
pub(crate) struct Ran {
    pub(crate) time: Duration,
    pub(crate) replayed: bool,
}

/// A session's memory for plans and its rights.
pub(crate) struct Engine {
    executor: Arc<Executor>,
    quota: Quota,
    kill: KillSwitch,
    mode: Mode,
    max_plans: u64,
    owner: Owner,
    /// Memory of prepared programs, by the address of the plan, which the arena keeps.
    arenas: HashMap<usize, (Arena, Prepared)>,
}

impl Engine {
    pub(crate) fn new(executor: &Arc<Executor>, settings: &Settings, owner: Owner) -> Self {
        Self {
            executor: executor.clone(),
            quota: settings.quota.clone(),
            kill: settings.kill.clone(),
            mode: settings.mode,
            max_plans: settings.limits.programs,
            owner,
            arenas: HashMap::new(),
        }
    }

    /// Executes one program.
    pub(crate) fn run(&mut self, job: Job) -> Result<Ran> {
        let started = Instant::now();
        let Job { graph, binding, outputs } = job;
        let mut replayed = false;
        if self.mode == Mode::Unplanned {
            self.plainly(&graph, &binding, &outputs, &Lanes::one(&self.kill))?;
        } else {
            let (executor, kill) = (self.executor.clone(), self.kill.clone());
            let lanes = Lanes::of(&executor.team, &kill);
            let (program, seen_before) = executor.sight(graph);
            match self.arena(seen_before.then(|| program.plan())) {
                Some(arena) => {
                    arena.replay(&binding, &outputs, &lanes)?;
                    replayed = true;
                }
                None => self.plainly(&program.graph, &binding, &outputs, &lanes)?,
            }
        }
        Ok(Ran { time: started.elapsed(), replayed })
    }

    /// Gives the memory of all plans back.
    pub(crate) fn forget_plans(&mut self) {
        self.arenas.clear();
    }

    /// This session's memory for a plan; none when the quota has no room for it,
    /// or the run no place, even without this session's other plans.
    fn arena(&mut self, plan: Option<Arc<Plan>>) -> Option<&mut Arena> {
        let plan = plan?;
        let key = Arc::as_ptr(&plan) as usize;
        if !self.arenas.contains_key(&key) {
            let pool = &self.executor.device().pool;
            let place = self.quota.prepare(self.max_plans).or_else(|| {
                self.arenas.clear();
                self.quota.prepare(self.max_plans)
            })?;
            let arena = Arena::new(plan.clone(), pool, (&self.quota, self.owner)).or_else(|_| {
                self.arenas.clear();
                Arena::new(plan, pool, (&self.quota, self.owner))
            });
            self.arenas.insert(key, (arena.ok()?, place));
        }
        self.arenas.get_mut(&key).map(|(arena, _)| arena)
    }

    /// One operation after the other; memory is taken when a value is made and
    /// given back after its last use.
    fn plainly(&self, graph: &Graph, binding: &Binding, outputs: &[(u32, Arc<Block>)], lanes: &Lanes) -> Result<()> {
        let pool = &self.executor.device().pool;
        let last_uses = graph.last_uses();
        let mut views = views(graph);
        bind(graph, binding, outputs, &mut views);
        let mut temporary: HashMap<u32, (Arc<Block>, Charge)> = HashMap::new();
        for (position, node) in graph.nodes.iter().enumerate() {
            for output in &node.outputs {
                if views[*output as usize].ptr.is_null() {
                    let (block, charge) = take(pool, (&self.quota, self.owner), &views[*output as usize])?;
                    views[*output as usize].ptr = block.as_ptr();
                    temporary.insert(*output, (block, charge));
                }
            }
            for i in node.inputs.iter().chain(&node.outputs) {
                views[*i as usize].ptr = views[graph.root(*i) as usize].ptr;
            }
            let params = &binding.params[node.param as usize..];
            node.op.run(&Call { views: &views, inputs: &node.inputs, outputs: &node.outputs, params, lanes })?;
            for value in node.inputs.iter().map(|i| graph.root(*i)).chain(node.outputs.iter().copied()) {
                if last_uses[value as usize].is_none_or(|last| last <= position) {
                    temporary.remove(&value);
                }
            }
        }
        Ok(())
    }
}

fn take(pool: &Pool, (quota, owner): (&Quota, Owner), view: &View) -> Result<(Arc<Block>, Charge)> {
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
