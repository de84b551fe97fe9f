//! The hold of a view on columns: while a lease lives they are not evicted, and
//! what their table does not keep leaves with its last one.

use std::sync::Arc;

use super::Tables;
use super::resident::Resident;

/// Columns of one part of a table, held by a view and its clones.
pub(super) struct Lease {
    tables: Tables,
    /// There until the lease ends.
    resident: Option<Arc<Resident>>,
    /// The same columns in the machine's memory, from where a GPU gets them.
    host: Option<Arc<Resident>>,
}

impl Lease {
    pub(super) fn new(tables: Tables, resident: Arc<Resident>, host: Option<Arc<Resident>>) -> Self {
        Self { tables, resident: Some(resident), host }
    }

    /// The columns.
    pub(super) fn resident(&self) -> Option<&Resident> {
        self.resident.as_deref()
    }

    /// The same columns in the machine's memory.
    pub(super) fn host(&self) -> Option<&Resident> {
        self.host.as_deref()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tables.release([self.resident.take(), self.host.take()]);
    }
}
