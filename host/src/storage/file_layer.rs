//! The door through which everything is written: data files here, the catalog
//! through the SQLite VFS that the layer names. Tests put a layer here that
//! fails, tears writes, or forgets what was not synced.
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
    /// Creates a folder in one that exists. Its name is durable after
    /// [`FileLayer::sync_folder`] of its parent.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes the names inside a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in its folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
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

/// Creates a folder and those it lies in, as far as they are missing. Their
/// names are not durable yet.
pub(super) fn create_folders(files: &dyn FileLayer, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folders(files, parent)?;
    }
    match files.make_folder(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// [`create_folders`], all names durable.
pub(super) fn create_durable_folders(files: &dyn FileLayer, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_durable_folders(files, parent)?;
    create_folders(files, path)?;
    files.sync_folder(parent).inspect_err(|_| {
        // Whoever tries again is to sync it too, and does so for what it makes.
        drop(fs::remove_dir(path));
    })
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

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
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
