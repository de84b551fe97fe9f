//! What is set for the runs of a proc: limits, and how many instances at a time.

use super::runs::Runs;
use crate::base::{Limits, Result};
use crate::catalog::{Privilege, ProcChange, Rights};
use crate::storage::ProcSetting;

impl Runs {
    /// The limits of a proc's runs that ask for no others.
    pub(super) fn limits_of(&self, component: &str, proc: &str) -> Result<Limits> {
        self.limits_with(&self.0.catalog.setting(component, proc)?)
    }

    pub(super) fn limits_with(&self, setting: &ProcSetting) -> Result<Limits> {
        self.0.limits.with(&setting.limits)
    }

    /// Deletes a component, if the rights allow it, as
    /// [`drop_component_as`](crate::catalog::Catalog::drop_component_as) says.
    pub fn drop_component(&self, rights: &Rights, name: &str) -> Result<()> {
        rights.function(Privilege::Admin, name, None)?;
        self.0.catalog.drop_component_as(rights, &self.0.limits, name)
    }

    /// Changes what is set for a proc, if the rights allow it; a bound holds at once,
    /// also for runs that wait.
    pub fn alter_proc(&self, rights: &Rights, component: &str, proc: &str, changes: &[ProcChange]) -> Result<()> {
        rights.function(Privilege::Admin, component, None)?;
        let folder = self.0.limits.entries();
        let limits = changes.iter().filter_map(|change| match change {
            ProcChange::Limit(name, Some(value)) => Some((name.as_str(), *value)),
            // What is set no more is that of the folder again.
            ProcChange::Limit(name, None) => {
                folder.iter().find(|(known, _)| known == name).map(|(n, v)| (n.as_str(), *v))
            }
            ProcChange::MaxConcurrency(_) => None,
        });
        rights.raise_limits(component, Some(proc), &self.limits_of(component, proc)?, limits)?;
        self.0.catalog.alter_proc(component, proc, changes)?;
        if changes.iter().any(|change| matches!(change, ProcChange::MaxConcurrency(_))) {
            let allowed = self.0.catalog.max_concurrency(component, proc)?;
            self.0.dispatch.bound(&format!("{component}.{proc}"), allowed);
            self.0.pump();
        }
        Ok(())
    }
}
