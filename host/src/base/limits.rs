//! Every limit in one place: its name, default and unit; and what of them one
//! proc or one run changes.

use std::collections::BTreeMap;

use super::{Error, Result, closest};

/// Columns of one table. SQLite, which keeps rows that wait to be written to a
/// file, allows 2,000 with its own.
pub const TABLE_COLUMNS: u64 = 1_600;

/// What one run may use. Fields carry their unit last.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of a component file.
    pub component_bytes: u64,
    /// Bytes of the names, types and descriptions that a component declares.
    pub declared_bytes: u64,
    /// Processor time of the process that compiles a component.
    pub compile_cpu_ms: u64,
    /// Address space of the process that compiles a component.
    pub compile_memory_bytes: u64,
    /// Guest memory of one instance, all its memories together.
    pub guest_memory_bytes: u64,
    /// Elements of all tables (of functions, mostly) of one instance.
    pub table_elements: u64,
    /// Device memory of one run: tensors, variables, loaded models.
    pub device_bytes: u64,
    /// Wall time of a run from the moment it leaves the queue.
    pub deadline_ms: u64,
    /// Time that the instances of a run spend executing tensor programs, added up.
    pub device_time_ms: u64,
    /// Live handles of one instance.
    pub handles: u64,
    /// Prepared programs one run may hold; further ones are executed unplanned.
    pub programs: u64,
    /// Recorded operations between two executions.
    pub program_ops: u64,
    /// Log lines kept per instance.
    pub log_lines: u64,
    /// Bytes of the log lines kept per instance.
    pub log_bytes: u64,
    /// Bytes of one log line, status message or result.
    pub text_bytes: u64,
    /// Metric points kept per instance.
    pub metric_points: u64,
    /// Results per instance.
    pub results: u64,
    /// Bytes of the names and values of the results of one instance.
    pub results_bytes: u64,
    /// Bytes of all binary parameters of a run.
    pub param_bytes: u64,
    /// Bytes of all output rows of one instance.
    pub output_bytes: u64,
    /// Size of one stored model.
    pub model_bytes: u64,
    /// Models that one instance saves.
    pub saved_models: u64,
    /// Names under which one instance keeps checkpoints.
    pub checkpoint_names: u64,
    /// Checkpoints kept of each name of an instance; older ones are removed.
    pub checkpoints: u64,
    /// Bytes of all checkpoints of a folder; those of the oldest are removed.
    pub checkpoint_bytes: u64,
    /// Bytes a guest may pass to the host in one call.
    pub call_bytes: u64,
    /// Runs that may be queued or running at one time in one folder.
    pub queued_runs: u64,
    /// Instances that run at the same time in one folder; the rest queue.
    pub running_instances: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 64 << 20,
            declared_bytes: 1 << 20,
            compile_cpu_ms: 60_000,
            compile_memory_bytes: 2 << 30,
            guest_memory_bytes: 256 << 20,
            table_elements: 100_000,
            device_bytes: 4 << 30,
            deadline_ms: 60 * 60 * 1000,
            device_time_ms: 60 * 60 * 1000,
            handles: 100_000,
            programs: 64,
            program_ops: 10_000,
            log_lines: 10_000,
            log_bytes: 8 << 20,
            text_bytes: 64 << 10,
            metric_points: 100_000,
            results: 1_000,
            results_bytes: 8 << 20,
            param_bytes: 4 << 20,
            output_bytes: 4 << 30,
            model_bytes: 1 << 30,
            saved_models: 10_000,
            checkpoint_names: 100,
            checkpoints: 2,
            checkpoint_bytes: 4 << 30,
            call_bytes: 128 << 20,
            queued_runs: 100_000,
            running_instances: 64,
        }
    }
}

/// Limits that count only when a component is created.
const OF_CREATION: [&str; 2] = ["component_bytes", "declared_bytes"];
/// Limits that hold for a folder and its components, so that no run can change them.
const NOT_OF_RUNS: [&str; 5] =
    ["component_bytes", "declared_bytes", "checkpoint_bytes", "queued_runs", "running_instances"];

impl Limits {
    /// `(name, value)` of every limit, in the order of the fields.
    pub fn entries(&self) -> Vec<(String, u64)> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => {
                map.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Sets one limit by name.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        let entries = self.entries();
        if !entries.iter().any(|(known, _)| known == name) {
            return Err(Error::not_found("limit", name, None, entries.iter().map(|(known, _)| known)));
        }
        let mut map = serde_json::Map::new();
        map.extend(entries.into_iter().map(|(known, old)| {
            let new = if known == name { value } else { old };
            (known, new.into())
        }));
        *self = serde_json::from_value(map.into()).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(())
    }

    /// These limits with some of them changed.
    pub fn with(&self, changes: &LimitChanges) -> Result<Self> {
        let mut changed = self.clone();
        changes.entries().try_for_each(|(name, value)| {
            LimitChanges::check(name)?;
            changed.set(name, value)
        })?;
        Ok(changed)
    }

    /// What a limit counts, which stands last in its name.
    pub fn unit(limit: &str) -> &str {
        limit.rsplit('_').next().unwrap_or(limit)
    }

    /// The error for exceeding `limit`.
    pub fn exceeded(limit: &'static str, requested: u64, allowed: u64) -> Error {
        let unit = Self::unit(limit);
        let hint = match limit {
            _ if OF_CREATION.contains(&limit) => format!("raise it with --limit {limit}=N of `quern proc create`"),
            _ if NOT_OF_RUNS.contains(&limit) => {
                format!(
                    "it holds for the whole folder; raise it with --folder-limit {limit}=N where the folder is opened"
                )
            }
            "compile_cpu_ms" | "compile_memory_bytes" => {
                format!("raise it with --limit {limit}=N where the component is created or executed")
            }
            _ => format!("raise it for one run with --limit {limit}=N"),
        };
        Error::Limit { limit, requested, allowed, unit, hint }
    }
}

/// Limits that were asked for, for all runs of one proc or for one run; all
/// others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LimitChanges(BTreeMap<String, u64>);

impl LimitChanges {
    /// Nothing changed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change. Refuses names that are no limit of a run.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        Self::check(name)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Takes a change back.
    pub fn unset(&mut self, name: &str) -> Result<()> {
        Self::check(name)?;
        self.0.remove(name);
        Ok(())
    }

    /// Takes back the changes that allow more than `limits` do, or as much.
    pub fn keep_stricter(&mut self, limits: &Limits) {
        let allowed: BTreeMap<String, u64> = limits.entries().into_iter().collect();
        self.0.retain(|name, value| allowed.get(name).is_some_and(|most| *value < *most));
    }

    /// `(name, value)` of every change, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limits that a proc or a run can change, by name.
    pub fn names() -> Vec<String> {
        let all = Limits::default().entries().into_iter().map(|(name, _)| name);
        all.filter(|name| !NOT_OF_RUNS.contains(&name.as_str())).collect()
    }

    /// Refuses what is no limit, or not one of a run.
    fn check(name: &str) -> Result<()> {
        if NOT_OF_RUNS.contains(&name) {
            return Err(Error::Invalid(format!(
                "limit `{name}` holds for the whole folder; no run can change it{}",
                if OF_CREATION.contains(&name) { "" } else { ", --folder-limit does where the folder is opened" }
            )));
        }
        let names = Self::names();
        match names.iter().any(|known| known == name) {
            true => Ok(()),
            false if closest(name, &names).is_none() => {
                Err(Error::Invalid(format!("no limit `{name}`; there are {}", names.join(", "))))
            }
            false => Err(Error::not_found("limit", name, None, names)),
        }
    }
}
