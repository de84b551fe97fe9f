//! The program being recorded, and how it is cleaned at a flush.
//!
//! Values are numbered in order of appearance. A *slot* is a value that exists
//! before the program: stored memory, or a variable at its version on entry.
//! Updates of variables yield new versions in the same memory. Cleaning drops
//! operations that nobody needs, and inserts a copy of a version before it is
//! overwritten where a handle or a later operation still wants it. The result is a
//! [`Graph`], which is the program's identity, and a [`Binding`], which is not.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::graph::{Binding, Graph, Node, Origin, ValueInfo};
use super::op::{Op, Params};
use super::ops::layout::Layout;
use super::shape::Shape;
use super::value::{Cell, Handle, Place};
use crate::base::{DType, Error, Result};
use crate::device::Buffer;

/// Inputs that weigh as much as an operation.
pub(crate) const INPUTS_PER_OP: usize = 32;

/// Operations recorded since the last flush.
#[derive(Default)]
pub(crate) struct Program {
    values: Vec<Value>,
    nodes: Vec<Recorded>,
    n_inputs: usize,
    stored: HashMap<(usize, DType, Shape), u32>,
    versions: HashMap<(u64, u64), u32>,
}

/// One value of the program.
struct Value {
    dtype: DType,
    shape: Shape,
    source: Source,
    handle: Weak<Handle>,
}

/// Where a value comes from.
enum Source {
    Stored(Buffer),
    Variable(Arc<Cell>, u64),
    /// Result of an operation; the variable and version it becomes, if it is an update.
    Node(Option<(Arc<Cell>, u64)>),
}

impl Source {
    fn variable(&self) -> Option<(&Arc<Cell>, u64)> {
        match self {
            Self::Stored(_) => None,
            Self::Variable(cell, version) => Some((cell, *version)),
            Self::Node(updated) => updated.as_ref().map(|(cell, version)| (cell, *version)),
        }
    }
}

/// One operation.
struct Recorded {
    op: Op,
    params: Params,
    inputs: Vec<u32>,
    first_output: u32,
    n_outputs: u32,
}

impl Program {
    /// Whether nothing is recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Number of operations, those with very many inputs counted several times.
    pub(crate) fn weight(&self) -> usize {
        self.nodes.len() + self.n_inputs / INPUTS_PER_OP
    }

    /// The value of a tensor in this program.
    pub(crate) fn intern(&mut self, handle: &Arc<Handle>) -> u32 {
        match handle.place() {
            Place::Recorded(value) => value,
            Place::Stored(buffer) => {
                let key = (buffer.as_ptr() as usize, handle.dtype, handle.shape);
                let next = self.values.len() as u32;
                let value = *self.stored.entry(key).or_insert(next);
                if value == next {
                    self.push(handle.dtype, handle.shape, Source::Stored(buffer), Arc::downgrade(handle));
                }
                value
            }
            Place::Variable { cell, version } => self.intern_variable(&cell, version, Arc::downgrade(handle)),
        }
    }

    /// The value of `cell` at `version`, which is its version on entry unless
    /// this program has made it.
    fn intern_variable(&mut self, cell: &Arc<Cell>, version: u64, handle: Weak<Handle>) -> u32 {
        let next = self.values.len() as u32;
        let value = *self.versions.entry((cell.id, version)).or_insert(next);
        if value == next {
            self.push(cell.dtype, cell.shape, Source::Variable(cell.clone(), version), handle);
        } else if let Some(known) = self.values.get_mut(value as usize)
            && known.handle.strong_count() == 0
        {
            known.handle = handle;
        }
        value
    }

    /// Records an operation with one result that is a plain value.
    pub(crate) fn append(&mut self, op: Op, params: Params, inputs: Vec<u32>, dtype: DType, shape: Shape) -> u32 {
        // A view of a variable's memory would change with it.
        let of_variable =
            inputs.first().and_then(|v| self.values.get(*v as usize)).is_some_and(|v| v.source.variable().is_some());
        let op = if op.is_view() && of_variable { Op::Layout(Layout::Copy) } else { op };
        let output = self.push(dtype, shape, Source::Node(None), Weak::new());
        self.n_inputs += inputs.len();
        self.nodes.push(Recorded { op, params, inputs, first_output: output, n_outputs: 1 });
        output
    }

    /// Sets the handle of the result of [`Self::append`].
    pub(crate) fn set_handle(&mut self, value: u32, handle: &Arc<Handle>) {
        if let Some(value) = self.values.get_mut(value as usize) {
            value.handle = Arc::downgrade(handle);
        }
    }

    /// Records an update of `cells` to their next versions; `others` are further inputs.
    pub(crate) fn update(&mut self, op: Op, params: Params, cells: &[&Arc<Cell>], others: &[u32]) {
        let mut inputs = Vec::with_capacity(cells.len() + others.len());
        for cell in cells {
            let present = cell.present();
            let (version, handle) = (present.version, present.handle.clone());
            drop(present);
            inputs.push(self.intern_variable(cell, version, handle));
        }
        inputs.extend_from_slice(others);
        let first_output = self.values.len() as u32;
        for cell in cells {
            let version = {
                let mut present = cell.present();
                present.version += 1;
                present.handle = Weak::new();
                present.version
            };
            let output = self.push(cell.dtype, cell.shape, Source::Node(Some(((*cell).clone(), version))), Weak::new());
            self.versions.insert((cell.id, version), output);
        }
        self.n_inputs += inputs.len();
        self.nodes.push(Recorded { op, params, inputs, first_output, n_outputs: cells.len() as u32 });
    }

    fn push(&mut self, dtype: DType, shape: Shape, source: Source, handle: Weak<Handle>) -> u32 {
        self.values.push(Value { dtype, shape, source, handle });
        (self.values.len() - 1) as u32
    }

    /// The cleaned program.
    pub(crate) fn clean(self) -> Result<(Graph, Binding)> {
        Cleaner::new(self).run()
    }
}

/// The work of [`Program::clean`].
struct Cleaner {
    program: Program,
    /// Handles alive at the flush whose values must outlive the program.
    held: Vec<Option<Arc<Handle>>>,
    /// For each value the position of the last operation that reads it.
    last_use: Vec<Option<usize>>,
    needed: Vec<bool>,
    /// Number in the graph of each value of the program.
    renumbered: Vec<Option<u32>>,
    graph: Graph,
    binding: Binding,
    variables: HashMap<u64, u32>,
    /// First slot at each address.
    addresses: HashMap<usize, u32>,
}

impl Cleaner {
    fn new(program: Program) -> Self {
        let n_values = program.values.len();
        let held = program.values.iter().map(|value| {
            // A variable's newest version stays in the variable.
            let newest = value.source.variable().is_some_and(|(cell, version)| cell.present().version == version);
            if newest { None } else { value.handle.upgrade() }
        });
        Self {
            held: held.collect(),
            last_use: vec![None; n_values],
            needed: vec![false; program.nodes.len()],
            renumbered: vec![None; n_values],
            graph: Graph::default(),
            binding: Binding::default(),
            variables: HashMap::new(),
            addresses: HashMap::new(),
            program,
        }
    }

    fn run(mut self) -> Result<(Graph, Binding)> {
        self.mark();
        let nodes = std::mem::take(&mut self.program.nodes);
        for (position, node) in nodes.into_iter().enumerate() {
            if self.needed[position] {
                self.emit(position, node)?;
            }
        }
        for value in 0..self.held.len() {
            if let Some(handle) = self.held[value].take()
                && let Some(number) = self.renumbered[value]
            {
                let info = &mut self.graph.values[number as usize];
                if !matches!(info.origin, Origin::Stored { .. }) {
                    info.held = true;
                    self.binding.held.push((number, handle));
                }
            }
        }
        Ok((self.graph, self.binding))
    }

    /// Finds the operations that matter and the last uses of values.
    fn mark(&mut self) {
        let mut wanted: Vec<bool> = self.held.iter().map(Option::is_some).collect();
        for (position, node) in self.program.nodes.iter().enumerate().rev() {
            let outputs = node.first_output as usize..(node.first_output + node.n_outputs) as usize;
            let needed = matches!(node.op, Op::Update(_)) || wanted[outputs].iter().any(|w| *w);
            self.needed[position] = needed;
            if needed {
                for (i, input) in node.inputs.iter().enumerate() {
                    wanted[*input as usize] = true;
                    // Reading what the same operation overwrites counts as later.
                    let only_read = i >= node.op.replaced_inputs(node.n_outputs as usize);
                    let at = position + usize::from(only_read && is_replaced(node, *input));
                    let last = &mut self.last_use[*input as usize];
                    *last = Some(last.map_or(at, |l| l.max(at)));
                }
            }
        }
    }

    fn emit(&mut self, position: usize, node: Recorded) -> Result<()> {
        let replaced = node.op.replaced_inputs(node.n_outputs as usize);
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            inputs.push(self.number(*input)?);
        }
        // Versions that somebody still wants after this update move out first.
        for i in 0..replaced {
            let old = node.inputs[i] as usize;
            if self.held[old].is_some() || self.last_use[old].is_some_and(|last| last > position) {
                let copy = self.copy(inputs[i]);
                self.renumbered[old] = Some(copy);
                for (other, number) in node.inputs.iter().zip(&mut inputs).skip(replaced) {
                    if *other as usize == old {
                        *number = copy;
                    }
                }
            }
        }
        let number = self.graph.nodes.len() as u32;
        let outputs: Vec<u32> = (node.first_output..node.first_output + node.n_outputs)
            .enumerate()
            .map(|(i, output)| {
                let value = &self.program.values[output as usize];
                let (dtype, shape) = (value.dtype, value.shape);
                let origin = match inputs.get(i) {
                    Some(old) if i < replaced => match self.graph.values[*old as usize].origin {
                        Origin::Variable { variable } | Origin::Updated { variable, .. } => {
                            Origin::Updated { node: number, variable }
                        }
                        _ => Origin::Node { node: number },
                    },
                    Some(of) if node.op.is_view() => Origin::View { of: *of },
                    _ => Origin::Node { node: number },
                };
                let new = self.add(dtype, shape, origin);
                self.renumbered[output as usize] = Some(new);
                new
            })
            .collect();
        if !node.op.is_view() {
            let param = self.binding.params.len() as u32;
            self.binding.params.extend_from_slice(node.params.as_slice());
            self.graph.nodes.push(Node { op: node.op, inputs, outputs, param });
        }
        Ok(())
    }

    /// Appends a copy of a value of the graph.
    fn copy(&mut self, of: u32) -> u32 {
        let ValueInfo { dtype, shape, .. } = self.graph.values[of as usize];
        let node = self.graph.nodes.len() as u32;
        let output = self.add(dtype, shape, Origin::Node { node });
        let param = self.binding.params.len() as u32;
        self.graph.nodes.push(Node { op: Op::Layout(Layout::Copy), inputs: vec![of], outputs: vec![output], param });
        output
    }

    /// The number of a value in the graph; slots are added at first use.
    fn number(&mut self, value: u32) -> Result<u32> {
        if let Some(number) = self.renumbered[value as usize] {
            return Ok(number);
        }
        let Value { dtype, shape, source, .. } = &self.program.values[value as usize];
        let (dtype, shape) = (*dtype, *shape);
        let origin = match source {
            Source::Stored(buffer) => {
                let slot = self.binding.stored.len() as u32;
                let alias = *self.addresses.entry(buffer.as_ptr() as usize).or_insert(slot);
                self.binding.stored.push(buffer.clone());
                Origin::Stored { slot, alias }
            }
            Source::Variable(cell, _) => {
                let next = self.binding.variables.len() as u32;
                let variable = *self.variables.entry(cell.id).or_insert(next);
                if variable == next {
                    self.binding.variables.push(cell.clone());
                }
                Origin::Variable { variable }
            }
            Source::Node(_) => return Err(Error::Internal("an operation reads a value that is not made".to_owned())),
        };
        let number = self.add(dtype, shape, origin);
        self.renumbered[value as usize] = Some(number);
        Ok(number)
    }

    fn add(&mut self, dtype: DType, shape: Shape, origin: Origin) -> u32 {
        self.graph.values.push(ValueInfo { dtype, shape, origin, held: false });
        (self.graph.values.len() - 1) as u32
    }
}

/// Whether an operation overwrites a value.
fn is_replaced(node: &Recorded, value: u32) -> bool {
    let replaced = node.op.replaced_inputs(node.n_outputs as usize);
    node.inputs[..replaced].contains(&value)
}
