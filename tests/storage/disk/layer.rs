//! The disk as storage's file layer.

use std::io::{self, Write};
use std::path::Path;

use quern::storage::{Disk, FileLayer, NewFile};

use super::{Change, Entry, SimDisk, vfs};

impl FileLayer for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.state().check("create", path)?;
        let file = Disk.create(path)?;
        let inode = self.state().created(path);
        Ok(Box::new(SimFile { file, path: path.to_owned(), inode, length: 0, disk: self.clone() }))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check("make folder", path)?;
        Disk.make_folder(path)?;
        state.names.insert(path.to_owned(), Entry::Folder);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check("sync", path)?;
        state.sync_folder(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check("rename", from)?;
        Disk.rename(from, to)?;
        if let Some(entry) = state.names.remove(from) {
            state.names.insert(to.to_owned(), entry);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check("remove", path)?;
        Disk.remove(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn sqlite_vfs(&self) -> Option<&str> {
        Some(vfs::NAME)
    }
}

struct SimFile {
    file: Box<dyn NewFile>,
    path: std::path::PathBuf,
    inode: usize,
    length: u64,
    disk: SimDisk,
}

impl SimFile {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.disk.state().changed(self.inode, Change::Write(self.length, bytes.to_vec()));
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (done, outcome) = self.disk.state().check_write(&self.path, bytes.len());
        self.put(&bytes[..done])?;
        outcome.map(|()| done)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for SimFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check("sync", &self.path)?;
        state.sync_file(self.inode, "data file");
        Ok(())
    }
}
