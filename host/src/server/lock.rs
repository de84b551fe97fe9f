//! The lock of a folder: an advisory lock of the operating system on
//! `DIR/quern.lock`. It dies with its process, however that ends, so there is
//! nothing to clean up after a crash. The file's text is the holder's pid and
//! serves messages only; who holds the folder is decided by the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::base::{Error, Result};

/// Name of the lock's file in a folder.
pub const LOCK_FILE: &str = "quern.lock";

/// The right to write in a folder, for as long as this value lives.
#[derive(Debug)]
pub struct FolderLock {
    /// Open as long as the lock is held: closing it is the release.
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, which must exist. `None` while another
    /// process holds it.
    pub fn try_acquire(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| not_writable(folder, &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        // Only the holder truncates, so a reader sees a pid or, for a moment, nothing.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|e| Error::io("write", &path, e))?;
        Ok(Some(Self { _file: file }))
    }
}

/// The error of a lock that cannot be opened.
fn not_writable(folder: &Path, path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::Denied(format!(
            "folder {} cannot be written, and also reading it needs that, for its lock, its socket and the journal \
             of its catalog; change its permissions, or copy it and name the copy with --data",
            folder.display()
        )),
        _ => Error::io("open", path, error),
    }
}

/// The pid that the newest holder of `folder` wrote, 0 when there is none.
pub fn holder_pid(folder: &Path) -> u32 {
    let mut text = String::new();
    // A pid has at most ten digits; more than that in the file is not ours.
    match File::open(folder.join(LOCK_FILE)).and_then(|file| file.take(32).read_to_string(&mut text)) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}
