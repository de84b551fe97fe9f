//! What is left of a disk after a power cut.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Change, Entry, Inode, State};
use crate::storage::sample::Numbers;

/// A sector is written as a whole or not at all.
const SECTOR: u64 = 512;

/// A change that reached the disk as a whole.
pub(super) fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(length) => bytes.resize(*length as usize, 0),
        Change::Write(offset, data) => put(bytes, *offset as usize, data),
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl State {
    /// Makes the real folder what survives: what is durable, and, with a seed,
    /// some of the rest.
    pub(super) fn restore(&self, seed: Option<u64>) {
        let mut luck = seed.map(Luck::new);
        let mut left: BTreeMap<PathBuf, Entry> = self.durable.clone();
        if let Some(luck) = &mut luck {
            for (path, entry) in &self.names {
                if self.durable.get(path) != Some(entry) && luck.keeps() {
                    left.insert(path.clone(), *entry);
                }
            }
            for path in self.durable.keys().filter(|path| !self.names.contains_key(*path)) {
                if luck.keeps() {
                    left.remove(path);
                }
            }
        }
        clear(&self.root);
        // Folders come before what they hold.
        for (path, entry) in left {
            if !path.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match entry {
                Entry::Folder => std::fs::create_dir(&path).unwrap(),
                Entry::File(inode) => std::fs::write(&path, surviving(&self.inodes[inode], luck.as_mut())).unwrap(),
            }
        }
    }
}

fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
}

fn surviving(inode: &Inode, luck: Option<&mut Luck>) -> Vec<u8> {
    let mut bytes = inode.durable.clone();
    let Some(luck) = luck else { return bytes };
    for change in &inode.pending {
        match change {
            Change::Truncate(_) if luck.keeps() => apply(&mut bytes, change),
            Change::Truncate(_) => {}
            Change::Write(offset, data) => {
                let mut from = 0;
                while from < data.len() {
                    let sector_end = (*offset + from as u64) / SECTOR * SECTOR + SECTOR;
                    let to = data.len().min((sector_end - *offset) as usize);
                    if luck.keeps() {
                        put(&mut bytes, *offset as usize + from, &data[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
    bytes
}

/// Which changes survive: about half of them, few, most, or all but the first
/// ones, as the seed says.
struct Luck {
    numbers: Numbers,
    kind: u64,
    asked: u64,
}

impl Luck {
    fn new(seed: u64) -> Self {
        Self { numbers: Numbers(seed), kind: seed % 4, asked: 0 }
    }

    fn keeps(&mut self) -> bool {
        self.asked += 1;
        match self.kind {
            0 => self.numbers.below(2) == 0,
            1 => self.numbers.below(8) == 0,
            2 => self.numbers.below(8) != 0,
            _ => self.asked > 2,
        }
    }
}
