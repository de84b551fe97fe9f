//! Outputs that take long to be written.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use quern::base::{Limits, RunId, Sharding};
use quern::run::{KillTarget, RunRequest, Runs};
use quern::storage::{Disk, FileLayer, NewFile, RunState};

use super::fixture::{Folder, declare_square, made};

/// The disk; counts what is written to files, and kills run 1 when its first begins.
#[derive(Clone, Default)]
struct Counted {
    bytes: Arc<AtomicU64>,
    runs: Arc<OnceLock<Runs>>,
}

struct CountedFile {
    file: Box<dyn NewFile>,
    bytes: Arc<AtomicU64>,
}

impl FileLayer for Counted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        if let Some(runs) = self.runs.get() {
            runs.kill(&KillTarget::Run(RunId(1)), Some("the test")).unwrap();
        }
        Ok(Box::new(CountedFile { file: Disk.create(path)?, bytes: self.bytes.clone() }))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Disk.make_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        Disk.sync_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

impl io::Write for CountedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewFile for CountedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[test]
fn a_kill_ends_the_writing_of_a_large_batch() {
    let files = Counted::default();
    let folder = Folder::with_files(&Limits::default(), Arc::new(files.clone()));
    folder.table("t", Sharding::Random, &[&[1]]);
    // 96 MiB that cannot be compressed to little.
    folder.proc("square", declare_square, |instance| {
        let number = |n: i64| n.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ (n << 17);
        Ok(made(instance, &(0..8 << 20).map(number).collect::<Vec<_>>()))
    });
    files.bytes.store(0, Ordering::Relaxed);
    files.runs.set(folder.runs.clone()).ok().unwrap();
    let run = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
    let ended = folder.wait(run).run;
    assert_eq!((ended.state, ended.error.as_deref()), (RunState::Killed, Some("the run was killed by the test")));
    let written = files.bytes.load(Ordering::Relaxed);
    assert!(written < 24 << 20, "{written} bytes were written after the kill");
    assert!(!folder.has_table("out"));
}
