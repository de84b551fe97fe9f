//! Waiting for a value of a channel from a plain thread, for some time. The
//! runtime's own clock is of no use: it stands still while all its threads compute.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

/// What came.
pub(super) enum Received<T> {
    Value(T),
    /// The other side has ended.
    End,
    /// Nothing yet.
    Nothing,
}

/// The next value, if it comes within `patience`.
pub(super) fn receive<T>(from: &mut Receiver<T>, patience: Duration) -> Received<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let until = Instant::now() + patience;
    loop {
        match from.poll_recv(&mut context) {
            Poll::Ready(Some(value)) => return Received::Value(value),
            Poll::Ready(None) => return Received::End,
            Poll::Pending => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Received::Nothing;
        }
        std::thread::park_timeout(left);
    }
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
