//! Checkpoints: files that instances keep while they run, apart from outputs.
//! A file is written and synced first, under a name that no other has, then
//! named by a record; files that no record names are removed at open.
//!
//! ```text
//! DIR/checkpoints/<run>-<shard>-<uuid>.safetensors
//! ```

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::{Error, Limits, Result, RunId};
use crate::storage::Storage;
use crate::storage::connections::{U, sql};
use crate::storage::file_layer::create_durable_folders;

/// Where the files are, in the folder.
const FOLDER: &str = "checkpoints";

/// A checkpoint that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The run that kept it.
    pub run: RunId,
    /// The shard of its instance.
    pub shard: u32,
    /// Its name.
    pub name: String,
    /// The name of its file; [`Storage::keep_checkpoint`] gives it.
    pub file: String,
    /// Of its file, 64 hex digits.
    pub sha256: String,
    /// Size of its file.
    pub size_bytes: u64,
    /// When it was kept, microseconds since 1970.
    pub created_us: i64,
}

/// How many checkpoints stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointBounds {
    /// Of one name, of one instance.
    pub per_name: u64,
    /// Of the whole folder, in bytes; the newest stays in any case.
    pub bytes: u64,
}

impl CheckpointBounds {
    /// As the limits say.
    pub fn of(limits: &Limits) -> Self {
        Self { per_name: limits.checkpoints.max(1), bytes: limits.checkpoint_bytes }
    }
}

/// The run ?1, the one that it resumed, the one that that resumed, and so on.
const HANDED: &str = "WITH RECURSIVE handed(run_id) AS (SELECT ?1 UNION SELECT resume FROM quern_run r JOIN handed h \
                      ON r.run_id = h.run_id WHERE resume IS NOT NULL)";

const COLUMNS: &str = "run_id, shard, name, file, sha256, size_bytes, created_us";

impl CheckpointRecord {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            run: RunId(row.get::<_, U>(0)?.0),
            shard: row.get(1)?,
            name: row.get(2)?,
            file: row.get(3)?,
            sha256: row.get(4)?,
            size_bytes: row.get::<_, U>(5)?.0,
            created_us: row.get(6)?,
        })
    }
}

impl Storage {
    /// Keeps `bytes` under a record, whose `file` is ignored; durable afterwards.
    /// Older ones beyond `bounds` go, with their files. One that cannot be kept
    /// leaves no file.
    pub fn keep_checkpoint(&self, record: &CheckpointRecord, bytes: &[u8], bounds: CheckpointBounds) -> Result<()> {
        let file = format!("{}-{}-{}.safetensors", record.run, record.shard, uuid::Uuid::now_v7());
        let record = CheckpointRecord { file, ..record.clone() };
        let kept = self.write_checkpoint(&self.checkpoint_path(&record.file), bytes);
        match kept.and_then(|()| self.record_checkpoint(&record, bounds)) {
            Ok(gone) => gone.iter().try_for_each(|file| self.remove_checkpoint(file)),
            Err(error) => {
                // What cannot be removed now, or may be named, is looked at when the folder is opened.
                if self.checkpoint_files().is_ok_and(|named| !named.contains(&record.file)) {
                    drop(self.remove_checkpoint(&record.file));
                }
                Err(error)
            }
        }
    }

    /// Names a file that is written; answers those that no record names any more.
    fn record_checkpoint(&self, record: &CheckpointRecord, bounds: CheckpointBounds) -> Result<Vec<String>> {
        let gone = Arc::new(Mutex::new(Vec::new()));
        let (record, limit, found) = (record.clone(), U(bounds.per_name), Arc::clone(&gone));
        let mut write = self.begin();
        write.record(move |connection| {
            let (run, size) = (U(record.run.0), U(record.size_bytes));
            sql(connection.execute(
                &format!("INSERT INTO quern_checkpoint ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
                params![run, record.shard, record.name, record.file, record.sha256, size, record.created_us],
            ))?;
            let older = "DELETE FROM quern_checkpoint WHERE run_id = ?1 AND shard = ?2 AND name = ?3 AND checkpoint_id \
                NOT IN (SELECT checkpoint_id FROM quern_checkpoint WHERE run_id = ?1 AND shard = ?2 AND name = ?3 \
                ORDER BY checkpoint_id DESC LIMIT ?4) RETURNING file";
            let mut files = removed(connection, older, params![run, record.shard, record.name, limit])?;
            files.extend(shrink(connection, bounds.bytes)?);
            *found.lock().unwrap_or_else(PoisonError::into_inner) = files;
            Ok(())
        });
        write.commit()?;
        let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut gone))
    }

    /// Those of one run or all, oldest first.
    pub fn checkpoints(&self, run: Option<RunId>) -> Result<Vec<CheckpointRecord>> {
        self.read(|connection| {
            let text = format!(
                "SELECT {COLUMNS} FROM quern_checkpoint WHERE ?1 IS NULL OR run_id = ?1 ORDER BY checkpoint_id"
            );
            let mut statement = sql(connection.prepare(&text))?;
            let rows = sql(statement.query_map([run.map(|run| U(run.0))], CheckpointRecord::from_row))?;
            sql(rows.collect())
        })
    }

    /// The runs whose checkpoints a run that resumes this one may be handed: itself,
    /// the one that it resumed, and so on; those that kept some.
    pub fn handing(&self, run: RunId) -> Result<Vec<RunId>> {
        self.read_records(|connection| {
            let text = format!(
                "{HANDED} SELECT DISTINCT run_id FROM quern_checkpoint WHERE run_id IN handed ORDER BY run_id DESC"
            );
            let mut statement = sql(connection.prepare(&text))?;
            let rows = sql(statement.query_map(params![U(run.0)], |row| Ok(RunId(row.get::<_, U>(0)?.0))))?;
            sql(rows.collect())
        })
    }

    /// Of this run, the one that it resumed and so on, the nearest whose instances
    /// are known, and how many they were. One that never began has none.
    pub fn begun_in_chain(&self, run: RunId) -> Result<Option<(RunId, u32)>> {
        self.read_records(|connection| {
            let text = format!(
                "{HANDED} SELECT run_id, instances FROM quern_run WHERE run_id IN handed AND instances > 0 \
                ORDER BY run_id DESC LIMIT 1"
            );
            let begun = |row: &Row<'_>| Ok((RunId(row.get::<_, U>(0)?.0), row.get(1)?));
            sql(connection.query_row(&text, params![U(run.0)], begun).optional())
        })
    }

    /// The newest one of a name that an instance kept, or was handed when it began and
    /// kept none since.
    pub fn newest_checkpoint(&self, run: RunId, shard: u32, name: &str) -> Result<Option<CheckpointRecord>> {
        self.read_records(|connection| {
            let text = format!(
                "{HANDED} SELECT {COLUMNS} FROM quern_checkpoint WHERE run_id IN handed AND shard = ?2 AND name = ?3 \
                ORDER BY run_id DESC, checkpoint_id DESC LIMIT 1"
            );
            sql(connection.query_row(&text, params![U(run.0), shard, name], CheckpointRecord::from_row).optional())
        })
    }

    /// The file of a checkpoint.
    pub fn checkpoint_bytes(&self, record: &CheckpointRecord) -> Result<Vec<u8>> {
        let path = self.checkpoint_path(&record.file);
        std::fs::read(&path).map_err(|e| Error::io("read", path, e))
    }

    /// Removes files that no record names: what a crash left. Only while nobody
    /// keeps checkpoints.
    pub fn remove_orphaned_checkpoints(&self) -> Result<()> {
        let folder = self.folder().join(FOLDER);
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|e| Error::io("list", &folder, e))?,
        };
        let named = self.checkpoint_files()?;
        for entry in entries {
            let name = entry.map_err(|e| Error::io("list", &folder, e))?.file_name();
            if let Some(name) = name.to_str().filter(|name| name.ends_with(".safetensors") && !named.contains(*name)) {
                self.remove_checkpoint(name)?;
            }
        }
        Ok(())
    }

    fn checkpoint_files(&self) -> Result<HashSet<String>> {
        Ok(self.checkpoints(None)?.into_iter().map(|record| record.file).collect())
    }

    fn checkpoint_path(&self, file: &str) -> PathBuf {
        self.folder().join(FOLDER).join(file)
    }

    fn write_checkpoint(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let failed = |e| Error::io("write", path, e);
        let folder = self.folder().join(FOLDER);
        create_durable_folders(self.files(), &folder).map_err(failed)?;
        let mut new = self.files().create(path).map_err(failed)?;
        new.write_all(bytes).and_then(|()| new.sync()).map_err(failed)?;
        self.files().sync_folder(&folder).map_err(failed)
    }

    fn remove_checkpoint(&self, file: &str) -> Result<()> {
        let path = self.checkpoint_path(file);
        match self.files().remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }
}

/// Deletes the oldest records until all files together are within `bytes`; their files.
fn shrink(connection: &Connection, bytes: u64) -> Result<Vec<String>> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let total = "SELECT coalesce(sum(size_bytes), 0) FROM quern_checkpoint";
    if sql(connection.query_row(total, [], |row| row.get::<_, i64>(0)))? <= bytes {
        return Ok(Vec::new());
    }
    let text = "DELETE FROM quern_checkpoint WHERE checkpoint_id IN (SELECT checkpoint_id FROM (SELECT checkpoint_id, \
    sum(size_bytes) OVER (ORDER BY checkpoint_id DESC) AS kept FROM quern_checkpoint) WHERE kept > ?1) AND \
    checkpoint_id < (SELECT max(checkpoint_id) FROM quern_checkpoint) RETURNING file";
    removed(connection, text, [bytes])
}

/// The files of the records that a statement deletes.
fn removed(connection: &Connection, text: &str, values: impl rusqlite::Params) -> Result<Vec<String>> {
    let mut statement = sql(connection.prepare(text))?;
    let files = sql(statement.query_map(values, |row| row.get(0)))?;
    sql(files.collect())
}
