//! The user's cache of compiled kernels: `$XDG_CACHE_HOME/quern/kernels`, else
//! `~/.cache/quern/kernels`, of 256 MiB at most. The least recently used files leave
//! when there are more; without them kernels are only compiled again.

use std::io::{Result, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// How the names of its files end.
pub(super) const EXTENSION: &str = "cubin";

/// All files together at most.
const ALLOWED_BYTES: u64 = 256 << 20;

/// What is left when it was full.
const TRIMMED_BYTES: u64 = ALLOWED_BYTES / 8 * 7;

/// A use is noted again after this time.
const NOTED_AGAIN: Duration = Duration::from_secs(60 * 60);

/// A file that was not written to its end in this time never will be.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// What others may do, in the mode of a file or folder.
const OTHERS: u32 = 0o077;

/// How many bytes of a file are its checksum.
const CHECKSUM_BYTES: usize = 32;

/// The folder; none where no environment variable says where that is.
pub(super) fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("quern/kernels"))
}

/// What a file holds, when nobody else can have written it and it is whole.
pub(super) fn read(file: &Path) -> Option<Vec<u8>> {
    let folder = std::fs::symlink_metadata(file.parent()?).ok()?;
    // SAFETY: asks only for a number.
    let user = unsafe { libc::geteuid() };
    if folder.uid() != user || folder.mode() & OTHERS != 0 {
        return None;
    }
    let mut bytes = std::fs::read(file).ok()?;
    let at = bytes.len().checked_sub(CHECKSUM_BYTES)?;
    let (image, checksum) = bytes.split_at_checked(at)?;
    if Sha256::digest(image)[..] != *checksum {
        return None;
    }
    bytes.truncate(at);
    // Where the time of the last use cannot be noted it leaves sooner.
    let _ = note_use(file);
    Some(bytes)
}

/// Lets a file be the last to leave.
fn note_use(file: &Path) -> Result<()> {
    let opened = std::fs::File::open(file)?;
    let now = SystemTime::now();
    let age = now.duration_since(opened.metadata()?.modified()?).unwrap_or_default();
    if age < NOTED_AGAIN { Ok(()) } else { opened.set_modified(now) }
}

/// Writes a file, whole or not at all, and removes others when there are too many.
pub(super) fn write(file: &Path, image: &[u8]) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = file.with_extension(format!("{}.part", std::process::id()));
    let mut written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    written.write_all(image)?;
    written.write_all(&Sha256::digest(image))?;
    std::fs::rename(part, file)?;
    trim(folder, file)
}

/// Removes the least recently used files but `kept` until the others are few enough, and
/// what was not written to its end.
fn trim(folder: &Path, kept: &Path) -> Result<()> {
    let now = SystemTime::now();
    let (mut files, mut all_bytes) = (Vec::new(), 0u64);
    for entry in std::fs::read_dir(folder)? {
        let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        let used = metadata.modified()?;
        let ends_with = |extension: &str| path.extension().is_some_and(|found| found == extension);
        if ends_with(EXTENSION) {
            all_bytes = all_bytes.saturating_add(metadata.len());
            files.push((used, path, metadata.len()));
        } else if ends_with("part") && now.duration_since(used).is_ok_and(|age| age > ABANDONED) {
            std::fs::remove_file(path)?;
        }
    }
    if all_bytes <= ALLOWED_BYTES {
        return Ok(());
    }
    files.sort_unstable();
    for (_, path, size_bytes) in files.into_iter().filter(|(_, path, _)| path != kept) {
        if all_bytes <= TRIMMED_BYTES {
            break;
        }
        std::fs::remove_file(path)?;
        all_bytes -= size_bytes;
    }
    Ok(())
}
