//! Tables that hold the rows of filters and queries while a run reads them. Those
//! that a crash left go when the folder is opened.

use std::sync::Arc;

use super::live::Live;
use super::runs::Inner;
use crate::base::Result;
use crate::storage::{Storage, Write};

/// What the names of these tables begin with.
pub const TEMPORARY: &str = "quern_input_";

impl Inner {
    /// Drops the tables that only these runs read, in one commit. Those that cannot be
    /// dropped now go when the folder is opened again.
    pub(super) fn drop_inputs(&self, runs: &[Arc<Live>]) {
        drop(drop_tables(&self.storage, runs.iter().flat_map(|live| inputs(live))));
    }
}

/// The tables that only this run reads.
fn inputs(live: &Live) -> impl Iterator<Item = &str> {
    live.submission.stored_inputs.values().map(String::as_str)
}

/// Drops the tables that only this run read with `write`.
pub(super) fn drop_with(live: &Live, write: &mut Write) {
    // One that is not there any more needs no dropping.
    inputs(live).for_each(|table| drop(write.drop_table(table)));
}

/// Drops what a process left that ended too early.
pub(super) fn remove_leftovers(storage: &Storage) -> Result<()> {
    let snapshot = storage.snapshot()?;
    drop_tables(storage, snapshot.tables().map(|table| table.name.as_str()).filter(|name| is_temporary(name)))
}

/// Whether a table was made for the inputs of a run.
fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(TEMPORARY);
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn drop_tables<'a>(storage: &Storage, tables: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut write = storage.begin();
    let mut dropped = 0;
    for table in tables {
        // One that is not there any more needs no dropping.
        dropped += u32::from(write.drop_table(table).is_ok());
    }
    if dropped == 0 { Ok(()) } else { write.commit().map(drop) }
}
