//! Parameters of a request against what the proc declares.

use crate::base::{Error, Result};
use crate::catalog::spec::ProcSpec;

/// Every parameter that has a value, in declared order, defaults filled in.
pub(super) fn resolve(proc: &ProcSpec, given: &[(String, String)]) -> Result<Vec<(String, String)>> {
    for (i, (name, value)) in given.iter().enumerate() {
        let Some(spec) = proc.params.iter().find(|spec| spec.name == *name) else {
            let names = proc.params.iter().map(|spec| &spec.name);
            return Err(Error::not_found("parameter", name, Some(format!("proc `{}`", proc.name)), names));
        };
        spec.param_type.check(name, value)?;
        if given[..i].iter().any(|(other, _)| other == name) {
            return Err(Error::Invalid(format!("parameter `{name}` is given twice")));
        }
    }
    let mut resolved = Vec::with_capacity(proc.params.len());
    for spec in &proc.params {
        let value = given.iter().find(|(name, _)| *name == spec.name).map(|(_, value)| value);
        match value.or(spec.default.as_ref()) {
            Some(value) => resolved.push((spec.name.clone(), value.clone())),
            None => {
                return Err(Error::Invalid(format!(
                    "proc `{}` needs parameter `{}` ({}), which has no default",
                    proc.name, spec.name, spec.param_type
                )));
            }
        }
    }
    Ok(resolved)
}
