//! Whether a user may ask for something, see [`Rights`].

use super::Database;
use crate::base::Result;
use crate::catalog::{Privilege, Rights};
use crate::proc::ComponentRequest;
use crate::run::{RunRequest, check_request, check_startup};

impl Database {
    /// What a user may do; the folder's owner without one.
    pub fn rights(&self, user: Option<&str>) -> Result<Rights> {
        Rights::of(&self.storage, user)
    }

    /// Whether a component may be created, or get another version, with the limits asked for.
    pub fn may_create_component(&self, rights: &Rights, request: &ComponentRequest) -> Result<()> {
        rights.create_component(&self.catalog, &request.name)?;
        let limits = request.limits.iter().map(|(name, value)| (name.as_str(), *value));
        rights.raise_limits(&request.name, None, &self.limits, limits)
    }

    /// Whether a component, active or not, may be activated and deleted.
    pub fn may_administer(&self, rights: &Rights, component: &str) -> Result<()> {
        if rights.user().is_some() && !self.catalog.versions()?.iter().any(|kept| kept.name == component) {
            // What does not exist is named as such.
            self.catalog.component(component)?;
        }
        rights.function(Privilege::Admin, component, None)
    }

    /// Whether a run could be started.
    pub fn may_execute(&self, rights: &Rights, request: &RunRequest) -> Result<()> {
        let snapshot = self.storage.snapshot()?;
        check_request(rights, &self.catalog, &self.runs, snapshot.as_ref(), &mut request.clone().into())
    }

    /// Whether a request for start-up may be cancelled.
    pub fn may_cancel(&self, rights: &Rights, id: u64) -> Result<()> {
        check_startup(rights, &self.runs, id)
    }
}
