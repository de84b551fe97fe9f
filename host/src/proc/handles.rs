//! The things that a guest holds handles to. A guest cannot forge one: wasmtime
//! translates its handles, per instance and type, to positions in these lists.

use wasmtime::component::Resource;

use crate::base::{Error, Limits, Result};

/// All open things of one type, each at a fixed position while it is open.
pub(super) struct Handles<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

/// How many handles of any type are open, and may be.
pub(super) struct Budget {
    open: u64,
    allowed: u64,
}

impl Budget {
    /// The limit `handles`.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { open: 0, allowed: limits.handles }
    }
}

impl<T: 'static> Handles<T> {
    /// None open.
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Opens a handle to `value`.
    pub(super) fn open(&mut self, budget: &mut Budget, value: T) -> Result<Resource<T>> {
        if budget.open >= budget.allowed {
            return Err(Limits::exceeded("handles", budget.open + 1, budget.allowed));
        }
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(slot) = self.slots.get_mut(at as usize) {
                    *slot = Some(value);
                }
                at
            }
            None => {
                let at = u32::try_from(self.slots.len())
                    .map_err(|_| Limits::exceeded("handles", budget.open + 1, u64::from(u32::MAX)))?;
                self.slots.push(Some(value));
                at
            }
        };
        budget.open += 1;
        Ok(Resource::new_own(at))
    }

    /// Opens a handle to each of `values`, or none at all.
    pub(super) fn open_all(&mut self, budget: &mut Budget, values: Vec<T>) -> Result<Vec<Resource<T>>> {
        let open = budget.open.saturating_add(values.len() as u64);
        if open > budget.allowed {
            return Err(Limits::exceeded("handles", open, budget.allowed));
        }
        values.into_iter().map(|value| self.open(budget, value)).collect()
    }

    /// What the handle stands for.
    #[inline]
    pub(super) fn get(&self, handle: &Resource<T>) -> Result<&T> {
        self.slots.get(handle.rep() as usize).and_then(Option::as_ref).ok_or_else(closed)
    }

    /// Closes the handle and gives up what it stood for.
    #[inline]
    pub(super) fn close(&mut self, budget: &mut Budget, handle: &Resource<T>) -> Result<T> {
        let value = self.slots.get_mut(handle.rep() as usize).and_then(Option::take).ok_or_else(closed)?;
        self.free.push(handle.rep());
        budget.open -= 1;
        Ok(value)
    }
}

/// wasmtime hands out no such handle.
fn closed() -> Error {
    Error::Internal("a handle that is not open reached the host".into())
}
