//! What a statement answers: rows, or a line of text with what it changed.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use crate::base::{Result, RunId};

/// The answer to one statement.
#[derive(Debug)]
pub enum Answer {
    /// Rows, made as they are taken.
    Rows(Rows),
    /// The statement is done.
    Done(Done),
    /// The statement has queued a run and waits for its end.
    Run(Awaited),
}

/// A run that a statement waits for.
pub struct Awaited {
    /// The run, which goes on when nobody waits for it.
    pub run: RunId,
    end: Box<dyn FnOnce() -> Result<Done> + Send>,
}

impl Awaited {
    /// `end` waits for the end of the run.
    pub(super) fn new(run: RunId, end: impl FnOnce() -> Result<Done> + Send + 'static) -> Self {
        Self { run, end: Box::new(end) }
    }

    /// Waits for the end of the run; one that did not complete is an error.
    pub fn wait(self) -> Result<Done> {
        (self.end)()
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").field("run", &self.run).finish_non_exhaustive()
    }
}

/// What a statement without rows did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Done {
    /// One line for a person, for example ``created table `digits` ``.
    pub message: String,
    /// Rows inserted, changed or deleted, for statements that do so.
    pub rows: Option<u64>,
    /// The run that `EXECUTE FUNCTION` started or `KILL RUN` stopped.
    pub run: Option<RunId>,
}

impl Done {
    /// An answer of text only.
    pub fn message(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// An answer of text and a number of rows.
    pub fn rows(message: impl Into<String>, rows: u64) -> Self {
        Self { message: message.into(), rows: Some(rows), run: None }
    }

    /// An answer of text about a run.
    pub fn run(message: impl Into<String>, run: RunId) -> Self {
        Self { message: message.into(), rows: None, run: Some(run) }
    }
}

/// Batches of one schema, made as they are taken; dropping it stops the query.
pub struct Rows {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

impl Rows {
    /// Rows of `schema`; every batch must have it.
    pub fn new(schema: SchemaRef, batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static) -> Self {
        Self { schema, batches: Box::new(batches) }
    }

    /// Names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// All batches at once, for answers known to be small.
    pub fn collect_batches(self) -> Result<Vec<RecordBatch>> {
        self.batches.collect()
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}
