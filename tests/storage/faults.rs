//! A disk that fails at a chosen operation, tears the write it fails in, stays
//! dead from then on, and after that loses what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use quern::storage::{Disk, FileLayer, NewFile};

/// What happens from the chosen operation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Only it fails.
    Once,
    /// It and all later ones fail: the machine is off.
    Dead,
}

#[derive(Clone)]
pub(super) struct Faults(Arc<Mutex<State>>);

struct State {
    /// Operations left before the failing one.
    left: Option<u64>,
    mode: Mode,
    fired: bool,
    /// Bytes of each file that were synced.
    synced: BTreeMap<PathBuf, u64>,
    /// Files whose names were not synced.
    unnamed: BTreeSet<PathBuf>,
}

impl Faults {
    /// Fails at operation `at`, counted from 0; never when none.
    pub(super) fn new(at: Option<u64>, mode: Mode) -> Self {
        let (synced, unnamed) = (BTreeMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(State { left: at, mode, fired: false, synced, unnamed })))
    }

    /// Begins to count anew.
    pub(super) fn arm(&self, at: u64) {
        let mut state = self.0.lock().unwrap();
        (state.left, state.fired) = (Some(at), false);
    }

    pub(super) fn fired(&self) -> bool {
        self.0.lock().unwrap().fired
    }

    /// Loses what was not synced, as a power cut would.
    pub(super) fn power_cut(&self) {
        let state = self.0.lock().unwrap();
        for (path, length) in &state.synced {
            if state.unnamed.contains(path) {
                let _ = std::fs::remove_file(path);
            } else if let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) {
                file.set_len(*length).unwrap();
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.left {
            _ if state.fired && state.mode == Mode::Dead => Err(io::Error::other("the disk is gone")),
            Some(0) => {
                (state.left, state.fired) = (None, true);
                Err(io::Error::other("the disk failed"))
            }
            Some(left) => {
                state.left = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl FileLayer for Faults {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.check()?;
        let file = Disk.create(path)?;
        let mut state = self.0.lock().unwrap();
        state.synced.insert(path.to_owned(), 0);
        state.unnamed.insert(path.to_owned());
        Ok(Box::new(FaultyFile { file, path: path.to_owned(), length: 0, faults: self.clone() }))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        Disk.make_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.0.lock().unwrap().unnamed.retain(|file| file.parent() != Some(path));
        Disk.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        Disk.remove(path)
    }

    fn step(&self, _name: &'static str) -> io::Result<()> {
        self.check()
    }
}

struct FaultyFile {
    file: Box<dyn NewFile>,
    path: PathBuf,
    length: u64,
    faults: Faults,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.faults.check() {
            // The write is torn: half of it reaches the disk.
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.faults.check()?;
        self.file.sync()?;
        self.faults.0.lock().unwrap().synced.insert(self.path.clone(), self.length);
        Ok(())
    }
}
