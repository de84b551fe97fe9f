//! Who may use a folder, and how the others reach it.
//!
//! One process holds a folder: it has the lock ([`FolderLock`]), owns the
//! [`crate::database::Database`], and answers on the folder's socket. Every other
//! `quern` is its client. Both go through [`Connection`]: a request is handled by
//! the same code whether it came from this process or over the socket.

mod access;
mod client;
mod client_stream;
mod frame;
mod handler;
mod holder;
mod lock;
mod protocol;
mod reply;
mod socket;
mod view;
mod wire;

pub use client::{BACKGROUND_LOG, Connection};
pub use frame::{MAX_BODY_BYTES, MAX_HEADER_BYTES, read_frame, write_frame};
pub use handler::Sink;
pub use holder::{Holder, Patience};
pub use lock::{FolderLock, LOCK_FILE, holder_pid};
pub use protocol::{Event, Failure, Hello, PROTOCOL, Reply, Request, ResultQuery, Role, RunQuery};
pub use socket::{SOCKET_FILE, connect, listen};
pub use view::{ComponentView, CreatedView, InspectionView, InstanceView, LogView, RunView, StartupView};
