//! How many results a run has set, and how large they are together.

use super::instance::Run;
use super::text;
use crate::base::{Limits, Result};

impl Run {
    /// Counts a result that is set to a value of so many bytes, in place of one of
    /// the same name, if the limits allow it.
    pub(super) fn may_set_result(&mut self, name: &str, value_bytes: u64, limits: &Limits) -> Result<()> {
        text::name("result", name)?;
        let replaced = self.results.get(name).copied();
        let count = self.results.len() as u64 + u64::from(replaced.is_none());
        if count > limits.results {
            return Err(Limits::exceeded("results", count, limits.results));
        }
        let name_bytes = name.len() as u64;
        let others = self.results_bytes.saturating_sub(replaced.map_or(0, |bytes| bytes + name_bytes));
        let bytes = others.saturating_add(name_bytes).saturating_add(value_bytes);
        if bytes > limits.results_bytes {
            return Err(Limits::exceeded("results_bytes", bytes, limits.results_bytes));
        }
        self.results_bytes = bytes;
        self.results.insert(name.to_owned(), value_bytes);
        Ok(())
    }
}
