//! Removing files: those that nothing names, which a crash left between writing
//! files and committing them, and those that the catalog does not need any more,
//! some time after, because somebody may still be reading them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, params};

use super::Storage;
use super::catalog_rows::collect;
use super::connections::{Durability, U, sql};
use super::format::DATA_FOLDER;
use super::snapshot::DataFile;
use crate::base::{Error, Result};

impl Storage {
    /// Removes data files that no snapshot names and that are older than `age`.
    /// Younger ones may belong to a change that is being prepared, also by
    /// another process. Returns how many were removed.
    pub fn sweep_orphans(&self, age: Duration) -> Result<u64> {
        let data = self.folder().join(DATA_FOLDER);
        let mut found = Vec::new();
        list(&data, &mut found)?;
        found.retain(|(_, changed)| is_older(*changed, age));
        if found.is_empty() {
            return Ok(0);
        }
        // Named files are read after the listing: what was committed in between is kept.
        let named = self.named_files(&data)?;
        let mut removed = 0;
        for (path, _) in found.into_iter().filter(|(path, _)| !named.contains(path)) {
            removed += self.remove(&path)?;
        }
        Ok(removed)
    }

    /// Removes data files that others took the place of at least `age` ago, and
    /// before any scan began that has not ended. Returns how many were removed.
    pub fn remove_replaced(&self, age: Duration) -> Result<u64> {
        let (data, until) = (self.folder().join(DATA_FOLDER), self.0.scans.removable_until(age));
        let paths: Vec<PathBuf> = self.read(|connection| {
            collect(connection, &replaced("SELECT path"), [until], |row| Ok(data.join(row.get::<_, String>(0)?)))
        })?;
        if paths.is_empty() {
            return Ok(0);
        }
        // With this commit the one that replaced them survives a power cut too.
        // What is then not removed is an orphan.
        let mut writer = self.writer();
        writer.sync_at_commit(Durability::Synced)?;
        let transaction = writer.begin()?;
        sql(transaction.execute(&replaced("DELETE"), [until]))?;
        sql(transaction.commit())?;
        drop(writer);
        paths.iter().map(|path| self.remove(path)).sum()
    }

    fn remove(&self, path: &Path) -> Result<u64> {
        match self.files().remove(path) {
            Ok(()) => Ok(1),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(Error::io("remove", path, e)),
        }
    }

    fn named_files(&self, data: &Path) -> Result<HashSet<PathBuf>> {
        let of_tables = |kind: &str| {
            format!(
                "SELECT s.path, t.path, f.path FROM {kind} f JOIN ducklake_table t ON t.table_id = f.table_id \
                JOIN ducklake_schema s ON s.schema_id = t.schema_id"
            )
        };
        let text = format!(
            "{} UNION {} UNION SELECT '', '', path FROM ducklake_files_scheduled_for_deletion",
            of_tables("ducklake_data_file"),
            of_tables("ducklake_delete_file")
        );
        let paths = self.read(|connection| {
            collect(connection, &text, [], |row| {
                let (schema, table, file): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(data.join(schema).join(table).join(file))
            })
        })?;
        Ok(paths.into_iter().collect())
    }
}

/// Files scheduled for deletion up to a time, in seconds since 1970. Other
/// programs may write times of another zone than ours, and remove theirs themselves.
fn replaced(what: &str) -> String {
    format!(
        "{what} FROM ducklake_files_scheduled_for_deletion WHERE schedule_start LIKE '%+00' AND \
        CAST(strftime('%s', substr(schedule_start, 1, 19)) AS INTEGER) <= ?1"
    )
}

/// Notes that a file is to be removed some time later.
pub(super) fn schedule(connection: &Connection, data: &Path, file: &DataFile) -> Result<()> {
    let path = file.path.strip_prefix(data).ok();
    let text = "INSERT INTO ducklake_files_scheduled_for_deletion VALUES (?1, ?2, ?3, \
    strftime('%Y-%m-%d %H:%M:%f000+00', 'now'))";
    let shown = path.unwrap_or(&file.path).to_string_lossy();
    sql(connection.execute(text, params![U(file.id), shown, path.is_some()])).map(drop)
}

/// When scans began that have not ended: they may open the files they were told of.
#[derive(Default)]
pub(super) struct Scans(Mutex<Vec<Weak<SystemTime>>>);

/// How long a scan may take to learn of a commit that was begun before it.
const SETTLED: Duration = Duration::from_secs(60);

impl Scans {
    /// Notes a scan for as long as it keeps what this gives.
    pub(super) fn begin(&self) -> Arc<SystemTime> {
        let begun = Arc::new(SystemTime::now());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|scan| scan.strong_count() > 0);
        all.push(Arc::downgrade(&begun));
        begun
    }

    /// Up to when files must have been replaced to be removed, in seconds since 1970.
    fn removable_until(&self, age: Duration) -> i64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = all.iter().filter_map(|scan| Weak::upgrade(scan)?.checked_sub(SETTLED)).min();
        let now = SystemTime::now();
        let until = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let until = until.min(begun.unwrap_or(until)).duration_since(SystemTime::UNIX_EPOCH);
        until.ok().and_then(|until| i64::try_from(until.as_secs()).ok()).unwrap_or(0)
    }
}

fn is_older(changed: SystemTime, age: Duration) -> bool {
    // A time in the future (a clock that was set back) counts as young.
    SystemTime::now().duration_since(changed).is_ok_and(|since| since >= age)
}

/// All Parquet files below a folder with the time of their last change.
fn list(folder: &Path, found: &mut Vec<(PathBuf, SystemTime)>) -> Result<()> {
    let failed = |e| Error::io("list", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            list(&path, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "parquet") {
            let changed = entry.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
            found.push((path, changed));
        }
    }
    Ok(())
}
