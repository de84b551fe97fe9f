//! Connections to the catalog: one that writes, behind a lock, and a few that
//! read. The journal is a WAL, so readers never wait for the writer.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::base::{Error, Result};

/// Idle readers kept open.
const IDLE_READERS: usize = 4;

/// How long to wait for a writer of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Names the catalog in a SQLite error.
pub(super) fn sql<T>(result: rusqlite::Result<T>) -> Result<T> {
    result.map_err(|e| match is_full(&e) {
        true => Error::Full { what: "the catalog (catalog.sqlite)".into() },
        false => Error::library("the catalog (catalog.sqlite) refused an operation", e),
    })
}

/// Whether SQLite found no room on the disk, for the catalog or for the index
/// of its journal.
fn is_full(error: &rusqlite::Error) -> bool {
    let index_full = |e: &rusqlite::ffi::Error| e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error().is_some_and(|e| e.code == ErrorCode::DiskFull || index_full(e))
}

/// An unsigned number in the catalog, where numbers are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct U(pub(super) u64);

impl ToSql for U {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let signed = i64::try_from(self.0).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(ToSqlOutput::from(signed))
    }
}

impl FromSql for U {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let signed = value.as_i64()?;
        u64::try_from(signed).map(Self).map_err(|_| FromSqlError::OutOfRange(signed))
    }
}

/// When a commit survives a power cut. All survive the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// With the next synced commit.
    Later,
    /// Before it is answered.
    Synced,
}

/// The connections of one folder.
pub(super) struct Connections {
    path: PathBuf,
    vfs: Option<String>,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

/// The writing connection, held.
pub(super) struct Writer<'a>(MutexGuard<'a, Connection>);

impl Writer<'_> {
    /// Begins the one short transaction of a commit.
    pub(super) fn begin(&mut self) -> Result<Transaction<'_>> {
        sql(self.0.transaction_with_behavior(TransactionBehavior::Immediate))
    }

    /// Lets transactions that follow be synced at their COMMIT, or only with
    /// the next one that is.
    pub(super) fn sync_at_commit(&self, durability: Durability) -> Result<()> {
        let word = match durability {
            Durability::Synced => "full",
            Durability::Later => "normal",
        };
        sql(self.0.pragma_update(None, "synchronous", word))
    }

    /// The connection outside of any transaction.
    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Connections {
    /// Opens the catalog file, which is created when it does not exist.
    pub(super) fn open(path: PathBuf, vfs: Option<&str>) -> Result<Self> {
        let vfs = vfs.map(str::to_owned);
        let writer = connect(&path, vfs.as_deref())?;
        sql(writer.pragma_update(None, "journal_mode", "wal"))?;
        sql(writer.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))?;
        // SQLite answers `wal` also where a write failed on the way to it; with
        // any other journal commits are not durable.
        let mut journal = path.clone().into_os_string();
        journal.push("-wal");
        if !Path::new(&journal).exists() {
            let reason = "its journal could not be made a WAL; see that the disk can be written and open it again";
            return Err(Error::Corrupt { what: path.display().to_string(), reason: reason.into() });
        }
        Ok(Self { path, vfs, writer: Mutex::new(writer), readers: Mutex::default() })
    }

    /// Waits for the writing connection.
    pub(super) fn writer(&self) -> Writer<'_> {
        // A panic elsewhere leaves no transaction behind: dropping one rolls it back.
        Writer(self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The writing connection, when nobody has it.
    pub(super) fn try_writer(&self) -> Option<Writer<'_>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(Writer(writer)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Writer(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Runs `work` in one read transaction: everything it reads is of one commit.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.path, self.vfs.as_deref())?;
                sql(connection.pragma_update(None, "query_only", true))?;
                connection
            }
        };
        let transaction = sql(connection.transaction())?;
        let outcome = work(&transaction);
        sql(transaction.finish())?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS {
            readers.push(connection);
        }
        outcome
    }
}

/// Opens the catalog file. Nothing is read from it yet.
pub(super) fn connect(path: &Path, vfs: Option<&str>) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    };
    let refused = |e: rusqlite::Error| match e.sqlite_error_code() {
        _ if is_full(&e) => Error::Full { what: format!("the catalog {}", path.display()) },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::Corrupt { what: path.display().to_string(), reason: format!("it cannot be read as a catalog ({e})") }
        }
        _ => Error::library(format!("cannot open the catalog {}", path.display()), e),
    };
    let connection = opened.map_err(refused)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    connection.pragma_update(None, "synchronous", "full").map_err(refused)?;
    Ok(connection)
}
