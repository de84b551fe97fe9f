//! What a caller asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::{LimitChanges, RunId};

/// One execution of a proc, as asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
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
    /// Binary parameters by name.
    #[serde(default)]
    pub binary_params: Vec<(String, Bytes)>,
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
    /// The run whose checkpoints it is handed, and whose seed it takes over.
    #[serde(default)]
    pub resume: Option<RunId>,
    /// What the failure of an instance means for the others.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How often an instance is tried again after a fault of the host.
    #[serde(default)]
    pub retries: u32,
}

/// A request on its way into the queue, with what no caller writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// What the caller wrote.
    pub request: RunRequest,
    /// The user whose rights are asked again when the run begins and commits;
    /// the folder's owner where absent.
    pub on_behalf_of: Option<String>,
    /// The sweep it belongs to: its runs begin when all of them are queued.
    pub(super) sweep: Option<u64>,
    /// By input, the table that holds the rows of a filter or query while the run
    /// lasts; whoever knows SQL makes it, the run drops it.
    pub stored_inputs: BTreeMap<usize, String>,
}

impl From<RunRequest> for Submission {
    fn from(request: RunRequest) -> Self {
        Self { request, on_behalf_of: None, sweep: None, stored_inputs: BTreeMap::new() }
    }
}

impl Submission {
    /// The table that is read as input `place`.
    pub(super) fn source(&self, place: usize) -> &str {
        let named = self.request.inputs.get(place).map_or("", |input| &input.table);
        self.stored_inputs.get(&place).map_or(named, String::as_str)
    }
}

/// What the failure of an instance means for the others of its run. Nothing is
/// committed in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on, so that the run reports every error.
    KeepGoing,
}

/// Bytes that a caller passes; hexadecimal digits in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Arc<[u8]>);

impl Bytes {
    /// From hexadecimal digits, two a byte; none when they are not that.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.filter(|_| rest.is_empty()).map(|bytes| Self(bytes.into()))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().map_or('0', char::from);
        let text: String = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("bytes are not hexadecimal digits"))
    }
}

/// Rows to read: a table's, those of a table that pass a filter, or a query's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRef {
    /// The table's name; empty for a query.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub table: String,
    /// The columns that the proc may see, in this order; all when absent.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// The rows that the proc may see: a condition in SQL; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A query in SQL, whose rows are read instead of a table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl InputRef {
    /// All rows and columns of a table.
    pub fn table(name: impl Into<String>) -> Self {
        Self { table: name.into(), ..Self::default() }
    }

    /// What errors call it.
    pub(super) fn shown(&self) -> &str {
        if self.table.is_empty() { "the query" } else { &self.table }
    }
}

impl RunRequest {
    /// Whether rows may be read before it is queued: those of filters and queries, and
    /// those of further inputs, which may have to be dealt to as many shards as the first.
    pub(super) fn reads_first(&self) -> bool {
        self.inputs.len() > 1 || self.inputs.iter().any(|input| input.filter.is_some() || input.query.is_some())
    }

    /// A run of `proc` with nothing else said.
    pub fn new(proc: impl Into<String>) -> Self {
        Self {
            proc: proc.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: Vec::new(),
            binary_params: Vec::new(),
            tag: None,
            user: None,
            seed: None,
            limits: LimitChanges::new(),
            resume: None,
            on_failure: OnFailure::Stop,
            retries: 0,
        }
    }

    /// Adds an input: all columns of `table`.
    #[must_use]
    pub fn input(mut self, table: impl Into<String>) -> Self {
        self.inputs.push(InputRef::table(table));
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
