//! The operations of the IR and where each family lives.

use super::call::{Call, Operands};
use super::cuda::Recorder;
use super::ops::elementwise::{Elementwise, Fused};
use super::ops::index::Index;
use super::ops::layout::Layout;
use super::ops::matrix::Matrix;
use super::ops::optimiser::Update;
use super::ops::random::Random;
use super::ops::reduce::Reduce;
use super::ops::softmax::Probability;
use super::ops::window::Window;
use super::session::Session;
use super::tape::Entry;
use super::value::Tensor;
use crate::base::{Error, Result};

/// One operation with all that is part of a program's identity. Scalars that
/// may change from step to step are [`Params`] beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Element by element, with broadcasting; fusable.
    Elementwise(Elementwise),
    /// Products of matrices.
    Matrix(Matrix),
    /// Along one axis: softmax and cross-entropy.
    Probability(Probability),
    /// Sums, means and maxima.
    Reduce(Reduce),
    /// Moves elements without looking at them.
    Layout(Layout),
    /// Picks by index, or yields indices.
    Index(Index),
    /// Draws numbers.
    Random(Random),
    /// Slides over images.
    Window(Window),
    /// Replaces variables: output i takes the memory of input i.
    Update(Update),
}

impl Op {
    /// Executes it.
    pub(crate) fn run(&self, call: &Call) -> Result<()> {
        // Extents beside a 0 may be huge, and nothing should be counted along them.
        // Indices are checked all the same.
        let empty = (0..call.outputs.len()).all(|i| call.output(i).elements() == 0);
        if empty && !matches!(self, Self::Index(_)) {
            return Ok(());
        }
        match self {
            Self::Elementwise(op) => op.run(call),
            Self::Matrix(op) => op.run(call),
            Self::Probability(op) => op.run(call),
            Self::Reduce(op) => op.run(call),
            Self::Layout(op) => op.run(call),
            Self::Index(op) => op.run(call),
            Self::Random(op) => op.run(call),
            Self::Window(op) => op.run(call),
            Self::Update(op) => op.run(call),
        }
    }

    /// Records its execution on CUDA; `param` is where its parameters begin.
    pub(crate) fn record(&self, operands: &Operands, param: usize, on: &mut Recorder) {
        on.next_operation();
        let empty = (0..operands.outputs.len()).all(|i| operands.output(i).elements() == 0);
        if empty && !matches!(self, Self::Index(_)) {
            return;
        }
        match self {
            Self::Elementwise(op) => Fused::single(*op, operands, param).record(operands.views, on),
            Self::Matrix(op) => op.record(operands, on),
            Self::Probability(op) => op.record(operands, on),
            Self::Reduce(op) => op.record(operands, on),
            Self::Layout(op) => op.record(operands, param, on),
            Self::Index(op) => op.record(operands, on),
            Self::Random(op) => op.record(operands, param, on),
            Self::Window(op) => op.record(operands, on),
            Self::Update(op) => op.record(operands, param, on),
        }
    }

    /// Memory that executing it takes besides its operands, at most: what grows with
    /// the sizes that a guest chooses.
    pub(crate) fn scratch_bytes(&self, operands: &Operands) -> usize {
        match self {
            Self::Matrix(op) => op.scratch_bytes(operands),
            Self::Probability(op) => op.scratch_bytes(operands),
            Self::Reduce(op) => op.scratch_bytes(operands),
            Self::Index(op) => op.scratch_bytes(operands),
            Self::Random(op) => op.scratch_bytes(operands),
            Self::Window(op) => op.scratch_bytes(operands),
            Self::Elementwise(_) | Self::Layout(_) | Self::Update(_) => 0,
        }
    }

    /// Records the gradients of the inputs that `entry.wants`, given that of the
    /// output.
    pub(crate) fn gradient(&self, session: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        match self {
            Self::Elementwise(op) => op.gradient(session, entry, dy),
            Self::Matrix(op) => op.gradient(session, entry, dy),
            Self::Probability(op) => op.gradient(session, entry, dy),
            Self::Reduce(op) => op.gradient(session, entry, dy),
            Self::Layout(op) => op.gradient(session, entry, dy),
            Self::Index(op) => op.gradient(session, entry, dy),
            Self::Random(_) => Ok(Vec::new()),
            Self::Window(op) => op.gradient(session, entry, dy),
            Self::Update(_) => Err(Error::Internal("an update has no gradient".to_owned())),
        }
    }

    /// Whether a gradient can flow through it at all.
    pub(crate) fn is_differentiable(&self) -> bool {
        match self {
            Self::Elementwise(op) => op.is_differentiable(),
            Self::Index(op) => op.is_differentiable(),
            Self::Random(_) | Self::Update(_) => false,
            _ => true,
        }
    }

    /// How many of the inputs, from the first on, are replaced by outputs.
    pub(crate) fn replaced_inputs(&self, n_outputs: usize) -> usize {
        if matches!(self, Self::Update(_)) { n_outputs } else { 0 }
    }

    /// Whether the output is the input's memory seen in another shape.
    pub(crate) fn is_view(&self) -> bool {
        matches!(self, Self::Layout(Layout::Reshape))
    }
}

/// The scalars of one operation: `f64` or `u64` by their bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    bits: [u64; 6],
    len: usize,
}

impl Params {
    /// None.
    pub(crate) const NONE: Self = Self { bits: [0; 6], len: 0 };

    /// Floating-point scalars.
    pub(crate) fn floats<const N: usize>(values: [f64; N]) -> Self {
        Self::words(values.map(f64::to_bits))
    }

    /// Whole numbers, or anything as bits.
    pub(crate) fn words<const N: usize>(values: [u64; N]) -> Self {
        const { assert!(N <= 6) }
        let mut bits = [0; 6];
        bits[..N].copy_from_slice(&values);
        Self { bits, len: N }
    }

    /// The words.
    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.bits[..self.len]
    }

    /// Scalar `i`; 0 where there is none.
    pub(crate) fn float(&self, i: usize) -> f64 {
        f64::from_bits(self.word(i))
    }

    /// Word `i`; 0 where there is none.
    pub(crate) fn word(&self, i: usize) -> u64 {
        self.as_slice().get(i).copied().unwrap_or_default()
    }
}
