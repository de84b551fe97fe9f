//! From a proc's name to the component version that is to be executed. Names are
//! `proc` or `component.proc`; with `@N`, as in `mnist@2.train` or `train@2`,
//! version N is meant instead of the active one.

use super::{Catalog, ProcSpec};
use crate::base::{Error, Result, closest};
use crate::storage::ComponentRecord;

/// A proc found by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The version of the component that offers it.
    pub component: ComponentRecord,
    /// What it declares.
    pub proc: ProcSpec,
}

/// A proc's name in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    component: Option<&'a str>,
    version: Option<u64>,
    proc: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (component, proc) = match text.split_once('.') {
            Some((component, proc)) => (Some(component), proc),
            None => (None, text),
        };
        // The number stands behind the component, or behind the proc alone.
        let (head, number) = match component.unwrap_or(proc).split_once('@') {
            Some((head, number)) => (head, Some(number)),
            None => (component.unwrap_or(proc), None),
        };
        let version = number.map(|number| number.parse::<u32>().map(u64::from)).transpose().map_err(|_| {
            Error::Invalid(format!("`{text}` names no version: behind `@` stands its number, as in `mnist@2.train`"))
        })?;
        Ok(match component {
            Some(_) => Self { component: Some(head), version, proc },
            None => Self { component: None, version, proc: head },
        })
    }
}

/// The name of a proc in a version: `train` and 2 make `train@2`, `mnist.train`
/// and 2 make `mnist@2.train`.
pub fn at_version(name: &str, version: u64) -> Result<String> {
    let parsed = Name::parse(name)?;
    if parsed.version.is_some_and(|named| named != version) {
        return Err(Error::Invalid(format!("`{name}` names another version than {version}")));
    }
    Ok(match parsed.component {
        Some(component) => format!("{component}@{version}.{}", parsed.proc),
        None => format!("{}@{version}", parsed.proc),
    })
}

impl Catalog {
    /// All procs of active versions, by component and in declared order.
    pub fn procs(&self) -> Result<Vec<Resolved>> {
        procs_of(self.list()?)
    }

    /// The proc called `proc`, or `component.proc` where several have that name;
    /// of the active version, or of the one behind `@`.
    pub fn resolve(&self, name: &str) -> Result<Resolved> {
        let parsed = Name::parse(name)?;
        let Some(component) = parsed.component else { return self.resolve_alone(&parsed) };
        let component = match parsed.version {
            Some(version) => self.version(component, version)?,
            None => self.component(component)?,
        };
        let procs = Self::declared(&component)?;
        match procs.iter().find(|spec| spec.name == parsed.proc) {
            Some(spec) => Ok(Resolved { proc: spec.clone(), component }),
            None => {
                let within = match parsed.version {
                    Some(version) => format!("version {version} of component `{}`", component.name),
                    None => format!("component `{}`", component.name),
                };
                Err(Error::not_found("proc", parsed.proc, Some(within), procs.iter().map(|spec| &spec.name)))
            }
        }
    }

    /// A name without a component.
    fn resolve_alone(&self, name: &Name<'_>) -> Result<Resolved> {
        let procs = match name.version {
            Some(version) => {
                let versions = self.versions()?.into_iter().filter(|component| component.version == version);
                procs_of(versions.collect())?
            }
            None => self.procs()?,
        };
        let mut found = procs.iter().filter(|resolved| resolved.proc.name == name.proc);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => Err(ambiguous(name, &procs)),
            (None, _) => Err(missing(name, &procs)),
        }
    }
}

fn procs_of(components: Vec<ComponentRecord>) -> Result<Vec<Resolved>> {
    let mut all = Vec::new();
    for component in components {
        for proc in Catalog::declared(&component)? {
            all.push(Resolved { component: component.clone(), proc });
        }
    }
    Ok(all)
}

fn ambiguous(name: &Name<'_>, procs: &[Resolved]) -> Error {
    let at = name.version.map(|version| format!("@{version}")).unwrap_or_default();
    let same = procs.iter().filter(|resolved| resolved.proc.name == name.proc);
    let full: Vec<_> = same.map(|resolved| format!("`{}{at}.{}`", resolved.component.name, name.proc)).collect();
    Error::Invalid(format!("several components offer a proc `{}`; write {}", name.proc, full.join(" or ")))
}

fn is_proc(name: &str, procs: &[Resolved]) -> bool {
    procs.iter().any(|resolved| resolved.proc.name == name)
}

fn missing(name: &Name<'_>, procs: &[Resolved]) -> Error {
    let proc = name.proc;
    if let Some(version) = name.version {
        return Error::Invalid(format!(
            "no component has a version {version} with a proc `{proc}`; `quern proc list --versions` lists the versions"
        ));
    }
    let of = |component: &str| -> Vec<_> {
        procs.iter().filter(|r| r.component.name == component).map(|r| format!("`{}`", r.proc.name)).collect()
    };
    let only = |component: &str| match of(component).as_slice() {
        [only] => Some(format!("{component}.{}", only.trim_matches('`'))),
        _ => None,
    };
    let own = of(proc);
    if own.len() < 2 {
        let names = procs.iter().flat_map(|r| [&r.proc.name, &r.component.name]);
        let suggestion = only(proc).or_else(|| closest(proc, names)).map(|near| match is_proc(&near, procs) {
            true => near,
            false => only(&near).unwrap_or(near),
        });
        return Error::NotFound { kind: "proc", name: proc.to_owned(), within: None, suggestion };
    }
    Error::Invalid(format!("no proc `{proc}`; component `{proc}` offers {}", own.join(", ")))
}
