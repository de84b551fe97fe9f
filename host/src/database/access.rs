//! Whether a user may ask for something, see [`Rights`].

use super::Database;
use crate::base::Result;
use crate::catalog::{Privilege, Rights};
use crate::proc::{Creation, Purpose};
use crate::run::{Request, Target, check_kill, check_request, check_startup};

impl Database {
    /// What a user may do; the folder's owner without one.
    pub fn rights(&self, user: Option<&str>) -> Result<Rights> {
        Rights::of(&self.storage, user)
    }

    /// Whether a component may be created, or get another version.
    pub fn may_create_component(&self, rights: &Rights, creation: &Creation) -> Result<()> {
        rights.create_component(&self.catalog, &creation.name)
    }

    /// Whether a component, active or not, may be activated and deleted.
    pub fn may_administer(&self, rights: &Rights, component: &str) -> Result<()> {
        if rights.user().is_some() && !self.catalog.versions()?.iter().any(|kept| kept.name == component) {
            // What does not exist is named as such.
            self.catalog.component(component)?;
        }
        rights.function(Privilege::Admin, component, None)
    }

    /// Records who has created a component.
    pub fn own_component(&self, rights: &Rights, creation: &Creation) -> Result<()> {
        match creation.purpose {
            Purpose::DryRun => Ok(()),
            _ => rights.own_component(&self.storage, &creation.name),
        }
    }

    /// Whether a run could be started; puts the user's name on the request.
    pub fn may_execute(&self, rights: &Rights, request: &mut Request) -> Result<()> {
        check_request(rights, &self.catalog, &self.runs, self.storage.snapshot()?.as_ref(), request)
    }

    /// Whether runs may be killed.
    pub fn may_kill(&self, rights: &Rights, target: &Target) -> Result<()> {
        check_kill(rights, &self.runs, target)
    }

    /// Whether a request for start-up may be cancelled.
    pub fn may_cancel(&self, rights: &Rights, id: u64) -> Result<()> {
        check_startup(rights, &self.runs, id)
    }
}
