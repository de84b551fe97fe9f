//! What a caller asks for.

use serde::{Deserialize, Serialize};

use crate::base::LimitChanges;

/// One execution of a proc, as asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `proc` or `component.proc`.
    pub proc: String,
    /// Tables to read, in the order the proc declares.
    #[serde(default)]
    pub inputs: Vec<InputRef>,
    /// Tables to append to, in the order the proc declares; missing ones are
    /// created when the run commits.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Parameters by name.
    #[serde(default)]
    pub params: Vec<(String, String)>,
    /// A word to find runs by.
    #[serde(default)]
    pub tag: Option<String>,
    /// Who asked.
    #[serde(default)]
    pub user: Option<String>,
    /// The seed of random operations; drawn when absent.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Limits that are other for this run than for its proc.
    #[serde(default)]
    pub limits: LimitChanges,
}

/// A table to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRef {
    /// Its name.
    pub table: String,
    /// The columns that the proc may see, in this order; all when absent.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

impl Request {
    /// A run of `proc` with nothing else said.
    pub fn new(proc: impl Into<String>) -> Self {
        Self {
            proc: proc.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            tag: None,
            user: None,
            seed: None,
            limits: LimitChanges::new(),
        }
    }

    /// Adds an input: all columns of `table`.
    #[must_use]
    pub fn input(mut self, table: impl Into<String>) -> Self {
        self.inputs.push(InputRef { table: table.into(), columns: None });
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, table: impl Into<String>) -> Self {
        self.outputs.push(table.into());
        self
    }

    /// Changes a limit for this run.
    pub fn limit(mut self, name: &str, value: u64) -> crate::base::Result<Self> {
        self.limits.set(name, value)?;
        Ok(self)
    }

    /// Adds a parameter.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }
}
