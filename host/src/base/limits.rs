//! Every limit of a run in one place: its name, default and unit.

use super::{Error, Result};

/// What one run may use. Fields carry their unit last.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Size of a component file.
    pub component_bytes: u64,
    /// Guest memory of one instance, all its memories together.
    pub guest_memory_bytes: u64,
    /// Device memory of one run: tensors, variables, outputs.
    pub device_bytes: u64,
    /// Wall time of a run from the moment it leaves the queue.
    pub deadline_ms: u64,
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
    /// Bytes of all output rows of one instance.
    pub output_bytes: u64,
    /// Size of one stored model.
    pub model_bytes: u64,
    /// Bytes a guest may pass to the host in one call.
    pub call_bytes: u64,
    /// Instances that run at the same time in one folder; the rest queue.
    pub running_instances: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 64 << 20,
            guest_memory_bytes: 256 << 20,
            device_bytes: 4 << 30,
            deadline_ms: 60 * 60 * 1000,
            handles: 100_000,
            programs: 64,
            program_ops: 10_000,
            log_lines: 10_000,
            log_bytes: 8 << 20,
            text_bytes: 64 << 10,
            metric_points: 100_000,
            results: 1_000,
            output_bytes: 4 << 30,
            model_bytes: 1 << 30,
            call_bytes: 128 << 20,
            running_instances: 64,
        }
    }
}

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

    /// The error for exceeding `limit`.
    pub fn exceeded(limit: &'static str, requested: u64, allowed: u64) -> Error {
        let unit = match limit.rsplit('_').next() {
            Some("bytes") => "bytes",
            Some("ms") => "ms",
            _ => "",
        };
        let unit = if unit.is_empty() { limit } else { unit };
        Error::Limit { limit, requested, allowed, unit, hint: format!("raise it for one run with --limit {limit}=N") }
    }
}
