//! A change being prepared: what is created, appended and deleted, and the
//! records that go with it. Rows are staged in synced files as they come;
//! nothing is visible before [`Write::commit`], and a dropped `Write` leaves
//! nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use rusqlite::Connection;

use super::staging::{self, StagedFile};
use super::{Snapshot, Storage, TableState};
use crate::base::{Error, Result, Schema, Sharding, SnapshotId, TABLE_COLUMNS, check_name};

/// Which shard appended rows go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendTo {
    /// Storage decides: by the key, else in turn. Few rows may be kept in the
    /// catalog for a while.
    Deal,
    /// This one, always in files. In a key-sharded table a row whose key
    /// belongs elsewhere is an error; in a replicated one the number is ignored.
    Shard(u32),
}

/// A record to write in the transaction of the commit.
type Record = Box<dyn Fn(&Connection) -> Result<()> + Send>;

/// A change being prepared; see the module.
pub struct Write {
    pub(super) storage: Storage,
    pub(super) base: Option<Arc<Snapshot>>,
    pub(super) steps: Vec<Step>,
    pub(super) expected: Vec<Arc<TableState>>,
    pub(super) author: Option<String>,
    pub(super) message: Option<String>,
    /// Bytes of rows that this commit keeps in the catalog.
    pub(super) inlined_bytes: usize,
    records: Vec<Record>,
    /// Every file made, removed again when nothing is committed.
    made: Vec<PathBuf>,
    /// Folders with names that must be durable before the commit.
    folders: BTreeSet<PathBuf>,
}

/// What a commit does, in order.
pub(super) enum Step {
    Create(NewTable),
    Drop(Arc<TableState>),
    Append { target: Target, files: Vec<StagedFile>, inlined: Vec<RecordBatch>, rows: u64 },
    Delete { table: Arc<TableState>, row_ids: Vec<u64> },
    Truncate(Arc<TableState>),
}

/// A table that a commit creates.
pub(super) struct NewTable {
    pub(super) name: String,
    /// Its folder's name.
    pub(super) path: String,
    pub(super) schema: Schema,
    pub(super) sharding: Sharding,
    pub(super) shards: u32,
    /// Field ids, which count from 1 in each table.
    pub(super) ids: Vec<Vec<i32>>,
}

/// The table that rows go to.
#[derive(Clone)]
pub(super) enum Target {
    Existing(Arc<TableState>),
    /// The table that this step creates.
    New(usize),
}

impl Write {
    pub(super) fn new(storage: Storage) -> Self {
        Self {
            storage,
            base: None,
            steps: Vec::new(),
            expected: Vec::new(),
            author: None,
            message: None,
            inlined_bytes: 0,
            records: Vec::new(),
            made: Vec::new(),
            folders: BTreeSet::new(),
        }
    }

    /// Says who commits and why; both are kept in the history.
    pub fn describe(&mut self, author: &str, message: &str) {
        self.author = Some(author.to_owned());
        self.message = Some(message.to_owned());
    }

    /// Creates a table. `shards` is ignored when it is replicated.
    pub fn create_table(&mut self, name: &str, schema: &Schema, sharding: Sharding, shards: u32) -> Result<()> {
        check_name("table", name)?;
        check_width(schema)?;
        if shards == 0 || shards > 1 << 16 {
            return Err(Error::OutOfRange(format!("table `{name}`: {shards} shards asked, 1 to 65536 allowed")));
        }
        if let Sharding::Key(keys) = &sharding {
            if keys.is_empty() {
                return Err(Error::Invalid(format!("table `{name}`: sharding by key needs at least one column")));
            }
            for key in keys {
                let (_, column) = schema.column(name, key)?;
                super::shards::check_key(column)?;
            }
        }
        let taken = match self.find(name)? {
            Some(found) => Some(self.name_of(&found)),
            None => self
                .base()?
                .tables()
                .find(|t| t.name.eq_ignore_ascii_case(name) && !self.drops(t))
                .map(|t| t.name.clone()),
        };
        if let Some(name) = taken {
            return Err(Error::Exists { kind: "table", name });
        }
        let shards = if sharding == Sharding::Replicated { 1 } else { shards };
        let ids = super::forms::number_fields(schema)?;
        let path = staging::folder_name(name);
        self.steps.push(Step::Create(NewTable {
            name: name.to_owned(),
            path,
            schema: schema.clone(),
            sharding,
            shards,
            ids,
        }));
        Ok(())
    }

    /// Drops a table; older snapshots keep it.
    pub fn drop_table(&mut self, name: &str) -> Result<()> {
        let table = self.existing(name)?;
        self.steps.push(Step::Drop(table));
        Ok(())
    }

    /// Appends batches of the table's Arrow schema, which are written as they
    /// come. Returns the number of rows.
    pub fn append(
        &mut self,
        table: &str,
        to: AppendTo,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
    ) -> Result<u64> {
        let target = self.resolve(table)?;
        let made_before = self.made.len();
        let outcome = staging::append(self, target, to, &mut batches.into_iter());
        if outcome.is_err() {
            let made = self.made.split_off(made_before);
            self.remove(&made);
        }
        outcome
    }

    /// Deletes rows by their ids. An id that is not there at the commit fails it.
    pub fn delete_rows(&mut self, table: &str, row_ids: &[u64]) -> Result<()> {
        let table = self.existing(table)?;
        let mut new = row_ids.to_vec();
        // One step for each table, so that a row asked for twice is deleted once.
        let earlier = self.steps.iter_mut().find_map(|step| match step {
            Step::Delete { table: other, row_ids } if other.id == table.id => Some(row_ids),
            _ => None,
        });
        let all = match earlier {
            Some(all) => {
                all.append(&mut new);
                all
            }
            None => &mut new,
        };
        all.sort_unstable();
        all.dedup();
        if !new.is_empty() {
            self.steps.push(Step::Delete { table, row_ids: new });
        }
        Ok(())
    }

    /// Deletes all rows that are there at the commit.
    pub fn truncate(&mut self, table: &str) -> Result<()> {
        let table = self.existing(table)?;
        self.steps.push(Step::Truncate(table));
        Ok(())
    }

    /// Fails the commit when this table was dropped or its columns or sharding
    /// were altered since. Tables that are written to are checked anyway.
    pub fn expect_table(&mut self, table: &Arc<TableState>) {
        self.expected.push(table.clone());
    }

    /// Makes everything visible at once and durable. Without changes to tables
    /// only records are written, and the newest snapshot's number is returned.
    pub fn commit(self) -> Result<SnapshotId> {
        super::commit::commit(self)
    }

    /// Hands in records that need not be durable yet, such as that a run is
    /// waiting or has begun. Whoever asks this storage for records sees them
    /// from now on; they survive the end of this process, and a power cut once
    /// any later [`Write::commit`] was answered. Does not wait for the disk; an
    /// error that shows only later is told to `lost`.
    pub fn commit_later(self, lost: impl FnOnce(Error) + Send + 'static) -> Result<()> {
        super::commit::commit_later(self, Box::new(lost))
    }

    /// Adds something to do in the transaction of the commit.
    pub(super) fn record(&mut self, record: impl Fn(&Connection) -> Result<()> + Send + 'static) {
        self.records.push(Box::new(record));
    }

    pub(super) fn apply_records(&self, connection: &Connection) -> Result<()> {
        self.records.iter().try_for_each(|record| record(connection))
    }

    /// Notes a file before it is created.
    pub(super) fn making(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    /// Notes a folder that files are made in, and that it is durable itself.
    pub(super) fn writing_in(&mut self, folder: &Path) {
        self.folders.insert(folder.to_owned());
    }

    /// Notes a folder that files are made in, and that may be new itself.
    pub(super) fn writing_in_new(&mut self, folder: &Path) {
        self.folders.extend([folder, folder.parent().unwrap_or(folder)].map(Path::to_owned));
    }

    /// Makes the names of all staged files durable.
    pub(super) fn sync_folders(&mut self) -> Result<()> {
        for folder in std::mem::take(&mut self.folders) {
            self.storage.files().sync_folder(&folder).map_err(|e| Error::io("sync", &folder, e))?;
        }
        Ok(())
    }

    /// Leaves the staged files alone from now on: the catalog may name them.
    pub(super) fn keep_files(&mut self) {
        self.made.clear();
    }

    /// The state that names are looked up in: the newest when it was first asked for.
    pub fn base(&mut self) -> Result<Arc<Snapshot>> {
        if let Some(base) = &self.base {
            return Ok(base.clone());
        }
        let base = self.storage.snapshot()?;
        self.base = Some(base.clone());
        Ok(base)
    }

    fn resolve(&mut self, name: &str) -> Result<Target> {
        match self.find(name)? {
            Some(target) => Ok(target),
            None => {
                let names: Vec<String> = self.base()?.tables().map(|table| table.name.clone()).collect();
                Err(Error::not_found("table", name, None, names))
            }
        }
    }

    fn find(&mut self, name: &str) -> Result<Option<Target>> {
        let created = self.steps.iter().position(|step| matches!(step, Step::Create(new) if new.name == name));
        if let Some(index) = created {
            return Ok(Some(Target::New(index)));
        }
        match self.base()?.table(name) {
            Ok(table) if self.drops(&table) => Ok(None),
            Ok(table) => Ok(Some(Target::Existing(table))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn existing(&mut self, name: &str) -> Result<Arc<TableState>> {
        match self.resolve(name)? {
            Target::Existing(table) => Ok(table),
            Target::New(_) => Err(Error::Invalid(format!(
                "table `{name}` is created by the same change; only rows can be added to it"
            ))),
        }
    }

    fn remove(&self, made: &[PathBuf]) {
        for path in made {
            // What cannot be removed now is swept as an orphan later.
            drop(self.storage.files().remove(path));
        }
    }

    fn drops(&self, table: &TableState) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Drop(dropped) if dropped.id == table.id))
    }

    fn name_of(&self, target: &Target) -> String {
        match target {
            Target::Existing(table) => table.name.clone(),
            Target::New(index) => match self.steps.get(*index) {
                Some(Step::Create(new)) => new.name.clone(),
                _ => String::new(),
            },
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        self.remove(&self.made);
    }
}

/// Refuses more columns than the catalog can hold.
fn check_width(schema: &Schema) -> Result<()> {
    let requested = schema.columns().len() as u64;
    if requested <= TABLE_COLUMNS {
        return Ok(());
    }
    Err(Error::Limit {
        limit: "table_columns",
        requested,
        allowed: TABLE_COLUMNS,
        unit: "columns",
        hint: "put numbers that belong together into one column of type tensor or list".to_owned(),
    })
}
