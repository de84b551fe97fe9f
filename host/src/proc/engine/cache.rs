//! Compiled code of earlier processes: files that are executed as they are.
//!
//! A data folder may come from anybody: copied, mounted, unpacked. Machine code
//! in it would be executed by whoever opens it, and a checksum beside the code
//! proves nothing, since who writes the code can write the checksum. So code is
//! not kept in data folders at all, but in the user's own cache,
//! `$XDG_CACHE_HOME/quern/compiled` (`~/.cache/quern/compiled`), which nobody
//! else can write: the folder must belong to this user and be open to no other
//! (mode 0700), and so must each file. A key that authenticates files in the
//! data folder would have to lie in the same place and be protected in the same
//! way; this has one part less, and folders share what they compile.
//!
//! A file is named by the sha256 of the component and the engine's version and
//! settings, and ends with its own sha256, so that a torn or damaged one is made
//! anew. The oldest files leave when there is too much.

use std::fs::{File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::proc::compile::Interfaces;

/// Length of the checksum at the end of a file.
const CHECKSUM_BYTES: usize = 32;
/// Bytes of all files together.
const CACHE_BYTES: u64 = 1 << 30;
/// How files end that are whole.
const EXTENSION: &str = "code";
/// What others may do, in the mode of a file or folder.
const OTHERS: u32 = 0o077;

/// A folder for compiled code that only this user can write.
#[derive(Clone, Debug)]
pub struct CodeCache {
    folder: PathBuf,
}

impl CodeCache {
    /// The user's cache; none where no environment variable says where that is.
    pub fn of_user() -> Option<Self> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
        Some(Self::new(cache.join("quern/compiled")))
    }

    /// Uses `folder`, which is made when the first code is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the code of a component for this engine lies.
    pub(super) fn file(&self, engine: &wasmtime::Engine, sha256: &str) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.folder.join(format!("{sha256}-{:016x}.{EXTENSION}", hasher.finish()))
    }

    /// What a file holds, when nobody else can have written it and it is whole.
    pub(super) fn read(&self, path: &Path) -> Option<(Interfaces, Vec<u8>)> {
        if !is_private(&std::fs::symlink_metadata(&self.folder).ok()?) {
            return None;
        }
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path).ok()?;
        if !is_private(&file.metadata().ok()?) {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
        if Sha256::digest(content)[..] != *checksum {
            return None;
        }
        let end = content.iter().position(|byte| *byte == b'\n')?;
        let interfaces = serde_json::from_slice(content.get(..end)?).ok()?;
        // Its time says when it was used last.
        let _ = file.set_modified(SystemTime::now());
        Some((interfaces, content.get(end + 1..)?.to_vec()))
    }

    /// Keeps code. A cache that cannot be written costs time at the next start,
    /// nothing else.
    pub(super) fn write(&self, path: &Path, interfaces: &Interfaces, code: &[u8]) {
        let Ok(head) = serde_json::to_vec(interfaces) else { return };
        let parts: [&[u8]; 3] = [&head, b"\n", code];
        let checksum = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
        let beside = path.with_extension(format!("{}-{:?}.part", std::process::id(), std::thread::current().id()));
        let written = self.make_folder().and_then(|()| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            parts.into_iter().chain([&checksum[..]]).try_for_each(|part| file.write_all(part))?;
            std::fs::rename(&beside, path)
        });
        match written {
            Ok(()) => self.make_room(path),
            Err(_) => drop(std::fs::remove_file(&beside)),
        }
    }

    /// Makes the folder, or takes the rights of others from one that is ours.
    fn make_folder(&self) -> std::io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let found = std::fs::symlink_metadata(&self.folder)?;
        if is_private(&found) {
            return Ok(());
        }
        // Fails for a folder of another user.
        File::open(&self.folder)?.set_permissions(Permissions::from_mode(0o700))
    }

    /// Removes the files that were not used for longest, never the one at `keep`.
    fn make_room(&self, keep: &Path) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, size_bytes, path) in files.into_iter().filter(|(_, _, path)| path != keep) {
            if bytes <= CACHE_BYTES {
                return;
            }
            if std::fs::remove_file(&path).is_ok() {
                bytes -= size_bytes;
            }
        }
    }
}

/// Whether something is this user's, and nobody else may do anything with it.
fn is_private(about: &std::fs::Metadata) -> bool {
    // SAFETY: asks for a number.
    let user = unsafe { libc::geteuid() };
    about.uid() == user && about.mode() & OTHERS == 0 && !about.is_symlink()
}
