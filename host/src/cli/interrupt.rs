//! Ctrl-C and the signals that mean the same: the first asks, the second ends
//! the process at once.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How often the user has asked to stop.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// The signal that asked first.
static FIRST: AtomicI32 = AtomicI32::new(libc::SIGINT);

/// Counts Ctrl-C, SIGTERM and the end of the terminal from now on, where they
/// would end the process. A signal that the caller ignores, as `nohup` does with
/// the end of the terminal, stays ignored.
pub(crate) fn listen() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only touches atomics and calls `_exit`, all of
        // which are allowed in a signal handler.
        unsafe {
            if libc::signal(signal, handler) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

/// Whether the user has asked since the last [`reset`].
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}

/// What asked, as it is recorded and shown.
pub(crate) fn name() -> &'static str {
    match FIRST.load(Ordering::Relaxed) {
        libc::SIGTERM => "SIGTERM",
        libc::SIGHUP => "SIGHUP, the end of the terminal",
        _ => "Ctrl-C",
    }
}

/// The exit code of a process that was asked to stop, as shells have it.
pub(crate) fn exit_code() -> u8 {
    u8::try_from(128 + FIRST.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
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
    FIRST.store(signal, Ordering::Relaxed);
}
