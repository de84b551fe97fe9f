//! Waiting for a stream, but not for ever.

use std::os::fd::AsRawFd;
use std::time::Duration;

/// Which of `events`, or what has ended or failed, has happened on a stream within
/// `patience`; 0 where nothing has.
pub fn poll(stream: &impl AsRawFd, events: libc::c_short, patience: Duration) -> libc::c_short {
    let mut asked = libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
    let patience_ms = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `asked` is one pollfd that lives through the call.
    let found = unsafe { libc::poll(&raw mut asked, 1, patience_ms) };
    if found > 0 { asked.revents } else { 0 }
}
