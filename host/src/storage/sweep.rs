//! Removing files that nothing names: what a crash left between writing files
//! and committing them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Storage;
use super::catalog_rows::collect;
use super::format::DATA_FOLDER;
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
            match self.files().remove(&path) {
                Ok(()) => removed += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("remove", path, e)),
            }
        }
        Ok(removed)
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
