//! The folder's socket, `DIR/quern.sock`: only the folder's owner may connect
//! (mode 0600). The holder replaces whatever an earlier holder left behind.
//!
//! A socket's address has room for 107 bytes of path. Where the folder's path is
//! longer, the folder is opened and named by its descriptor under `/proc`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::base::{Error, Result};

/// Name of the socket in a folder.
pub const SOCKET_FILE: &str = "quern.sock";

/// Bytes of a path that fit in a socket's address on Linux.
const ADDRESS_BYTES: usize = 107;

/// Listens on the socket of `folder`. Call it only while holding the folder's
/// lock: the socket that is there is replaced.
pub fn listen(folder: &Path) -> Result<UnixListener> {
    let path = folder.join(SOCKET_FILE);
    let wrap = |action: &'static str| {
        let path = path.clone();
        move |e| Error::io(action, path, e)
    };
    // Bound under another name, closed to others, then moved into place: nobody
    // ever sees a socket with wider rights, and a stale one is replaced at once.
    let fresh = format!("{SOCKET_FILE}.new");
    let reach = Reach::new(folder, &fresh)?;
    match std::fs::remove_file(folder.join(&fresh)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(wrap("replace")(e)),
        _ => {}
    }
    let listener = UnixListener::bind(reach.path(&fresh)).map_err(wrap("create"))?;
    std::fs::set_permissions(folder.join(&fresh), std::fs::Permissions::from_mode(0o600)).map_err(wrap("protect"))?;
    std::fs::rename(folder.join(&fresh), &path).map_err(wrap("create"))?;
    Ok(listener)
}

/// Connects to the holder of `folder`.
pub fn connect(folder: &Path) -> std::io::Result<UnixStream> {
    let reach = Reach::new(folder, SOCKET_FILE).map_err(std::io::Error::other)?;
    UnixStream::connect(reach.path(SOCKET_FILE))
}

/// A way to name a file of a folder within an address's length.
enum Reach {
    /// The path itself is short enough.
    Direct(PathBuf),
    /// The folder, open; its descriptor names it.
    Descriptor(File),
}

impl Reach {
    fn new(folder: &Path, name: &str) -> Result<Self> {
        if folder.as_os_str().len() + 1 + name.len() <= ADDRESS_BYTES {
            return Ok(Self::Direct(folder.to_owned()));
        }
        File::open(folder).map(Self::Descriptor).map_err(|e| Error::io("open", folder, e))
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Direct(folder) => folder.join(name),
            Self::Descriptor(file) => PathBuf::from(format!("/proc/self/fd/{}/{name}", file.as_raw_fd())),
        }
    }
}
