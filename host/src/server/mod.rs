//! Who may use a folder, and how the others reach it.
//!
//! One process holds a folder: it has the lock ([`FolderLock`]), owns the
//! [`crate::database::Database`], and answers on the folder's socket. Every other
//! `quern` is its client. Both go through [`Connection`]: a request is handled by
//! the same code whether it came from this process or over the socket.

mod frame;
mod lock;
mod socket;

pub use frame::{MAX_BODY_BYTES, MAX_HEADER_BYTES, read_frame, write_frame};
pub use lock::{FolderLock, LOCK_FILE, holder_pid};
pub use socket::{SOCKET_FILE, connect, listen};
