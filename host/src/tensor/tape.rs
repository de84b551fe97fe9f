//! Reverse-mode gradients. A tape notes the operations that depend on its
//! variables; their gradients are recorded as operations like any others.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::op::{Op, Params};
use super::session::Session;
use super::shape::Shape;
use super::value::{Tensor, Variable};
use crate::base::{Error, Result};
use crate::device::Charge;

/// Host memory of one variable of a tape, about.
const WATCHED_BYTES: usize = 64;

/// Notes of what was computed from some variables since it began. While it lives,
/// it holds the values that gradients need: drop it before the next one begins.
#[derive(Debug)]
pub struct Tape(Arc<Notes>);

/// What the session writes to.
#[derive(Debug)]
pub(crate) struct Notes {
    session: u64,
    variables: Vec<Tensor>,
    _charge: Charge,
    state: Mutex<State>,
}

/// The growing part.
#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Handles of values that depend on the variables.
    tracked: HashSet<u64>,
}

/// One operation on a tape.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    op: Op,
    pub(crate) params: Params,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) output: Tensor,
    tracked: u64,
}

impl Entry {
    /// Whether the gradient of input `i` is needed.
    pub(crate) fn wants(&self, i: usize) -> bool {
        // Operations with more inputs than bits simply compute all gradients.
        i >= 64 || self.tracked >> i & 1 == 1
    }
}

impl Notes {
    /// Notes an operation if it depends on the variables.
    pub(crate) fn note(&self, op: &Op, params: Params, inputs: &[&Tensor], output: &Tensor) {
        if !op.is_differentiable() || !output.dtype().is_float() {
            return;
        }
        let mut state = self.state();
        let bits = inputs.iter().enumerate().filter(|(_, input)| state.tracked.contains(&input.0.id));
        let (tracked, any) =
            bits.fold((0, false), |(bits, _), (i, _)| (bits | 1u64.checked_shl(i as u32).unwrap_or(0), true));
        if any {
            state.tracked.insert(output.0.id);
            let inputs = inputs.iter().map(|input| (*input).clone()).collect();
            state.entries.push(Entry { op: op.clone(), params, inputs, output: output.clone(), tracked });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Begins a tape over the present values of `variables`, after executing what
    /// is recorded, so that a training loop becomes one repeated program.
    pub fn tape(&mut self, variables: &[&Variable]) -> Result<Tape> {
        self.step()?;
        let charge = self.charge(variables.len().saturating_mul(WATCHED_BYTES))?;
        let values: Vec<Tensor> = variables.iter().map(|variable| self.value(variable)).collect::<Result<_>>()?;
        let tracked = values.iter().map(|value| value.0.id).collect();
        let state = Mutex::new(State { entries: Vec::new(), tracked });
        let notes = Arc::new(Notes { session: self.id(), variables: values, _charge: charge, state });
        self.watch(&notes);
        Ok(Tape(notes))
    }

    /// ∂loss/∂variable for each variable of the tape in order; zeros where `loss`
    /// does not depend on it. `loss` has one element of a float type. May be called
    /// several times.
    pub fn gradients(&mut self, tape: &Tape, loss: &Tensor) -> Result<Vec<Tensor>> {
        if tape.0.session != self.id() {
            return Err(Error::Invalid("this tape belongs to another run".to_owned()));
        }
        if loss.elements() != 1 || !loss.dtype().is_float() {
            return Err(Error::Invalid(format!(
                "gradients of a {} of shape {}; a float scalar is needed",
                loss.dtype(),
                loss.0.shape
            )));
        }
        self.unwatched(|session| session.backward(&tape.0, loss))
    }

    fn backward(&mut self, notes: &Notes, loss: &Tensor) -> Result<Vec<Tensor>> {
        let entries = notes.state().entries.clone();
        let mut gradients: HashMap<u64, Tensor> = HashMap::new();
        let one = self.full_of(loss.dtype(), loss.0.shape, 1.0)?;
        gradients.insert(loss.0.id, one);
        let wanted: HashSet<u64> = notes.variables.iter().map(|v| v.0.id).collect();
        for entry in entries.iter().rev() {
            let id = entry.output.0.id;
            // Nothing earlier adds to it: a value is made once.
            let Some(dy) = gradients.remove(&id) else { continue };
            if wanted.contains(&id) {
                gradients.insert(id, dy.clone());
            }
            let parts = entry.op.gradient(self, entry, &dy)?;
            for (i, (input, part)) in entry.inputs.iter().zip(parts).enumerate() {
                let Some(part) = part.filter(|_| entry.wants(i)) else { continue };
                let sum = match gradients.get(&input.0.id) {
                    Some(sum) => self.add(sum, &part)?,
                    None => part,
                };
                gradients.insert(input.0.id, sum);
            }
        }
        let variables = notes.variables.iter();
        variables.map(|v| gradients.get(&v.0.id).cloned().map_or_else(|| self.zeros_like(v), Ok)).collect()
    }

    fn zeros_like(&mut self, a: &Tensor) -> Result<Tensor> {
        self.full_of(a.dtype(), Shape::new(a.shape())?, 0.0)
    }
}
