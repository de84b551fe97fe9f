//! `ALTER FUNCTION`, and what `SHOW FUNCTION` says of how a function is made.

use super::answer::Done;
use super::provider::View;
use super::statement::{AlterFunction, FunctionChange};
use crate::base::{Error, Result};
use crate::catalog::{Privilege, ProcChange, Resolved};
use crate::storage::ProcSetting;

/// How a component that is stored already is named where a file could be.
pub(super) const STORED: &str = "sha256:";
/// The option of a bound on concurrent instances, as Kinetica spells it.
pub(super) const MAX_CONCURRENCY: [&str; 2] = ["max_concurrency", "max_concurrency_per_node"];

/// `ALTER FUNCTION`.
pub(super) fn alter(view: &View, alter: &AlterFunction) -> Result<Done> {
    let catalog = &view.system.catalog;
    if let FunctionChange::Activate(version) = &alter.change {
        // A proc's name stands for its component, which is activated as a whole.
        let component = match catalog.versions()?.iter().any(|kept| kept.name == alter.name) {
            true => alter.name.clone(),
            false => catalog.resolve(&alter.name)?.component.name,
        };
        view.caller.rights.function(Privilege::Admin, &component, None)?;
        let active = catalog.activate(&component, *version)?;
        return Ok(Done::message(format!("component `{}` version {} is active", active.name, active.version)));
    }
    let Resolved { component, proc } = catalog.resolve(&alter.name)?;
    let FunctionChange::Set(options) = &alter.change else {
        return Err(Error::Internal("a change of a function that is none".into()));
    };
    let changes = options.iter().map(|(name, value)| {
        let value = number_or_none(name, value)?;
        Ok(match MAX_CONCURRENCY.contains(&name.as_str()) {
            true => ProcChange::MaxConcurrency(value),
            false => ProcChange::Limit(name.clone(), value),
        })
    });
    let changes = changes.collect::<Result<Vec<_>>>()?;
    view.system.runs.alter_proc(&view.caller.rights, &component.name, &proc.name, &changes)?;
    let set: Vec<String> = options.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    Ok(Done::message(format!("proc `{}.{}`: {}", component.name, proc.name, set.join(", "))))
}

/// A whole number, or `none`, which lifts a setting.
pub(super) fn number_or_none(name: &str, value: &str) -> Result<Option<u64>> {
    if value.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let number = value.trim().parse().map(Some);
    number.map_err(|_| Error::Invalid(format!("option {name}: `{value}` is neither a whole number nor none")))
}

/// A statement that would make the component of a proc as it is.
pub(super) fn ddl(found: &Resolved, settings: &[ProcSetting]) -> String {
    let component = &found.component;
    let mut text = format!(
        "CREATE OR REPLACE FUNCTION \"{}\" MODE = '{}' FILE PATHS '{STORED}{}'",
        component.name, found.proc.mode, component.sha256
    );
    let own = settings.iter().find(|set| set.component == component.name && set.proc == found.proc.name);
    if let Some(instances) = own.and_then(|set| set.max_concurrency) {
        text.push_str(&format!(" WITH OPTIONS (max_concurrency = '{instances}')"));
    }
    text
}
