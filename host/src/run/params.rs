//! Parameters of a request against what the proc declares.

use std::sync::Arc;

use super::request::RunRequest;
use crate::base::{Error, Limits, Result};
use crate::catalog::spec::{ParamSpec, ParamType, ProcSpec};
use crate::proc::Params;

/// Checks what was given by name and type, and fills in defaults.
pub(super) fn resolve(proc: &ProcSpec, request: &RunRequest) -> Result<Params> {
    let texts = request.params.iter().map(|(name, _)| (name, false));
    let given: Vec<_> = texts.chain(request.binary_params.iter().map(|(name, _)| (name, true))).collect();
    for (i, (name, binary)) in given.iter().enumerate() {
        let spec = declared(proc, name)?;
        if *binary != (spec.param_type == ParamType::Binary) {
            return Err(wrong_kind(spec));
        }
        if given.iter().take(i).any(|(other, _)| other == name) {
            return Err(Error::Invalid(format!("parameter `{name}` is given twice")));
        }
    }
    let mut resolved = Params::default();
    for spec in &proc.params {
        let default = spec.default.as_ref();
        let is_set = match spec.param_type {
            ParamType::Binary => {
                let given = request.binary_params.iter().find(|(name, _)| *name == spec.name);
                let value = given.map(|(_, value)| Arc::clone(&value.0)).or(default.map(|text| text.as_bytes().into()));
                value.map(|value| resolved.binary.push((spec.name.clone(), value)))
            }
            other => {
                let given = request.params.iter().find(|(name, _)| *name == spec.name).map(|(_, value)| value);
                if let Some(value) = given {
                    other.check(&spec.name, value)?;
                }
                given.or(default).map(|value| resolved.texts.push((spec.name.clone(), value.clone())))
            }
        };
        is_set.ok_or_else(|| {
            Error::Invalid(format!(
                "proc `{}` needs parameter `{}` ({}), which has no default",
                proc.name, spec.name, spec.param_type
            ))
        })?;
    }
    Ok(resolved)
}

fn declared<'a>(proc: &'a ProcSpec, name: &str) -> Result<&'a ParamSpec> {
    proc.params.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names = proc.params.iter().map(|spec| &spec.name);
        Error::not_found("parameter", name, Some(format!("proc `{}`", proc.name)), names)
    })
}

fn wrong_kind(spec: &ParamSpec) -> Error {
    let name = &spec.name;
    Error::TypeMismatch(match spec.param_type {
        ParamType::Binary => {
            format!("parameter `{name}` takes bytes; give them as --param-file {name}=PATH, in SQL as {name} = X'…'")
        }
        other => format!("parameter `{name}` takes {other}, not bytes; give it as --param {name}=VALUE"),
    })
}

/// Refuses more bytes than a run may be given.
pub(super) fn check_size(params: &Params, limits: &Limits) -> Result<()> {
    let bytes = params.binary.iter().map(|(_, value)| value.len() as u64).fold(0, u64::saturating_add);
    match bytes > limits.param_bytes {
        true => Err(Limits::exceeded("param_bytes", bytes, limits.param_bytes)),
        false => Ok(()),
    }
}

/// As kept with the run: texts, and of bytes how many they are.
pub(super) fn to_json(params: &Params) -> serde_json::Value {
    let texts = params.texts.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    let binary = params.binary.iter().map(|(name, value)| (name.clone(), serde_json::json!({ "bytes": value.len() })));
    serde_json::Value::Object(texts.chain(binary).collect())
}
