//! Tables that hold the rows of filters and queries while a run reads them. Those
//! that a crash left go when the folder is opened.

use super::live::Live;
use super::runs::Inner;
use crate::base::Result;
use crate::storage::Storage;

/// What the names of these tables begin with.
pub const TEMPORARY: &str = "quern_input_";

impl Inner {
    /// Drops the tables that only this run read. One that cannot be dropped now
    /// goes when the folder is opened again.
    pub(super) fn drop_inputs(&self, live: &Live) {
        drop(drop_tables(&self.storage, live.submission.stored_inputs.values().map(String::as_str)));
    }
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
        write.drop_table(table)?;
        dropped += 1;
    }
    if dropped == 0 { Ok(()) } else { write.commit().map(drop) }
}
