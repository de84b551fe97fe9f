//! A prepared program: chains of elementwise operations fused, and a place for
//! every intermediate value in one piece of memory, reused by liveness.

use std::sync::Arc;

use super::call::{Call, Operands, View};
use super::cuda::{Captured, Machine, Made, Needs, Recorder, Replayed, Workspace};
use super::engine::views;
use super::graph::{Binding, Graph, Origin};
use super::op::Op;
use super::ops::elementwise::{Fused, MAX_STEPS, Operand};
use super::team::Lanes;
use crate::base::{Error, Result};
use crate::device::{ALIGNMENT_BYTES, Block, Charge, Owner, Pool, Quota};

/// Where the workspace of a machine begins in an arena.
const WORKSPACE_ALIGNMENT_BYTES: usize = 256;

/// Bytes of kept values that a graph makes at most: they are copied from where it has them.
const STAGED_BYTES: usize = 4 << 20;

/// What is the same for every replay.
pub(crate) struct Plan {
    instructions: Vec<Instruction>,
    /// Type and shape of every value, without addresses.
    views: Vec<View>,
    places: Vec<Place>,
    arena_bytes: usize,
    /// Memory that the greediest operation takes for itself.
    scratch_bytes: usize,
    /// What a machine needs besides, which is behind the values in the arena.
    needs: Needs,
    /// Kept values with where graphs have them, from where the workspace ends; none
    /// where no graph is made.
    staged: Option<Vec<Staged>>,
}

/// Where a graph has a value that is kept.
#[derive(Clone, Copy)]
struct Staged {
    value: u32,
    at: usize,
    bytes: usize,
}

/// One thing to execute.
enum Instruction {
    Fused(Fused),
    Op { op: Op, inputs: Vec<u32>, outputs: Vec<u32>, param: usize },
}

/// Where a value is during a replay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In stored memory.
    Stored(u32),
    /// In a variable.
    Variable(u32),
    /// In the memory of this output.
    Output(u32),
    /// At this byte of the arena.
    Arena(usize),
    /// Only in registers of a chain.
    Nowhere,
}

impl Plan {
    /// Prepares a program for `threads` threads, or for a machine.
    pub(crate) fn new(graph: &Graph, threads: usize, machine: Option<&Machine>) -> Self {
        let groups = group(graph);
        let views = views(graph);
        let kept = kept(graph, &groups);
        let mut instructions = Vec::new();
        // For each value the instructions that make it and that last read it.
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; graph.values.len()];
        let mut chains: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
        for (position, group) in groups.iter().enumerate() {
            chains[*group].push(position);
        }
        // A group is executed where its last member stands.
        for (members, node) in chains.iter().zip(&graph.nodes).filter(|(members, _)| !members.is_empty()) {
            let now = instructions.len();
            for member in members {
                for value in graph.nodes[*member].inputs.iter().map(|i| graph.root(*i)) {
                    if let Some((_, last)) = &mut lives[value as usize] {
                        *last = now;
                    }
                }
                for output in graph.nodes[*member].outputs.iter().filter(|o| kept[**o as usize]) {
                    lives[*output as usize] = Some((now, now));
                }
            }
            instructions.push(match node.op {
                Op::Elementwise(_) => Instruction::Fused(fuse(graph, members, &views, &kept)),
                _ => Instruction::Op {
                    op: node.op.clone(),
                    inputs: node.inputs.clone(),
                    outputs: node.outputs.clone(),
                    param: node.param as usize,
                },
            });
        }
        let (places, arena_bytes) = places(graph, &lives);
        let scratch = graph.nodes.iter().map(|node| {
            let operands = Operands { views: &views, inputs: &node.inputs, outputs: &node.outputs, threads };
            node.op.scratch_bytes(&operands)
        });
        let scratch_bytes = if machine.is_some() { 0 } else { scratch.max().unwrap_or(0) };
        let needs = Needs::default();
        let mut plan = Self { instructions, views, places, arena_bytes, scratch_bytes, needs, staged: None };
        if let Some(machine) = machine {
            machine.prepare(plan.instructions.iter().filter_map(|instruction| match instruction {
                Instruction::Fused(fused) => Some(fused),
                Instruction::Op { .. } => None,
            }));
            let last_param = graph.nodes.iter().map(|node| node.param as usize).max().unwrap_or(0);
            plan.needs = machine.needs(last_param, |on| plan.record(&plan.views, on));
            plan.staged = plan.stage();
        }
        plan
    }

    /// A place in a graph's memory for every kept value, if that is worth it.
    fn stage(&self) -> Option<Vec<Staged>> {
        let (mut staged, mut at) = (Vec::new(), 0);
        for (value, place) in (0..).zip(&self.places) {
            if *place == Place::Output(value) {
                let view = self.views.get(value as usize)?;
                let bytes = view.shape.size_bytes(view.dtype);
                staged.push(Staged { value, at, bytes });
                at += bytes.next_multiple_of(WORKSPACE_ALIGNMENT_BYTES);
            }
        }
        (at <= STAGED_BYTES && self.needs.fits_graph()).then_some(staged)
    }

    /// Bytes of the kept values in a graph's memory.
    fn staged_bytes(&self) -> usize {
        let ends = self.staged.iter().flatten().map(|staged| staged.at + staged.bytes);
        ends.max().unwrap_or(0)
    }

    /// Records all of it, with values at these addresses.
    fn record(&self, views: &[View], on: &mut Recorder) {
        for instruction in &self.instructions {
            match instruction {
                Instruction::Fused(fused) => {
                    on.next_operation();
                    fused.record(views, on);
                }
                Instruction::Op { op, inputs, outputs, param } => {
                    op.record(&Operands { views, inputs, outputs, threads: 1 }, *param, on);
                }
            }
        }
    }
}

/// For each operation the one with which it is executed: itself, or the last of a
/// chain of elementwise operations of one shape. An operation joins a chain when
/// nobody else reads its results during the program, and no variable that it reads
/// is updated in between.
fn group(graph: &Graph) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..graph.nodes.len()).collect();
    let mut sizes = vec![1usize; graph.nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.values.len()];
    for (position, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            readers[graph.root(*input) as usize].push(position);
        }
    }
    // A reader through another shape keeps an operation out of the chain.
    let mut seen_as = vec![false; graph.values.len()];
    for value in &graph.values {
        if let Origin::View { of } = value.origin {
            seen_as[of as usize] = true;
        }
    }
    let updates: Vec<(usize, &[u32])> = graph
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| matches!(node.op, Op::Update(_)))
        .map(|(position, node)| (position, &node.inputs[..node.outputs.len()]))
        .collect();
    for position in (0..graph.nodes.len()).rev() {
        let node = &graph.nodes[position];
        let (Op::Elementwise(_), Some(output)) = (&node.op, node.outputs.first()) else { continue };
        let mut chains = readers[*output as usize].iter().map(|reader| groups[*reader]);
        let Some(chain) = chains.next().filter(|first| chains.all(|other| other == *first)) else { continue };
        let last = &graph.nodes[chain];
        let same_shape = last
            .outputs
            .first()
            .is_some_and(|o| graph.values[*o as usize].shape == graph.values[*output as usize].shape);
        let overwritten = || {
            updates.iter().any(|(at, replaced)| {
                position < *at && *at < chain && node.inputs.iter().any(|i| replaced.contains(&graph.root(*i)))
            })
        };
        if matches!(last.op, Op::Elementwise(_))
            && same_shape
            && !seen_as[*output as usize]
            && sizes[chain] < MAX_STEPS
            && !overwritten()
        {
            groups[position] = chain;
            sizes[chain] += 1;
        }
    }
    groups
}

/// Which values are stored in memory: all but those that only their own chain reads.
fn kept(graph: &Graph, groups: &[usize]) -> Vec<bool> {
    let mut kept: Vec<bool> = graph.values.iter().map(|value| value.held).collect();
    for value in 0..graph.values.len() as u32 {
        if graph.values[value as usize].held {
            kept[graph.root(value) as usize] = true;
        }
    }
    for (position, node) in graph.nodes.iter().enumerate() {
        for output in &node.outputs {
            kept[*output as usize] |= groups[position] == position;
        }
    }
    kept
}

/// The members of a chain in order, as one instruction.
fn fuse(graph: &Graph, members: &[usize], views: &[View], kept: &[bool]) -> Fused {
    let shape = members
        .last()
        .and_then(|last| graph.nodes[*last].outputs.first())
        .map_or(super::shape::Shape::SCALAR, |output| graph.values[*output as usize].shape);
    let mut fused = Fused::new(shape);
    let mut steps: Vec<(u32, usize)> = Vec::new();
    for member in members {
        let node = &graph.nodes[*member];
        let (Op::Elementwise(op), Some(output)) = (&node.op, node.outputs.first()) else { continue };
        let operands: Vec<Operand> = node
            .inputs
            .iter()
            .map(|input| match steps.iter().find(|(value, _)| value == input) {
                Some((_, step)) => Operand::Step(*step),
                None => Operand::Value(*input, views[*input as usize]),
            })
            .collect();
        let keep = kept[*output as usize].then_some(*output);
        let dtype = graph.values[*output as usize].dtype;
        let step = fused.push(*op, dtype, &operands, keep, node.param as usize);
        steps.push((*output, step));
    }
    fused
}

/// Gives every value a place; values whose lives do not touch share memory.
fn places(graph: &Graph, lives: &[Option<(usize, usize)>]) -> (Vec<Place>, usize) {
    let mut held = vec![false; graph.values.len()];
    for value in 0..graph.values.len() as u32 {
        held[graph.root(value) as usize] |= graph.values[value as usize].held;
    }
    let (in_arena, arena_bytes) = arena(graph, lives, &held);
    let mut places: Vec<Place> = Vec::with_capacity(graph.values.len());
    for (value, info) in graph.values.iter().enumerate() {
        places.push(match info.origin {
            Origin::Stored { slot, .. } => Place::Stored(slot),
            Origin::Variable { variable } | Origin::Updated { variable, .. } => Place::Variable(variable),
            Origin::View { of } => places[of as usize],
            Origin::Node { .. } if held[value] => Place::Output(value as u32),
            Origin::Node { .. } => in_arena[value].map_or(Place::Nowhere, Place::Arena),
        });
    }
    (places, arena_bytes)
}

/// The first byte in the arena of every intermediate value, and the arena's size:
/// each takes the lowest gap when its life begins.
fn arena(graph: &Graph, lives: &[Option<(usize, usize)>], held: &[bool]) -> (Vec<Option<usize>>, usize) {
    let mut waiting: Vec<(usize, usize, usize)> = Vec::new(); // first, last, value
    for (value, life) in lives.iter().enumerate() {
        if let (Some((first, last)), Origin::Node { .. }, false) = (life, graph.values[value].origin, held[value]) {
            waiting.push((*first, *last, value));
        }
    }
    waiting.sort_unstable();
    let mut starts = vec![None; lives.len()];
    let mut taken: Vec<(usize, usize, usize)> = Vec::new(); // start, end, last
    let mut arena_bytes = 0;
    for (first, last, value) in waiting {
        taken.retain(|(_, _, ends)| *ends >= first);
        let info = &graph.values[value];
        let size = info.shape.size_bytes(info.dtype).max(1).next_multiple_of(ALIGNMENT_BYTES);
        let mut start = 0;
        for (from, to, _) in &taken {
            if *from >= start + size {
                break;
            }
            start = start.max(*to);
        }
        let at = taken.partition_point(|(from, ..)| *from < start);
        taken.insert(at, (start, start + size, last));
        arena_bytes = arena_bytes.max(start + size);
        starts[value] = Some(start);
    }
    (starts, arena_bytes)
}

/// A session's memory for one plan.
pub(crate) struct Arena {
    plan: Arc<Plan>,
    block: Arc<Block>,
    views: Vec<View>,
    workspace: Workspace,
    /// Where graphs have kept values.
    staged_at: usize,
    /// Where inputs and variables were the last time.
    bound: Vec<usize>,
    graph: Option<Captured>,
    /// No graph could be made.
    is_plain: bool,
    quota: Quota,
    _charge: Charge,
}

impl Arena {
    /// Memory for `plan`.
    pub(crate) fn new(plan: Arc<Plan>, pool: &Pool, (quota, owner): (&Quota, Owner)) -> Result<Self> {
        let needed = plan.needs.size_bytes();
        let staged_bytes = plan.staged_bytes();
        let charge = quota.charge((plan.arena_bytes + plan.scratch_bytes + needed + staged_bytes) as u64)?;
        let workspace_at = plan.arena_bytes.next_multiple_of(WORKSPACE_ALIGNMENT_BYTES);
        let staged_at = (workspace_at + needed).next_multiple_of(WORKSPACE_ALIGNMENT_BYTES);
        let block =
            pool.take(if staged_bytes > 0 { staged_at + staged_bytes } else { workspace_at + needed }, owner)?;
        let workspace = Workspace::new(block.as_ptr().wrapping_add(workspace_at) as u64, plan.needs);
        let mut views = plan.views.clone();
        for (view, place) in views.iter_mut().zip(&plan.places) {
            if let Place::Arena(start) = place {
                view.ptr = block.as_ptr().wrapping_add(*start);
            }
        }
        let (bound, graph, is_plain, quota) = (Vec::new(), None, false, quota.clone());
        Ok(Self { plan, block, views, workspace, staged_at, bound, graph, is_plain, quota, _charge: charge })
    }

    /// Executes the plan with these slots, outputs and scalars, on threads or on the
    /// machine that it was prepared for.
    pub(crate) fn replay(
        &mut self,
        binding: &Binding,
        outputs: &[(u32, Arc<Block>)],
        lanes: &Lanes,
        machine: Option<&Machine>,
    ) -> Result<()> {
        debug_assert!(self.plan.arena_bytes <= self.block.size_bytes());
        for (view, place) in self.views.iter_mut().zip(&self.plan.places) {
            match place {
                Place::Stored(slot) => view.ptr = binding.stored[*slot as usize].as_ptr(),
                Place::Variable(variable) => view.ptr = binding.variables[*variable as usize].block.as_ptr(),
                Place::Output(value) => {
                    let output = outputs.iter().find(|(known, _)| known == value);
                    view.ptr = output.map_or(std::ptr::null_mut(), |(_, block)| block.as_ptr());
                }
                Place::Arena(_) | Place::Nowhere => {}
            }
        }
        if let Some(machine) = machine {
            machine.check(std::iter::once(&self.block))?;
            return self.replay_on(machine, &binding.params, outputs, lanes);
        }
        for instruction in &self.plan.instructions {
            match instruction {
                Instruction::Fused(fused) => fused.run(&self.views, &binding.params, lanes)?,
                Instruction::Op { op, inputs, outputs, param } => {
                    let params = &binding.params[*param..];
                    op.run(&Call { views: &self.views, inputs, outputs, params, lanes })?;
                }
            }
        }
        Ok(())
    }

    /// As a graph, once all is where it was the last time; else, and the first time,
    /// one command after the other.
    fn replay_on(
        &mut self,
        machine: &Machine,
        params: &[u64],
        outputs: &[(u32, Arc<Block>)],
        lanes: &Lanes,
    ) -> Result<()> {
        let is_bound = |place: &Place| matches!(place, Place::Stored(_) | Place::Variable(_));
        let places = self.views.iter().zip(&self.plan.places).filter(|(_, place)| is_bound(place));
        let bound: Vec<usize> = places.map(|(view, _)| view.ptr as usize).collect();
        let is_same = bound == self.bound && !bound.is_empty();
        if !is_same {
            (self.bound, self.graph) = (bound, None);
        }
        let plan = self.plan.clone();
        if let (Some(staged), true, false) = (&plan.staged, is_same, self.is_plain) {
            let mut views = self.views.clone();
            let copies = self.staged(staged, outputs, &mut views);
            if self.graph.is_none() {
                match machine.capture(self.workspace, &self.quota, lanes, |on| plan.record(&views, on)) {
                    Ok(graph) => self.graph = Some(graph),
                    Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
                    // What cannot be recorded can be done one after the other.
                    Err(_) => self.is_plain = true,
                }
            }
            if let Some(graph) = &self.graph {
                if machine.replay(graph, (self.workspace, params), &copies, lanes)? == Replayed::Done {
                    return Ok(());
                }
                (self.graph, self.is_plain) = (None, true);
            }
        }
        machine.execute(self.workspace, params, lanes, |on| plan.record(&self.views, on))
    }

    /// Lets views of kept values be where graphs have them; the copies to where they
    /// are wanted.
    fn staged(&self, staged: &[Staged], outputs: &[(u32, Arc<Block>)], views: &mut [View]) -> Vec<Made> {
        let at = |value: u32| {
            let staged = staged.iter().find(|staged| staged.value == value);
            staged.map(|staged| self.block.as_ptr().wrapping_add(self.staged_at + staged.at))
        };
        for (view, place) in views.iter_mut().zip(&self.plan.places) {
            if let Place::Output(value) = place {
                view.ptr = at(*value).unwrap_or(view.ptr);
            }
        }
        let made = staged.iter().filter_map(|staged| {
            let (_, block) = outputs.iter().find(|(value, _)| *value == staged.value)?;
            let to = block.as_ptr() as u64;
            Some(Made { from: at(staged.value)? as u64, to, bytes: staged.bytes })
        });
        made.filter(|made| made.bytes > 0).collect()
    }
}
