//! Components: named, versioned, their bytes kept once per sha256.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::{Error, Result};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, Write};

/// A component as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// Counted from 1 for each name.
    pub version: u64,
    /// Of its bytes, 64 hex digits.
    pub sha256: String,
    /// Size of its bytes.
    pub size_bytes: u64,
    /// When it was created, microseconds since 1970.
    pub created_us: i64,
    /// Whether this version answers to the name; false after a newer one or a drop.
    pub active: bool,
    /// What it offers, as JSON text written by the catalog layer.
    pub procs: String,
}

impl ComponentRecord {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            version: row.get::<_, U>(1)?.0,
            sha256: row.get(2)?,
            size_bytes: row.get::<_, U>(3)?.0,
            created_us: row.get(4)?,
            active: row.get(5)?,
            procs: row.get(6)?,
        })
    }
}

const COLUMNS: &str = "name, version, sha256, size_bytes, created_us, active, procs";

impl Write {
    /// Stores a component and its bytes; it becomes the active version of its
    /// name. `record.version` must be the next one: [`Storage::next_component_version`].
    pub fn put_component(&mut self, record: ComponentRecord, bytes: Vec<u8>) {
        self.record(move |connection| {
            sql(connection.execute("UPDATE quern_component SET active = 0 WHERE name = ?1", [&record.name]))?;
            sql(connection.execute(
                "INSERT INTO quern_component (name, version, sha256, size_bytes, created_us, active, procs) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    record.name,
                    U(record.version),
                    record.sha256,
                    U(record.size_bytes),
                    record.created_us,
                    record.active,
                    record.procs
                ],
            ))?;
            sql(connection.execute(
                "INSERT OR IGNORE INTO quern_component_bytes (sha256, bytes) VALUES (?1, ?2)",
                params![record.sha256, bytes],
            ))?;
            Ok(())
        });
    }

    /// Lets no version of `name` answer to it any more. Past runs keep their
    /// component, so the bytes stay.
    pub fn drop_component(&mut self, name: &str) {
        let name = name.to_owned();
        self.record(move |connection| {
            let changed =
                sql(connection.execute("UPDATE quern_component SET active = 0 WHERE name = ?1 AND active", [&name]))?;
            if changed == 0 { Err(missing(connection, &name)) } else { Ok(()) }
        });
    }
}

impl Storage {
    /// All components, or only those that answer to their name, by name and version.
    pub fn components(&self, active_only: bool) -> Result<Vec<ComponentRecord>> {
        let filter = if active_only { "WHERE active" } else { "" };
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM quern_component {filter} ORDER BY name, version");
            let mut statement = sql(connection.prepare(&text))?;
            let rows = sql(statement.query_map([], ComponentRecord::from_row))?;
            sql(rows.collect())
        })
    }

    /// The active version of `name`.
    pub fn component(&self, name: &str) -> Result<ComponentRecord> {
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM quern_component WHERE name = ?1 AND active");
            sql(connection.query_row(&text, [name], ComponentRecord::from_row).optional())?
                .ok_or_else(|| missing(connection, name))
        })
    }

    /// The version a new component called `name` gets.
    pub fn next_component_version(&self, name: &str) -> Result<u64> {
        self.read(|connection| {
            let text = "SELECT coalesce(max(version), 0) + 1 FROM quern_component WHERE name = ?1";
            sql(connection.query_row(text, [name], |row| row.get::<_, U>(0))).map(|version| version.0)
        })
    }

    /// The bytes of a component by their sha256.
    pub fn component_bytes(&self, sha256: &str) -> Result<Vec<u8>> {
        self.read(|connection| {
            let text = "SELECT bytes FROM quern_component_bytes WHERE sha256 = ?1";
            sql(connection.query_row(text, [sha256], |row| row.get(0)).optional())?.ok_or_else(|| Error::Corrupt {
                what: format!("component {sha256}"),
                reason: "its bytes are not in the catalog".into(),
            })
        })
    }
}

/// The error for a component name nothing answers to.
fn missing(connection: &Connection, name: &str) -> Error {
    let names: rusqlite::Result<Vec<String>> = connection
        .prepare("SELECT DISTINCT name FROM quern_component WHERE active")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect());
    Error::not_found("component", name, None, names.unwrap_or_default())
}
