//! The folder's format: making a folder, upgrading an older one after a copy of
//! its catalog, refusing a newer one before anything is written to it.

use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use super::catalog_rows::has_table;
use super::connections::{Connections, Durability, connect, sql};
use super::file_layer::{FileLayer, create_durable_folders, create_folders};
use crate::base::{Error, Result};

/// The newest format this program reads, and the one it writes.
pub const FORMAT_VERSION: u64 = UPGRADES.len() as u64;

/// The catalog's file in the folder, which makes a folder one of ours.
pub const CATALOG: &str = "catalog.sqlite";

/// The folder of data files in the folder.
pub(super) const DATA_FOLDER: &str = "data";

/// The version of DuckLake's own tables.
const DUCKLAKE_VERSION: &str = "1.0";

/// Step `n` makes a folder of format `n` one of format `n + 1`; an empty
/// catalog counts as 0.
const UPGRADES: [&[&str]; 3] = [
    &[include_str!("catalog.sql"), include_str!("format_1.sql"), FIRST_SNAPSHOT],
    &[include_str!("format_2.sql")],
    &[include_str!("format_3.sql")],
];

/// What a DuckLake without tables holds.
const FIRST_SNAPSHOT: &str = "
INSERT INTO ducklake_metadata(key, value) VALUES ('version', '1.0'), ('created_by', 'quern'), ('data_path', ''), ('encrypted', 'false');
INSERT INTO ducklake_snapshot VALUES (0, strftime('%Y-%m-%d %H:%M:%f000+00', 'now'), 0, 1, 0);
INSERT INTO ducklake_snapshot_changes VALUES (0, 'created_schema:\"main\"', NULL, NULL, NULL);
INSERT INTO ducklake_schema VALUES (0, lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || \
substr(hex(randomblob(2)), 2) || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))), 0, NULL, \
'main', 'main/', 1);
INSERT INTO ducklake_schema_versions VALUES (0, 0, NULL);
";

/// Opens the catalog of a folder, both made when they do not exist, in the
/// format of this program. Returns the folder's absolute path.
pub(super) fn open(folder: &Path, files: &dyn FileLayer) -> Result<(PathBuf, Connections)> {
    create_durable_folders(files, folder).map_err(|e| Error::io("create", folder, e))?;
    let folder = folder.canonicalize().map_err(|e| Error::io("open", folder, e))?;
    let data = folder.join(DATA_FOLDER);
    let tables = data.join("main");
    create_folders(files, &tables).map_err(|e| Error::io("create", &tables, e))?;
    let path = folder.join(CATALOG);
    let found = if path.exists() { read_version(&path, &folder, files.sqlite_vfs())? } else { 0 };
    if found > FORMAT_VERSION {
        return Err(Error::Newer { folder, found, supported: FORMAT_VERSION });
    }
    if found == 0 {
        files.sync_folder(&data).map_err(|e| Error::io("sync", &data, e))?;
    }
    // The names in the folder itself are made durable by SQLite, when it begins a journal.
    let connections = Connections::open(path, files.sqlite_vfs())?;
    if (1..FORMAT_VERSION).contains(&found) {
        back_up(&connections, files, &folder, found)?;
    }
    prepare(&connections, &folder, found)?;
    Ok((folder, connections))
}

/// The format of an existing catalog, read without changing anything.
fn read_version(path: &Path, folder: &Path, vfs: Option<&str>) -> Result<u64> {
    let corrupt = |reason: String| Error::Corrupt { what: path.display().to_string(), reason };
    let unreadable = |e: rusqlite::Error| corrupt(format!("it cannot be read as a catalog ({e})"));
    let connection = connect(path, vfs)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(unreadable)?;
    if tables == 0 {
        return Ok(0);
    }
    if !has_table(&connection, "quern_format")? {
        return Err(corrupt(format!("it is not a catalog of Quern; choose another folder than {}", folder.display())));
    }
    let version = connection.query_row("SELECT version FROM quern_format", [], |row| row.get::<_, i64>(0));
    let version = version.optional().map_err(unreadable)?.unwrap_or(0);
    u64::try_from(version).map_err(|_| corrupt(format!("its format version is {version}")))
}

/// Copies the catalog beside itself as `catalog.sqlite.format-N.backup`.
fn back_up(connections: &Connections, files: &dyn FileLayer, folder: &Path, found: u64) -> Result<()> {
    let copy = folder.join(format!("{CATALOG}.format-{found}.backup"));
    if !copy.exists() {
        let part = copy.with_extension("part");
        if part.exists() {
            files.remove(&part).map_err(|e| Error::io("remove", &part, e))?;
        }
        let text = part.to_str().ok_or_else(|| not_unicode(folder))?;
        // SQLite syncs what it writes here as it does for the catalog itself.
        sql(connections.writer().connection().execute("VACUUM INTO ?1", [text]))?;
        files.rename(&part, &copy).map_err(|e| Error::io("rename", &part, e))?;
    }
    // Its name is durable before the upgrade is: SQLite syncs the folder when it begins a journal.
    Ok(())
}

/// Upgrades step by step and notes where the folder lies, in one transaction.
fn prepare(connections: &Connections, folder: &Path, found: u64) -> Result<()> {
    let data = folder.join(DATA_FOLDER);
    let data = format!("{}/", data.to_str().ok_or_else(|| not_unicode(folder))?);
    let mut writer = connections.writer();
    // What is lost of it is done again at the next open.
    writer.sync_at_commit(Durability::Later)?;
    let transaction = writer.begin()?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    for script in UPGRADES.iter().skip(done).copied().flatten() {
        sql(transaction.execute_batch(script))?;
    }
    if found < FORMAT_VERSION {
        sql(transaction.execute("DELETE FROM quern_format", []))?;
        let version = i64::try_from(FORMAT_VERSION).unwrap_or(i64::MAX);
        sql(transaction.execute("INSERT INTO quern_format VALUES (?1)", [version]))?;
    }
    let ducklake: String =
        sql(transaction.query_row("SELECT value FROM ducklake_metadata WHERE key = 'version'", [], |row| row.get(0)))?;
    if ducklake != DUCKLAKE_VERSION {
        return Err(Error::Unsupported(format!(
            "the catalog of {} was changed to DuckLake {ducklake} by another program; this quern reads DuckLake \
            {DUCKLAKE_VERSION}",
            folder.display()
        )));
    }
    sql(transaction.execute(
        "UPDATE ducklake_metadata SET value = ?1 WHERE key = 'data_path' AND scope IS NULL AND value <> ?1",
        params![data],
    ))?;
    sql(transaction.commit())
}

fn not_unicode(folder: &Path) -> Error {
    Error::Invalid(format!("folder {} has a name that is not Unicode, which DuckLake cannot hold", folder.display()))
}
