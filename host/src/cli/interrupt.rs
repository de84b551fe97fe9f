//! Ctrl-C: the first asks, the second ends the process at once.

use std::sync::atomic::{AtomicU32, Ordering};

/// How often the user has asked to stop.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Counts Ctrl-C and SIGTERM from now on, where they would end the process.
pub(crate) fn listen() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only touches an atomic and calls `_exit`, both of
        // which are allowed in a signal handler.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether the user has asked since the last [`reset`].
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}

/// Forgets what was asked: the next Ctrl-C is a first one again.
pub(crate) fn reset() {
    ASKED.store(0, Ordering::Relaxed);
}

extern "C" fn on_signal(signal: libc::c_int) {
    if ASKED.fetch_add(1, Ordering::Relaxed) > 0 {
        // SAFETY: `_exit` is async-signal-safe; storage survives it as it survives a crash.
        unsafe { libc::_exit(128 + signal) };
    }
}
