//! Components: named, versioned, their bytes kept once per sha256; and what is
//! set for procs by name, whatever version answers.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::{Error, LimitChanges, Limits, Result};
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
    /// Whether this version answers to the name; at most one of a name does.
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

/// Which versions of components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    /// Those that answer to their name.
    Active,
    /// All that can be executed.
    Kept,
    /// Also deleted ones, whose rows say what past runs declared.
    All,
}

/// What is set for one proc of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcSetting {
    /// The component.
    pub component: String,
    /// The proc.
    pub proc: String,
    /// Instances of it that may run at the same time; as many as there are places where absent.
    pub max_concurrency: Option<u64>,
    /// Limits that are other for its runs than the folder's.
    pub limits: LimitChanges,
}

impl ProcSetting {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let max_concurrency = row.get::<_, Option<U>>(2)?.map(|instances| instances.0);
        // Settings that cannot be read, of another version, are as good as none.
        let limits = serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default();
        Ok(Self { component: row.get(0)?, proc: row.get(1)?, max_concurrency, limits })
    }

    /// What is set for a proc; nothing is set where no record is.
    fn read(connection: &Connection, component: &str, proc: &str) -> Result<Self> {
        let text = "SELECT component, proc, max_concurrency, limits FROM quern_proc WHERE component = ?1 AND proc = ?2";
        let found = sql(connection.query_row(text, [component, proc], Self::from_row).optional())?;
        Ok(found.unwrap_or_else(|| Self {
            component: component.to_owned(),
            proc: proc.to_owned(),
            max_concurrency: None,
            limits: LimitChanges::new(),
        }))
    }

    /// What is set for procs, by component and proc.
    fn all(connection: &Connection) -> Result<Vec<Self>> {
        let text = "SELECT component, proc, max_concurrency, limits FROM quern_proc ORDER BY component, proc";
        let mut statement = sql(connection.prepare(text))?;
        let rows = sql(statement.query_map([], Self::from_row))?;
        sql(rows.collect())
    }

    /// Stores it over what was set before.
    fn write(&self, connection: &Connection) -> Result<()> {
        let text =
            "INSERT OR REPLACE INTO quern_proc (component, proc, max_concurrency, limits) VALUES (?1, ?2, ?3, ?4)";
        let limits = serde_json::to_string(&self.limits).map_err(|e| Error::Internal(e.to_string()))?;
        let values = params![self.component, self.proc, self.max_concurrency.map(U), limits];
        sql(connection.execute(text, values)).map(drop)
    }
}

/// Which versions of one name there are, as far as that shows whether something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionsSeen {
    /// The number of the newest, also where it was deleted; 0 where there is none.
    pub newest: u64,
    /// Those that can be executed.
    pub kept: u64,
}

impl VersionsSeen {
    fn read(connection: &Connection, name: &str) -> Result<Self> {
        let text =
            "SELECT coalesce(max(version), 0), coalesce(sum(NOT deleted), 0) FROM quern_component WHERE name = ?1";
        let seen = |row: &Row<'_>| Ok(Self { newest: row.get::<_, U>(0)?.0, kept: row.get::<_, U>(1)?.0 });
        sql(connection.query_row(text, [name], seen))
    }
}

const COLUMNS: &str = "name, version, sha256, size_bytes, created_us, active, procs";

impl Write {
    /// Fails the commit where versions of `name` were added or deleted since they were seen.
    pub fn expect_versions(&mut self, name: &str, seen: VersionsSeen) {
        let name = name.to_owned();
        self.record(move |connection| match VersionsSeen::read(connection, &name)? == seen {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "component `{name}` was changed by somebody else at the same time; look at it, and ask again"
            ))),
        });
    }

    /// Stores a version of a component and its bytes. An active one takes the
    /// name over. `record.version` must be the next one:
    /// [`Storage::next_component_version`].
    pub fn put_component(&mut self, record: ComponentRecord, bytes: Vec<u8>) {
        self.record(move |connection| {
            if record.active {
                sql(connection.execute("UPDATE quern_component SET active = 0 WHERE name = ?1", [&record.name]))?;
            }
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

    /// Lets a version answer to its component's name, and no other.
    pub fn activate_component(&mut self, name: &str, version: u64) {
        let name = name.to_owned();
        self.record(move |connection| {
            let kept = "EXISTS (SELECT 1 FROM quern_component WHERE name = ?1 AND version = ?2 AND NOT deleted)";
            let text = format!("UPDATE quern_component SET active = (version = ?2) WHERE name = ?1 AND {kept}");
            let changed = sql(connection.execute(&text, params![name, U(version)]))?;
            if changed == 0 { Err(missing_version(connection, &name, version)) } else { Ok(()) }
        });
    }

    /// Forgets what is set for the procs of a component.
    pub fn drop_proc_settings(&mut self, component: &str) {
        let component = component.to_owned();
        self.record(move |connection| {
            sql(connection.execute("DELETE FROM quern_proc WHERE component = ?1", [&component])).map(drop)
        });
    }

    /// Of what is set for the procs of a component leaves only the limits that are
    /// stricter than these.
    pub fn keep_stricter_settings(&mut self, component: &str, limits: &Limits) {
        let (component, limits) = (component.to_owned(), limits.clone());
        self.record(move |connection| {
            let mut settings = ProcSetting::all(connection)?;
            settings.retain(|setting| setting.component == component);
            sql(connection.execute("DELETE FROM quern_proc WHERE component = ?1", [&component]))?;
            for mut setting in settings {
                setting.max_concurrency = None;
                setting.limits.keep_stricter(&limits);
                if !setting.limits.is_empty() {
                    setting.write(connection)?;
                }
            }
            Ok(())
        });
    }

    /// Deletes all versions of `name`. Runs that use one go on: bytes stay until the
    /// folder is opened the next time.
    pub fn drop_component(&mut self, name: &str) {
        let name = name.to_owned();
        self.record(move |connection| {
            let text = "UPDATE quern_component SET active = 0, deleted = 1 WHERE name = ?1 AND NOT deleted";
            let changed = sql(connection.execute(text, [&name]))?;
            let text = "DELETE FROM quern_grant WHERE kind = 'function' \
                        AND (object = ?1 OR substr(object, 1, length(?1) + 1) = ?1 || '.')";
            sql(connection.execute(text, [&name]))?;
            if changed == 0 { Err(missing(connection, &name)) } else { Ok(()) }
        });
    }

    /// Deletes one version, which must not be the active one.
    pub fn drop_component_version(&mut self, name: &str, version: u64) {
        let name = name.to_owned();
        self.record(move |connection| {
            let text = "UPDATE quern_component SET deleted = 1 \
                        WHERE name = ?1 AND version = ?2 AND NOT deleted AND NOT active";
            let changed = sql(connection.execute(text, params![name, U(version)]))?;
            if changed == 0 { Err(missing_version(connection, &name, version)) } else { Ok(()) }
        });
    }

    /// Changes what is set for one proc of a component, as it is when this is
    /// committed; an error of `change` fails the commit.
    pub fn change_proc_setting(
        &mut self,
        component: &str,
        proc: &str,
        change: impl Fn(&mut ProcSetting) -> Result<()> + Send + 'static,
    ) {
        let (component, proc) = (component.to_owned(), proc.to_owned());
        self.record(move |connection| {
            let mut setting = ProcSetting::read(connection, &component, &proc)?;
            change(&mut setting)?;
            setting.write(connection)
        });
    }
}

impl Storage {
    /// Components, by name and version.
    pub fn components(&self, which: Versions) -> Result<Vec<ComponentRecord>> {
        let filter = match which {
            Versions::Active => "WHERE active",
            Versions::Kept => "WHERE NOT deleted",
            Versions::All => "",
        };
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

    /// A version of `name` that was not deleted.
    pub fn component_version(&self, name: &str, version: u64) -> Result<ComponentRecord> {
        self.read(|connection| {
            let text =
                format!("SELECT {COLUMNS} FROM quern_component WHERE name = ?1 AND version = ?2 AND NOT deleted");
            let found = connection.query_row(&text, params![name, U(version)], ComponentRecord::from_row).optional();
            sql(found)?.ok_or_else(|| missing_version(connection, name, version))
        })
    }

    /// What is set for a proc; nothing is set where no record is.
    pub fn proc_setting(&self, component: &str, proc: &str) -> Result<ProcSetting> {
        self.read(|connection| ProcSetting::read(connection, component, proc))
    }

    /// What is set for procs, by component and proc.
    pub fn proc_settings(&self) -> Result<Vec<ProcSetting>> {
        self.read(ProcSetting::all)
    }

    /// Removes the bytes that only deleted versions have. No run may execute.
    pub fn remove_unused_components(&self) -> Result<()> {
        let unused = "sha256 NOT IN (SELECT sha256 FROM quern_component WHERE NOT deleted)";
        let found: bool = self.read(|connection| {
            let text = format!("SELECT EXISTS (SELECT 1 FROM quern_component_bytes WHERE {unused})");
            sql(connection.query_row(&text, [], |row| row.get(0)))
        })?;
        if !found {
            return Ok(());
        }
        let mut write = self.begin();
        write.record(move |connection| {
            sql(connection.execute(&format!("DELETE FROM quern_component_bytes WHERE {unused}"), [])).map(drop)
        });
        write.commit().map(drop)
    }

    /// Which versions of a component there are.
    pub fn versions_seen(&self, name: &str) -> Result<VersionsSeen> {
        self.read(|connection| VersionsSeen::read(connection, name))
    }

    /// The version a new component called `name` gets.
    pub fn next_component_version(&self, name: &str) -> Result<u64> {
        Ok(self.versions_seen(name)?.newest.saturating_add(1))
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
    let versions = versions(connection, name);
    if !versions.is_empty() {
        return Error::Invalid(format!(
            "no version of component `{name}` is active; it has {}: activate one of them",
            versions.join(", ")
        ));
    }
    let names: rusqlite::Result<Vec<String>> = connection
        .prepare("SELECT DISTINCT name FROM quern_component WHERE NOT deleted")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect());
    Error::not_found("component", name, None, names.unwrap_or_default())
}

/// The error for a version that a component does not have, or no longer has.
fn missing_version(connection: &Connection, name: &str, version: u64) -> Error {
    let versions = versions(connection, name);
    if versions.is_empty() {
        return missing(connection, name);
    }
    Error::Invalid(format!("component `{name}` has no version {version}; it has {}", versions.join(", ")))
}

/// The kept versions of a component.
fn versions(connection: &Connection, name: &str) -> Vec<String> {
    let text = "SELECT version FROM quern_component WHERE name = ?1 AND NOT deleted ORDER BY version";
    let found: rusqlite::Result<Vec<String>> = connection.prepare(text).and_then(|mut statement| {
        statement.query_map([name], |row| row.get::<_, U>(0).map(|version| version.0.to_string()))?.collect()
    });
    found.unwrap_or_default()
}
