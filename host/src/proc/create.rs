//! A component file enters the catalog: it is inspected, then stored as a
//! version of its name. The report says what each step found.

use serde::{Deserialize, Serialize};

use super::{CodeCache, Engine, Inspection, inspect};
use crate::base::{Error, Limits, Result};
use crate::catalog::{Activation, Catalog, Change, Created, NewComponent, ProcChange, Rights};

/// A component that is to be created, beside its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRequest {
    /// The component's name.
    pub name: String,
    /// Whether this version answers to the name.
    pub activation: Activation,
    /// Whether anything is stored.
    pub purpose: Purpose,
    /// Other values for limits.
    pub limits: Vec<(String, u64)>,
    /// Procs of which only so many instances may run at the same time.
    pub max_concurrency: Vec<(String, Option<u64>)>,
    /// How many instances of each other proc may run at the same time; as it is where absent.
    #[serde(default)]
    pub max_concurrency_of_others: Option<u64>,
}

/// Whether a component is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// The component is stored.
    Store,
    /// All is checked and told, nothing is stored.
    DryRun,
}

/// What was found in a component file, and done with it.
#[derive(Clone, Debug)]
pub struct CreationReport {
    /// The version, and what became of it; would become, in a dry run.
    pub created: Created,
    /// Whether it was stored.
    pub purpose: Purpose,
    /// What the file is.
    pub inspection: Inspection,
}

impl ComponentRequest {
    /// Stores and activates, with the usual limits.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            activation: Activation::Now,
            purpose: Purpose::Store,
            limits: Vec::new(),
            max_concurrency: Vec::new(),
            max_concurrency_of_others: None,
        }
    }

    /// What [`create`](Self::create) would do in a folder that does not exist yet.
    pub fn preview(&self, bytes: &[u8], cache: Option<&CodeCache>) -> Result<CreationReport> {
        let inspection = self.inspect(bytes, &Limits::default(), cache)?;
        let new = NewComponent { name: &self.name, procs: &inspection.procs, sha256: &inspection.sha256, bytes };
        let component = new.record(1, self.activation)?;
        let created = Created { component, change: Change::Created };
        Ok(CreationReport { created, purpose: Purpose::DryRun, inspection })
    }

    /// Inspects `bytes` and does what is asked for, if the rights allow it.
    pub fn create(
        &self,
        (catalog, rights): (&Catalog, &Rights),
        bytes: &[u8],
        limits: &Limits,
        cache: Option<&CodeCache>,
    ) -> Result<CreationReport> {
        let inspection = self.inspect(bytes, limits, cache)?;
        let new = NewComponent { name: &self.name, procs: &inspection.procs, sha256: &inspection.sha256, bytes };
        let created = match self.purpose {
            Purpose::Store => catalog.add_as(rights, &new, self.activation, &self.settings(&inspection))?,
            Purpose::DryRun => {
                let (component, change) = catalog.preview(&new, self.activation)?;
                Created { component, change }
            }
        };
        Ok(CreationReport { created, purpose: self.purpose, inspection })
    }

    /// What is set for the component's procs.
    fn settings(&self, inspection: &Inspection) -> Vec<(String, ProcChange)> {
        let is_named = |proc: &str| self.max_concurrency.iter().any(|(named, _)| named == proc);
        let others = inspection.procs.iter().map(|spec| &spec.name).filter(|name| !is_named(name));
        let others = others.filter_map(|name| Some((name.clone(), Some(self.max_concurrency_of_others?))));
        let bounds = self.max_concurrency.iter().cloned().chain(others);
        bounds.map(|(proc, instances)| (proc, ProcChange::MaxConcurrency(instances))).collect()
    }

    fn inspect(&self, bytes: &[u8], limits: &Limits, cache: Option<&CodeCache>) -> Result<Inspection> {
        let mut limits = limits.clone();
        self.limits.iter().try_for_each(|(name, value)| limits.set(name, *value))?;
        let inspection = inspect(Engine::get()?, &format!("`{}`", self.name), bytes, &limits, cache)?;
        for (proc, instances) in &self.max_concurrency {
            if !inspection.procs.iter().any(|spec| spec.name == *proc) {
                let within = Some(format!("component `{}`", self.name));
                return Err(Error::not_found("proc", proc, within, inspection.procs.iter().map(|spec| &spec.name)));
            }
            Catalog::check_max_concurrency(&self.name, proc, *instances)?;
        }
        Ok(inspection)
    }
}

impl CreationReport {
    /// One line: what became of which version.
    pub fn sentence(&self) -> String {
        let Created { component, change } = &self.created;
        let version = format!("component `{}` version {}", component.name, component.version);
        let later = if component.active { "" } else { ", which is not active" };
        match (self.purpose, change) {
            (Purpose::Store, Change::Created) => format!("created {version}{later}"),
            (Purpose::Store, Change::Activated) => format!("these bytes are {version}, which is active again"),
            (_, Change::Unchanged) => format!("these bytes are {version} already{later}; nothing changes"),
            (Purpose::DryRun, Change::Created) => format!("would create {version}{later}; nothing was stored"),
            (Purpose::DryRun, Change::Activated) => {
                format!("these bytes are {version}, which would be active again; nothing was stored")
            }
        }
    }
}
