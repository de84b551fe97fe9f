//! Runs that are executed whenever a server opens the folder, as stored requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::params;

use crate::base::{Result, RunId};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, Write};

/// A stored request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupRecord {
    /// Its number.
    pub id: u64,
    /// The proc.
    pub proc: String,
    /// The request as JSON text, written by the run layer.
    pub request: String,
    /// Who asked for it.
    pub user: String,
    /// When it was asked for, microseconds since 1970.
    pub created_us: i64,
    /// The run it led to the last time.
    pub last_run: Option<RunId>,
    /// Why it led to none the last time.
    pub last_error: Option<String>,
}

impl Write {
    /// Notes what a stored request led to; nothing where it was cancelled meanwhile.
    pub fn note_startup(&mut self, id: u64, outcome: std::result::Result<RunId, String>) {
        self.record(move |connection| {
            let (run, error) = (outcome.as_ref().ok().map(|run| U(run.0)), outcome.as_ref().err());
            let text = "UPDATE quern_startup SET last_run = ?2, last_error = ?3 WHERE startup_id = ?1";
            sql(connection.execute(text, params![U(id), run, error])).map(drop)
        });
    }

    /// Forgets a stored request.
    pub fn delete_startup(&mut self, id: u64) {
        self.record(move |connection| {
            sql(connection.execute("DELETE FROM quern_startup WHERE startup_id = ?1", [U(id)])).map(drop)
        });
    }
}

impl Storage {
    /// Stores a request under the next number, which is answered; that of `new`
    /// is ignored.
    pub fn add_startup(&self, new: StartupRecord) -> Result<u64> {
        let given = Arc::new(AtomicI64::new(0));
        let told = Arc::clone(&given);
        let mut write = self.begin();
        write.record(move |connection| {
            let values = params![new.proc, new.request, new.user, new.created_us];
            let text = "INSERT INTO quern_startup (proc, request, user, created_us) VALUES (?1, ?2, ?3, ?4)";
            sql(connection.execute(text, values))?;
            told.store(connection.last_insert_rowid(), Ordering::SeqCst);
            Ok(())
        });
        write.commit()?;
        Ok(u64::try_from(given.load(Ordering::SeqCst)).unwrap_or_default())
    }

    /// All stored requests, oldest first.
    pub fn startups(&self) -> Result<Vec<StartupRecord>> {
        self.read(|connection| {
            let text = "SELECT startup_id, proc, request, user, created_us, last_run, last_error FROM quern_startup \
                        ORDER BY startup_id";
            let mut statement = sql(connection.prepare(text))?;
            let rows = sql(statement.query_map([], |row| {
                Ok(StartupRecord {
                    id: row.get::<_, U>(0)?.0,
                    proc: row.get(1)?,
                    request: row.get(2)?,
                    user: row.get(3)?,
                    created_us: row.get(4)?,
                    last_run: row.get::<_, Option<U>>(5)?.map(|run| RunId(run.0)),
                    last_error: row.get(6)?,
                })
            }))?;
            sql(rows.collect())
        })
    }
}
