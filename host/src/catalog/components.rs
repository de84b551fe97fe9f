//! The catalog of components: create, replace, drop, list, resolve.

use std::time::{SystemTime, UNIX_EPOCH};

use super::ProcSpec;
use crate::base::{Error, Result};
use crate::storage::{ComponentRecord, Storage};

/// Components and procs by name. Cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    storage: Storage,
}

/// What is stored of a component: the answer of its inspection and the file.
pub struct NewComponent<'a> {
    /// Its name: letters, digits, `_` and `-`.
    pub name: &'a str,
    /// The procs it declares.
    pub procs: &'a [ProcSpec],
    /// Of `bytes`, 64 hex digits.
    pub sha256: &'a str,
    /// The `.wasm` file.
    pub bytes: &'a [u8],
}

/// A proc found by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The active version of the component that offers it.
    pub component: ComponentRecord,
    /// What it declares.
    pub proc: ProcSpec,
}

impl Catalog {
    /// Over the records of `storage`.
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Adds a component under a name that no other has.
    pub fn create(&self, new: &NewComponent<'_>) -> Result<ComponentRecord> {
        match self.find(new.name)? {
            Some(_) => Err(Error::Exists { kind: "component", name: new.name.to_owned() }),
            None => self.add(new),
        }
    }

    /// Adds a version of a component and makes it the active one; creates the
    /// component when it is missing. The same bytes again change nothing.
    pub fn replace(&self, new: &NewComponent<'_>) -> Result<ComponentRecord> {
        match self.find(new.name)? {
            Some(active) if active.sha256 == new.sha256 => Ok(active),
            _ => self.add(new),
        }
    }

    /// Lets nothing answer to the name any more. Runs that use it go on.
    pub fn drop_component(&self, name: &str) -> Result<()> {
        let mut write = self.storage.begin();
        write.drop_component(name);
        write.commit().map(drop)
    }

    /// The active versions, by name.
    pub fn list(&self) -> Result<Vec<ComponentRecord>> {
        self.storage.components(true)
    }

    /// The active version of a component.
    pub fn component(&self, name: &str) -> Result<ComponentRecord> {
        self.storage.component(name)
    }

    /// The file of a component.
    pub fn bytes(&self, component: &ComponentRecord) -> Result<Vec<u8>> {
        self.storage.component_bytes(&component.sha256)
    }

    /// The procs that a version of a component declares.
    pub fn declared(component: &ComponentRecord) -> Result<Vec<ProcSpec>> {
        serde_json::from_str(&component.procs).map_err(|e| Error::Corrupt {
            what: format!("component `{}`", component.name),
            reason: format!("its declarations cannot be read ({e}); create it again"),
        })
    }

    /// All procs that can be executed, by component and in declared order.
    pub fn procs(&self) -> Result<Vec<Resolved>> {
        let mut all = Vec::new();
        for component in self.list()? {
            for proc in Self::declared(&component)? {
                all.push(Resolved { component: component.clone(), proc });
            }
        }
        Ok(all)
    }

    /// The proc called `proc`, or `component.proc` where several have that name.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        if let Some((component, proc)) = name.split_once('.') {
            let component = self.component(component)?;
            let procs = Self::declared(&component)?;
            return match procs.iter().find(|spec| spec.name == proc) {
                Some(spec) => Ok(Resolved { proc: spec.clone(), component }),
                None => {
                    let within = Some(format!("component `{}`", component.name));
                    Err(Error::not_found("proc", proc, within, procs.iter().map(|spec| &spec.name)))
                }
            };
        }
        let procs = self.procs()?;
        let mut found = procs.iter().filter(|resolved| resolved.proc.name == name);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => Err(ambiguous(name, &procs)),
            (None, _) => Err(missing(name, &procs)),
        }
    }

    fn find(&self, name: &str) -> Result<Option<ComponentRecord>> {
        Ok(self.list()?.into_iter().find(|component| component.name == name))
    }

    fn add(&self, new: &NewComponent<'_>) -> Result<ComponentRecord> {
        super::check_word("component", new.name)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = ComponentRecord {
            name: new.name.to_owned(),
            version: self.storage.next_component_version(new.name)?,
            sha256: new.sha256.to_owned(),
            size_bytes: new.bytes.len() as u64,
            created_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            active: true,
            procs: serde_json::to_string(new.procs).map_err(|e| Error::Internal(e.to_string()))?,
        };
        let mut write = self.storage.begin();
        write.put_component(record.clone(), new.bytes.to_vec());
        write.commit()?;
        Ok(record)
    }
}

fn ambiguous(name: &str, procs: &[Resolved]) -> Error {
    let same = procs.iter().filter(|resolved| resolved.proc.name == name);
    let full: Vec<_> = same.map(|resolved| format!("`{}.{name}`", resolved.component.name)).collect();
    Error::Invalid(format!("several components offer a proc `{name}`; write {}", full.join(" or ")))
}

fn missing(name: &str, procs: &[Resolved]) -> Error {
    let own: Vec<_> = procs.iter().filter(|r| r.component.name == name).map(|r| format!("`{}`", r.proc.name)).collect();
    if own.is_empty() {
        return Error::not_found("proc", name, None, procs.iter().map(|resolved| &resolved.proc.name));
    }
    Error::Invalid(format!("no proc `{name}`; component `{name}` offers {}", own.join(", ")))
}
