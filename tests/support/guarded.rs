//! A disk on which something happens before a write or a step of a commit.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use quern::storage::{Disk, FileLayer, NewFile};

/// Asked before each write, with its kind.
type Guard = dyn Fn(&str) -> io::Result<()> + Send;

/// The disk behind a guard.
#[derive(Clone)]
pub(crate) struct Guarded(Arc<Mutex<Box<Guard>>>);

impl Guarded {
    /// That lets everything through.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::new(|_| Ok(())))))
    }

    /// From now on `guard` is asked.
    pub(crate) fn set(&self, guard: impl Fn(&str) -> io::Result<()> + Send + 'static) {
        *self.0.lock().unwrap() = Box::new(guard);
    }

    fn ask(&self, kind: &str) -> io::Result<()> {
        self.0.lock().unwrap()(kind)
    }
}

impl FileLayer for Guarded {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.ask("create")?;
        Disk.create(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.ask("make folder")?;
        Disk.make_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.ask("sync folder")?;
        Disk.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }

    fn step(&self, name: &'static str) -> io::Result<()> {
        self.ask(name)
    }
}
