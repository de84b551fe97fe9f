//! The door through which every data file is written. Tests put a layer here
//! that fails, tears writes, or forgets what was not synced.
//!
//! A file counts as written only when it was synced *and* its folder was; the
//! catalog names it only after that. Reading goes straight to the disk.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// What storage needs of a file system to write.
pub trait FileLayer: Send + Sync + 'static {
    /// Creates a new file; an existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// Creates a folder and its parents, and makes their names durable.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the names inside a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Copies a file, synced; used for the backup before an upgrade.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Called before each step of a commit, with the step's name, so that tests
    /// can stop one there.
    fn step(&self, _name: &'static str) -> io::Result<()> {
        Ok(())
    }
    /// The SQLite VFS the catalog is opened with, when not the default one.
    fn sqlite_vfs(&self) -> Option<&str> {
        None
    }
}

/// A file being written.
pub trait NewFile: Write + Send {
    /// Makes everything written so far durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl FileLayer for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        Ok(Box::new(fs::File::create_new(path)?))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_folder(parent)?;
            match fs::create_dir(path) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                _ => self.sync_folder(parent),
            }
        } else {
            fs::create_dir(path)
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::copy(from, to)?;
        fs::File::open(to)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl NewFile for fs::File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
