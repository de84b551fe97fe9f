//! A disk that knows what was synced. Storage and SQLite write to a real folder
//! through it; beside that it keeps what each file and folder would hold after
//! a power cut. It fails, crashes or loses power at a chosen operation, and can
//! be told to ignore a sync.
//!
//! What it assumes of a real disk: a file's bytes are durable after its sync, a
//! name after the sync of its folder; before that any sector of 512 bytes may
//! be there or not, in any order.

mod layer;
mod survive;
mod vfs;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What syncs of SQLite's journal are called, and those of its header alone.
pub(super) const WAL: &str = "catalog's WAL";
pub(super) const WAL_HEADER: &str = "header of the catalog's WAL";
const WAL_HEADER_BYTES: usize = 32;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails, later ones do not.
    Error,
    /// There is no room for it, nor for anything from then on.
    Full,
    /// The process ends: nothing happens any more, all that was written stays.
    Crash,
    /// The power fails: what was not synced is gone.
    PowerCut,
    /// The power fails: of what was not synced, some sectors and names are
    /// there, chosen by this number.
    Torn(u64),
}

/// A sync that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Sync {
    /// What was synced: a kind of file, or a folder.
    pub(super) what: String,
    /// Whether it made anything durable that was not.
    pub(super) useful: bool,
    /// The number of operations up to it.
    pub(super) at: u64,
}

/// The disk. Clones are the same one.
#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

/// A file's bytes: those that are durable, and what happened to it since.
#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(usize),
}

struct State {
    root: PathBuf,
    inodes: Vec<Inode>,
    /// What the process sees, and what a power cut leaves.
    names: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Operations left before the chosen one.
    left: Option<u64>,
    fault: Fault,
    fired: Option<String>,
    operations: u64,
    syncs: Vec<Sync>,
    ignored: Option<usize>,
}

impl SimDisk {
    /// Over a folder; what is in it counts as durable.
    pub(super) fn new(root: &Path) -> Self {
        let root = root.canonicalize().unwrap();
        let mut state = State {
            root: root.clone(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            left: None,
            fault: Fault::Error,
            fired: None,
            operations: 0,
            syncs: Vec::new(),
            ignored: None,
        };
        state.adopt(&root);
        state.durable = state.names.clone();
        let disk = Self(Arc::new(Mutex::new(state)));
        vfs::mount(&root, &disk);
        disk
    }

    /// Lets the operation `at`, counted from 0 and from now on, go wrong.
    pub(super) fn arm(&self, at: u64, fault: Fault) {
        let mut state = self.state();
        (state.left, state.fault, state.fired) = (Some(at), fault, None);
    }

    /// Nothing goes wrong any more.
    pub(super) fn disarm(&self) {
        let mut state = self.state();
        (state.left, state.fired) = (None, None);
    }

    /// Ignores the sync with this position in [`SimDisk::syncs`].
    pub(super) fn ignore_sync(&self, position: usize) {
        self.state().ignored = Some(position);
    }

    /// What was being done when it went wrong.
    pub(super) fn fired(&self) -> Option<String> {
        self.state().fired.clone()
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Syncs so far.
    pub(super) fn syncs(&self) -> Vec<Sync> {
        self.state().syncs.clone()
    }

    /// Makes the folder what it is after the fault, once the process is gone.
    pub(super) fn settle(&self) {
        let state = self.state();
        match state.fault {
            Fault::PowerCut => state.restore(None),
            Fault::Torn(seed) => state.restore(Some(seed)),
            Fault::Error | Fault::Full | Fault::Crash => {}
        }
    }

    /// The power fails now; with a number some of what was not synced is there.
    pub(super) fn cut_power(&self, seed: Option<u64>) {
        self.state().restore(seed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Counts an operation; an error when it goes wrong.
    fn check(&mut self, what: &str, path: &Path) -> io::Result<()> {
        self.operations += 1;
        if self.fired.is_some() {
            return match self.fault {
                Fault::Error => Ok(()),
                Fault::Full if !takes_room(what) => Ok(()),
                Fault::Full => Err(io::Error::from(io::ErrorKind::StorageFull)),
                _ => Err(io::Error::other("the machine is off")),
            };
        }
        match self.left {
            Some(0) if self.fault == Fault::Full && !takes_room(what) => Ok(()),
            Some(0) => {
                self.left = None;
                let name = path.strip_prefix(&self.root).unwrap_or(path);
                self.fired = Some(format!("{what} {}", name.display()));
                match self.fault {
                    Fault::Full => Err(io::Error::from(io::ErrorKind::StorageFull)),
                    _ => Err(io::Error::other("the disk failed")),
                }
            }
            Some(left) => {
                self.left = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Counts a write of so many bytes. Of one that goes wrong half is done.
    fn check_write(&mut self, path: &Path, length: usize) -> (usize, io::Result<()>) {
        let before = self.fired.is_some();
        match self.check("write", path) {
            Ok(()) => (length, Ok(())),
            Err(error) if !before && self.fault != Fault::Full => (length / 2, Err(error)),
            Err(error) => (0, Err(error)),
        }
    }

    /// Whether a sync is to be ignored; counts it.
    fn ignores(&mut self, what: String, useful: bool) -> bool {
        let position = self.syncs.len();
        self.syncs.push(Sync { what, useful, at: self.operations });
        self.ignored == Some(position)
    }

    fn created(&mut self, path: &Path) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.names.insert(path.to_owned(), Entry::File(inode));
        inode
    }

    fn changed(&mut self, inode: usize, change: Change) {
        self.inodes[inode].pending.push(change);
    }

    fn sync_file(&mut self, inode: usize, what: &str) {
        let header = |change: &Change| matches!(change, Change::Write(0, bytes) if bytes.len() == WAL_HEADER_BYTES);
        let what = match what {
            WAL if self.inodes[inode].pending.iter().all(header) => WAL_HEADER,
            _ => what,
        };
        let useful = !self.inodes[inode].pending.is_empty();
        if !self.ignores(what.to_owned(), useful) {
            let pending = std::mem::take(&mut self.inodes[inode].pending);
            let durable = &mut self.inodes[inode].durable;
            pending.iter().for_each(|change| survive::apply(durable, change));
        }
    }

    /// Whether the names in a folder are not what they are on the disk.
    fn is_behind(&self, folder: &Path) -> bool {
        let inside = |names: &BTreeMap<PathBuf, Entry>| {
            let inside = names.iter().filter(|(path, _)| path.parent() == Some(folder));
            inside.map(|(path, entry)| (path.clone(), *entry)).collect::<Vec<_>>()
        };
        inside(&self.names) != inside(&self.durable)
    }

    fn names_are_durable(&mut self, folder: &Path) {
        self.durable.retain(|path, _| path.parent() != Some(folder));
        let inside = self.names.iter().filter(|(path, _)| path.parent() == Some(folder));
        let inside: Vec<_> = inside.map(|(path, entry)| (path.clone(), *entry)).collect();
        self.durable.extend(inside);
    }

    /// A sync of a folder that SQLite makes for a file of that kind.
    fn sync_folder_by_sqlite(&mut self, folder: &Path, kind: &str) {
        let useful = self.is_behind(folder);
        if !self.ignores(format!("folder of the {kind}"), useful) {
            self.names_are_durable(folder);
        }
    }

    fn sync_folder(&mut self, folder: &Path) {
        let name = folder.strip_prefix(&self.root).unwrap_or(folder).display();
        let useful = self.is_behind(folder);
        if !self.ignores(format!("folder /{name}"), useful) {
            self.names_are_durable(folder);
        }
    }

    /// Takes in what is there at the beginning.
    fn adopt(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.names.insert(path.clone(), Entry::Folder);
                self.adopt(&path);
            } else {
                let durable = std::fs::read(&path).unwrap();
                let inode = self.created(&path);
                self.inodes[inode].durable = durable;
            }
        }
    }
}

/// Whether an operation needs more of the disk.
fn takes_room(what: &str) -> bool {
    matches!(what, "create" | "make folder" | "write")
}
