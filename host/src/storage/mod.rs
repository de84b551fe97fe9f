//! What survives: tables, runs and components of one folder, kept as a DuckLake
//! 1.0 catalog in SQLite beside Parquet files. Knows no devices.
//!
//! ```text
//! DIR/catalog.sqlite              DuckLake 1.0 and our own tables (`quern_…`)
//! DIR/data/main/<table>/*.parquet rows and positional deletes
//! ```
//!
//! Reading: [`Storage::snapshot`] gives the newest committed state of all
//! tables; [`Storage::scan`] reads one of its tables. Writing: [`Storage::begin`]
//! gives a [`Write`], which stages synced files and becomes visible as a whole
//! in one short transaction, or not at all.
//!
//! What does not happen here: no file is changed after it was named by the
//! catalog; no reader waits for the writer; nothing but this module, and
//! DuckDB from its own process, opens the catalog (two SQLite libraries in one
//! process would corrupt it).

mod background;
mod catalog_rows;
mod commit;
mod connections;
mod data_file;
mod deletes;
mod file_layer;
mod flush;
mod format;
mod forms;
mod inline;
mod merge;
mod moved;
mod records;
mod scan;
mod shards;
mod snapshot;
mod staging;
mod stats;
mod sweep;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use file_layer::{Disk, FileLayer, NewFile};
pub use format::{CATALOG as CATALOG_FILE, FORMAT_VERSION};
pub use records::{
    CheckpointBounds, CheckpointRecord, ComponentRecord, GrantRecord, InstanceRecord, LogLine, MetricPoint,
    ModelRecord, ProcSetting, ResultRecord, RunFilter, RunRecord, RunState, StartupRecord, UserRecord, Versions,
    VersionsSeen,
};
pub use scan::{ROW_ID_COLUMN, Scan, ScanOptions};
pub use shards::shards_of_rows;
pub use snapshot::{Snapshot, SnapshotInfo, TableState};
pub use write::{AppendTo, Write};

use crate::base::{Result, SnapshotId};
use background::Background;
use commit::Turn;
use connections::Connections;

/// For how long files are kept that nothing names, which another process may be
/// about to name, and files that others took the place of, which it may be reading.
const REMOVAL_AGE: Duration = Duration::from_secs(60 * 60);

/// The storage of one folder. Cheap to clone; all clones are the same storage.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    files: Arc<dyn FileLayer>,
    connections: Connections,
    queue: commit::Queue,
    background: Background,
    scans: sweep::Scans,
    newest: RwLock<Option<Arc<Snapshot>>>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Storage({})", self.0.folder.display())
    }
}

impl Storage {
    /// Opens a folder. One that does not exist is created, an older format is
    /// upgraded after a copy of the catalog was made, a newer one is refused.
    pub fn open(folder: &Path, files: Arc<dyn FileLayer>) -> Result<Self> {
        let (folder, connections) = format::open(folder, files.as_ref())?;
        let queue = commit::Queue::open(&connections)?;
        let storage = Self(Arc::new(Inner {
            folder,
            files,
            connections,
            queue,
            background: Background::default(),
            scans: sweep::Scans::default(),
            newest: RwLock::default(),
        }));
        storage.sweep_orphans(REMOVAL_AGE)?;
        storage.remove_replaced(REMOVAL_AGE)?;
        Ok(storage)
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The newest committed state, with what other processes committed. Costs
    /// one look into the catalog when nothing changed; unchanged tables keep
    /// their `Arc`.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let known = self.0.newest.read().unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = self.read(|connection| {
            let newest = catalog_rows::newest(connection)?;
            match known {
                Some(known) if known.id == newest.id => Ok(known),
                known => Snapshot::load(connection, &self.0.folder, newest, known.as_deref()).map(Arc::new),
            }
        })?;
        let mut kept = self.0.newest.write().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|kept| kept.id < fresh.id) {
            *kept = Some(fresh.clone());
        }
        Ok(fresh)
    }

    /// An older committed state.
    pub fn snapshot_at(&self, id: SnapshotId) -> Result<Arc<Snapshot>> {
        self.read(|connection| {
            let head = catalog_rows::at(connection, id)?;
            Snapshot::load(connection, &self.0.folder, head, None).map(Arc::new)
        })
    }

    /// All committed states, oldest first.
    pub fn history(&self) -> Result<Vec<SnapshotInfo>> {
        self.read(catalog_rows::history)
    }

    /// Begins a change. Nothing is visible before [`Write::commit`].
    pub fn begin(&self) -> Write {
        Write::new(self.clone())
    }

    /// Reads the rows of a table in the order of their row ids: those of one
    /// shard or all, some columns (positions in the schema) or all.
    pub fn scan(
        &self,
        snapshot: &Snapshot,
        table: &TableState,
        shard: Option<u32>,
        columns: Option<&[usize]>,
    ) -> Result<Scan> {
        let columns = columns.map(<[usize]>::to_vec);
        self.scan_with(snapshot, table, &ScanOptions { shard, columns, ..ScanOptions::default() })
    }

    /// [`Storage::scan`], with row ids or from a row on.
    pub fn scan_with(&self, snapshot: &Snapshot, table: &TableState, options: &ScanOptions) -> Result<Scan> {
        Scan::new(self, snapshot, table, options)
    }

    /// Writes what waits in the catalog to Parquet, merges small files and folds
    /// the journal in.
    /// The storage stays usable.
    pub fn close(&self) -> Result<()> {
        for table in self.snapshot()?.tables() {
            if inline::can_inline(&table.schema) {
                self.flush_inlined(&table.name)?;
            }
            // What cannot be merged stays as it is.
            drop(self.merge_files(&table.name));
        }
        // What was handed in is in the journal before it is folded in.
        commit::settle(self);
        let writer = self.writer();
        connections::sql(writer.connection().pragma_update(None, "wal_checkpoint", "truncate"))
    }

    /// Whether a table is known to be as it was when its state was read, so that
    /// its files are where that says.
    fn is_current(&self, table: &TableState) -> bool {
        let newest = self.0.newest.read().unwrap_or_else(PoisonError::into_inner);
        let known = newest.as_ref().and_then(|newest| newest.table(&table.name).ok());
        known.is_some_and(|known| known.id == table.id && known.version == table.version)
    }

    fn files(&self) -> &dyn FileLayer {
        self.0.files.as_ref()
    }

    /// Waits for the writing connection. Whoever gives it back commits what was
    /// handed in meanwhile.
    fn writer(&self) -> Turn<'_> {
        Turn::wait(self)
    }

    /// [`Storage::read`], after all that was handed in by [`Write::commit_later`].
    fn read_records<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        commit::settle(self);
        self.read(work)
    }

    fn read<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> Result<T>) -> Result<T> {
        self.0.connections.read(work)
    }
}
