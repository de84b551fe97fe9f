//! The one short transaction in which a change becomes visible: a DuckLake
//! snapshot with everything the change did, and the records beside it.
//!
//! 1. Tables that the change relies on must be as they were when it began.
//! 2. Each step writes its rows of the catalog under the new snapshot's number.
//! 3. Records; COMMIT, for all changes that wait ([`queue`]). Before COMMIT any
//!    error undoes the change, and its staged files are removed; from COMMIT on
//!    they are left alone, because the catalog may name them even if COMMIT
//!    reports an error.

mod append;
mod delete;
mod queue;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::catalog_rows::{self, quote};
use super::connections::{U, sql};
use super::moved::MOVED;
use super::snapshot::TableState;
use super::write::{NewTable, Step, Target, Write};
use super::{Storage, forms, inline};
use crate::base::{Error, Result, Schema, Sharding, SnapshotId, TableId};

pub(super) use append::{FileRow, insert_file, note_table_stats};
pub(super) use queue::{Queue, Turn, commit, commit_later, settle};

/// A snapshot being written.
pub(super) struct Commit<'a> {
    pub(super) connection: &'a Connection,
    /// The number of the new snapshot.
    pub(super) id: SnapshotId,
    schema_version: u64,
    next_catalog_id: u64,
    next_file_id: u64,
    changes: Vec<String>,
    /// Tables created by a step, by the step's position.
    created: HashMap<usize, TableId>,
    /// Files written within the transaction.
    made: Vec<PathBuf>,
}

/// A table as the steps of a commit need it.
struct Place<'a> {
    id: TableId,
    schema: &'a Schema,
    ids: Vec<&'a [i32]>,
}

/// Everything a change does, in a transaction that others may share. Returns
/// the snapshot in which it is seen.
fn apply(write: &mut Write, connection: &Connection) -> Result<SnapshotId> {
    check_expected(write, connection)?;
    let mut id = catalog_rows::newest(connection)?.id;
    if !write.steps.is_empty() {
        step(&write.storage, "tables")?;
        let mut commit = Commit::begin(connection)?;
        let outcome = commit.apply(write);
        std::mem::take(&mut commit.made).into_iter().for_each(|path| write.making(path));
        outcome?;
        id = commit.finish(write.author.as_deref(), write.message.as_deref())?;
    }
    step(&write.storage, "records")?;
    write.apply_records(connection)?;
    Ok(id)
}

/// Lets tests stop a commit.
fn step(storage: &Storage, name: &'static str) -> Result<()> {
    storage.files().step(name).map_err(|e| Error::io("commit to", storage.folder(), e))
}

/// Fails when a table the change relies on was dropped, altered or resharded.
fn check_expected(write: &Write, connection: &Connection) -> Result<()> {
    let touched = write.steps.iter().filter_map(|step| match step {
        Step::Drop(table) | Step::Truncate(table) | Step::Delete { table, .. } => Some(table),
        Step::Append { target: Target::Existing(table), .. } => Some(table),
        Step::Append { .. } | Step::Create(_) => None,
    });
    check_unchanged(connection, touched.chain(&write.expected))
}

/// Fails when one of the tables was dropped, altered or resharded since it was read.
pub(super) fn check_unchanged<'t>(
    connection: &Connection,
    tables: impl Iterator<Item = &'t Arc<TableState>>,
) -> Result<()> {
    for table in tables {
        let same: bool = sql(connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM ducklake_table WHERE table_id = ?1 AND table_name = ?2 AND \
            end_snapshot IS NULL) AND NOT EXISTS (SELECT 1 FROM ducklake_column WHERE table_id = ?1 AND \
            (begin_snapshot > ?3 OR end_snapshot > ?3))",
            params![U(table.id.0), table.name, U(table.read_at.0)],
            |row| row.get(0),
        ))?;
        let divided = catalog_rows::sharding(connection, table.id, &table.schema, &table.columns)?;
        if !same || divided != (table.sharding.clone(), table.shards) {
            return Err(Error::Invalid(format!(
                "table `{}` was dropped or altered meanwhile, nothing was changed; run it again",
                table.name
            )));
        }
    }
    Ok(())
}

impl<'a> Commit<'a> {
    /// Takes the numbers after those of the newest snapshot.
    pub(super) fn begin(connection: &'a Connection) -> Result<Self> {
        let text = "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM ducklake_snapshot \
        ORDER BY snapshot_id DESC LIMIT 1";
        let [id, schema_version, next_catalog_id, next_file_id] = sql(connection.query_row(text, [], |row| {
            Ok([row.get::<_, U>(0)?.0, row.get::<_, U>(1)?.0, row.get::<_, U>(2)?.0, row.get::<_, U>(3)?.0])
        }))?;
        Ok(Self {
            connection,
            id: SnapshotId(id + 1),
            schema_version,
            next_catalog_id,
            next_file_id,
            changes: Vec::new(),
            created: HashMap::new(),
            made: Vec::new(),
        })
    }

    /// Notes what happened in DuckLake's words, once each.
    pub(super) fn changed(&mut self, what: String) {
        if !self.changes.contains(&what) {
            self.changes.push(what);
        }
    }

    /// A number for a new file.
    pub(super) fn file_id(&mut self) -> u64 {
        self.next_file_id += 1;
        self.next_file_id - 1
    }

    fn apply(&mut self, write: &Write) -> Result<()> {
        let changes_schema = |step: &Step| matches!(step, Step::Create(_) | Step::Drop(_));
        if write.steps.iter().any(changes_schema) {
            self.schema_version += 1;
        }
        for (position, step) in write.steps.iter().enumerate() {
            match step {
                Step::Create(new) => self.create(position, new)?,
                Step::Drop(table) => self.drop_table(table)?,
                Step::Append { target, files, inlined, rows } => {
                    let place = self.place(write, target)?;
                    self.append(&place, files, inlined, *rows)?;
                }
                Step::Delete { table, row_ids } => self.delete(&write.storage, table, row_ids)?,
                Step::Truncate(table) => self.truncate(table)?,
            }
        }
        Ok(())
    }

    fn place<'w>(&self, write: &'w Write, target: &'w Target) -> Result<Place<'w>> {
        match target {
            Target::Existing(table) => {
                let ids = table.columns.iter().map(|column| column.ids.as_slice()).collect();
                Ok(Place { id: table.id, schema: &table.schema, ids })
            }
            Target::New(position) => match (write.steps.get(*position), self.created.get(position)) {
                (Some(Step::Create(new)), Some(id)) => {
                    Ok(Place { id: *id, schema: &new.schema, ids: new.ids.iter().map(Vec::as_slice).collect() })
                }
                _ => Err(Error::Internal("rows are appended before their table is created".into())),
            },
        }
    }

    fn create(&mut self, position: usize, new: &NewTable) -> Result<()> {
        let taken: Option<String> = sql(self
            .connection
            .query_row(
                "SELECT table_name FROM ducklake_table WHERE end_snapshot IS NULL AND schema_id = 0 AND \
                lower(table_name) = lower(?1)",
                [&new.name],
                |row| row.get(0),
            )
            .optional())?;
        if let Some(name) = taken {
            return Err(Error::Exists { kind: "table", name });
        }
        let id = TableId(self.next_catalog_id);
        self.next_catalog_id += 1;
        let (table, snapshot) = (U(id.0), U(self.id.0));
        sql(self.connection.execute(
            "INSERT INTO ducklake_table VALUES (?1, ?2, ?3, NULL, 0, ?4, ?5, 1)",
            params![table, uuid::Uuid::now_v7().to_string(), snapshot, new.name, new.path],
        ))?;
        sql(self.connection.execute(
            "INSERT INTO ducklake_schema_versions VALUES (?1, ?2, ?3)",
            params![snapshot, U(self.schema_version), table],
        ))?;
        self.create_columns(id, new)?;
        if !inline::can_inline(&new.schema) {
            // DuckDB would keep small appends in the catalog, lists as text.
            sql(self.connection.execute(
                "INSERT INTO ducklake_metadata VALUES ('data_inlining_row_limit', '0', 'table', ?1)",
                [table],
            ))?;
        }
        let sharding = match &new.sharding {
            Sharding::Random => "random",
            Sharding::Key(_) => "key",
            Sharding::Replicated => "replicated",
        };
        sql(self.connection.execute(
            "INSERT INTO quern_table(table_id, sharding, shards) VALUES (?1, ?2, ?3)",
            params![table, sharding, new.shards],
        ))?;
        if let Sharding::Key(keys) = &new.sharding {
            for (position, key) in (0_i64..).zip(super::shards::key_columns(&new.schema, keys)?) {
                let column = new.ids.get(key).and_then(|ids| ids.first());
                sql(self
                    .connection
                    .execute("INSERT INTO quern_shard_key VALUES (?1, ?2, ?3)", params![table, position, column]))?;
            }
        }
        self.created.insert(position, id);
        self.changed(format!("created_table:\"main\".{}", quote(&new.name)));
        Ok(())
    }

    fn create_columns(&self, table: TableId, new: &NewTable) -> Result<()> {
        for (column, ids) in new.schema.columns().iter().zip(&new.ids) {
            let mut level = Some(&column.column_type);
            let (mut name, mut parent, mut nullable) = (column.name.as_str(), None, column.nullable);
            for id in ids {
                let Some(column_type) = level else { break };
                sql(self.connection.execute(
                    "INSERT INTO ducklake_column VALUES (?1, ?2, NULL, ?3, ?1, ?4, ?5, NULL, 'NULL', ?6, ?7, \
                    'literal', 'duckdb')",
                    params![id, U(self.id.0), U(table.0), name, forms::duck_type(column_type), nullable, parent],
                ))?;
                level = if let crate::base::ColumnType::List(item) = column_type { Some(item.as_ref()) } else { None };
                (name, parent, nullable) = ("element", Some(*id), true);
            }
            let id = ids.first();
            let text = column.column_type.to_string();
            sql(self
                .connection
                .execute("INSERT INTO quern_column VALUES (?1, ?2, ?3)", params![U(table.0), id, text]))?;
            if forms::needs_note(&column.column_type) {
                // DuckDB knows no other key of column tags, and shows this one.
                sql(self.connection.execute(
                    "INSERT INTO ducklake_column_tag VALUES (?1, ?2, ?3, NULL, 'comment', ?4)",
                    params![U(table.0), id, U(self.id.0), text],
                ))?;
            }
        }
        Ok(())
    }

    fn drop_table(&mut self, table: &TableState) -> Result<()> {
        for kind in ["table", "column", "column_tag", "data_file", "delete_file"] {
            let text =
                format!("UPDATE ducklake_{kind} SET end_snapshot = ?1 WHERE table_id = ?2 AND end_snapshot IS NULL");
            sql(self.connection.execute(&text, params![U(self.id.0), U(table.id.0)]))?;
        }
        let text = "DELETE FROM quern_grant WHERE kind = 'table' AND object = ?1";
        sql(self.connection.execute(text, [&table.name]))?;
        sql(self.connection.execute("DELETE FROM quern_residency WHERE table_id = ?1", [U(table.id.0)]))?;
        self.changed(format!("dropped_table:{}", table.id));
        Ok(())
    }

    /// Writes the snapshot's own row.
    fn finish(self, author: Option<&str>, message: Option<&str>) -> Result<SnapshotId> {
        self.write_snapshot([author, message, None])
    }

    /// Writes the row of a snapshot in which rows were moved and nothing changed.
    pub(super) fn finish_moved(self, message: &str) -> Result<SnapshotId> {
        self.write_snapshot([Some("quern"), Some(message), Some(MOVED)])
    }

    fn write_snapshot(self, [author, message, extra]: [Option<&str>; 3]) -> Result<SnapshotId> {
        sql(self.connection.execute(
            "INSERT INTO ducklake_snapshot VALUES (?1, strftime('%Y-%m-%d %H:%M:%f000+00', 'now'), ?2, ?3, ?4)",
            params![U(self.id.0), U(self.schema_version), U(self.next_catalog_id), U(self.next_file_id)],
        ))?;
        sql(self.connection.execute(
            "INSERT INTO ducklake_snapshot_changes VALUES (?1, ?2, ?3, ?4, ?5)",
            params![U(self.id.0), self.changes.join(","), author, message, extra],
        ))?;
        Ok(self.id)
    }
}
