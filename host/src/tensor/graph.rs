//! A cleaned program. Two programs are the same when their graphs are equal:
//! operations with all attributes, topology, shapes, types, which slots alias, and
//! which values are held at the end. What may differ is in the [`Binding`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::op::Op;
use super::program::INPUTS_PER_OP;
use super::shape::Shape;
use super::value::{Cell, Handle};
use crate::base::DType;
use crate::device::Buffer;

/// The identity of a program.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Graph {
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ValueInfo {
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) origin: Origin,
    /// A handle or tape wants it after the program.
    pub(crate) held: bool,
}

/// Where a value lives and who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// Memory that exists before the program; `alias` is the first slot at the same address.
    Stored {
        /// Position in [`Binding::stored`].
        slot: u32,
        /// The first slot with this address.
        alias: u32,
    },
    /// A variable on entry.
    Variable {
        /// Position in [`Binding::variables`].
        variable: u32,
    },
    /// A variable after an update.
    Updated {
        /// The update.
        node: u32,
        /// Position in [`Binding::variables`].
        variable: u32,
    },
    /// A result in memory of its own.
    Node {
        /// Its maker.
        node: u32,
    },
    /// The memory of another value in another shape.
    View {
        /// That value.
        of: u32,
    },
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<u32>,
    pub(crate) outputs: Vec<u32>,
    /// Where its scalars begin in [`Binding::params`].
    pub(crate) param: u32,
}

/// What a program is executed with.
#[derive(Default)]
pub(crate) struct Binding {
    pub(crate) stored: Vec<Buffer>,
    pub(crate) variables: Vec<Arc<Cell>>,
    pub(crate) params: Vec<u64>,
    /// Values to keep, and the handles that want them.
    pub(crate) held: Vec<(u32, Arc<Handle>)>,
}

impl Graph {
    /// As [`Program::weight`](super::program::Program::weight): what remembering it costs.
    pub(crate) fn weight(&self) -> usize {
        self.nodes.len() + self.nodes.iter().map(|node| node.inputs.len()).sum::<usize>() / INPUTS_PER_OP
    }

    /// A hash of all of it.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The value whose memory `value` is.
    pub(crate) fn root(&self, mut value: u32) -> u32 {
        while let Origin::View { of } = self.values[value as usize].origin {
            value = of;
        }
        value
    }

    /// For each value the position of the last operation that reads its memory.
    pub(crate) fn last_uses(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.values.len()];
        for (position, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                last[self.root(*input) as usize] = Some(position);
            }
        }
        last
    }
}
