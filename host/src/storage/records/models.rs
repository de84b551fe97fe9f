//! Checksums of saved models. The safetensors format has none, so the catalog
//! keeps the sha256 of each model's bytes, verified when it is loaded.

use rusqlite::{OptionalExtension, Row, params};

use crate::base::{Result, RunId};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, Write};

/// A model that a run saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRecord {
    /// The column `id` of its row: a uuid as text.
    pub id: String,
    /// The table the row was saved to.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Of the bytes of the column `model`, 64 hex digits.
    pub sha256: String,
    /// Size of those bytes.
    pub size_bytes: u64,
    /// When it was saved, microseconds since 1970.
    pub created_us: i64,
    /// The run that saved it.
    pub run: Option<RunId>,
}

impl ModelRecord {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            table: row.get(1)?,
            name: row.get(2)?,
            sha256: row.get(3)?,
            size_bytes: row.get::<_, U>(4)?.0,
            created_us: row.get(5)?,
            run: row.get::<_, Option<U>>(6)?.map(|id| RunId(id.0)),
        })
    }
}

const COLUMNS: &str = "model_id, table_name, name, sha256, size_bytes, created_us, run_id";

impl Write {
    /// Notes the checksum of a model whose row is appended by the same `Write`, to
    /// the table that has the name then.
    pub fn put_model(&mut self, model: ModelRecord) {
        self.record(move |connection| {
            let (size, run) = (U(model.size_bytes), model.run.map(|run| U(run.0)));
            let text = format!(
                "INSERT OR REPLACE INTO quern_model ({COLUMNS}, table_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT \
                 table_id FROM ducklake_table WHERE table_name = ?2 AND end_snapshot IS NULL))"
            );
            sql(connection
                .execute(&text, params![model.id, model.table, model.name, model.sha256, size, model.created_us, run]))
            .map(drop)
        });
    }
}

impl Storage {
    /// What is known of the model with this id; none when no run saved it here.
    pub fn model(&self, id: &str) -> Result<Option<ModelRecord>> {
        self.read(|connection| {
            let text = format!("SELECT {COLUMNS} FROM quern_model WHERE model_id = ?1");
            sql(connection.query_row(&text, [id], ModelRecord::from_row).optional())
        })
    }

    /// How many models were saved by the runs with a tag whose numbers are `first` or
    /// above, of the proc and the user of that one.
    pub fn models_of(&self, tag: &str, first: RunId) -> Result<u64> {
        self.read(|connection| {
            let text = "SELECT count(*) FROM quern_model m JOIN quern_run r ON r.run_id = m.run_id WHERE r.tag = ?1 \
                        AND r.run_id >= ?2 AND (r.user, r.component, r.proc) = \
                        (SELECT user, component, proc FROM quern_run WHERE run_id = ?2)";
            sql(connection.query_row(text, params![tag, U(first.0)], |row| row.get::<_, U>(0))).map(|count| count.0)
        })
    }

    /// All models that runs saved to tables which are there, oldest first. Those
    /// of tables that were dropped are known by their ids only: older snapshots
    /// still have them.
    pub fn models(&self) -> Result<Vec<ModelRecord>> {
        self.read(|connection| {
            let text = format!(
                "SELECT {COLUMNS} FROM quern_model m WHERE EXISTS (SELECT 1 FROM ducklake_table t WHERE t.end_snapshot \
                 IS NULL AND t.table_name = m.table_name AND t.table_id = coalesce(m.table_id, t.table_id)) \
                 ORDER BY created_us, model_id"
            );
            let mut statement = sql(connection.prepare(&text))?;
            let rows = sql(statement.query_map([], ModelRecord::from_row))?;
            sql(rows.collect())
        })
    }
}
