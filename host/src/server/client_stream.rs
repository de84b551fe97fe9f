//! A holder's end of the connection to one client: it notices a client that has
//! gone, gives one up that takes nothing while the holder wants to leave, and
//! says goodbye to nobody for long.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::base::{Error, Result, poll};
use crate::sql::Watch;

/// How often a client that takes nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a client may take nothing when its holder wants to leave.
const STALLED: Duration = Duration::from_secs(10);

/// How far a holder is on its way out.
#[derive(Debug, Default)]
pub(super) struct Departure(AtomicU8);

/// It stays.
const STAYS: u8 = 0;
/// It leaves when its clients are done.
const WANTED: u8 = 1;
/// It leaves: what its clients asked for is stopped.
const STOPS: u8 = 2;

impl Departure {
    /// The holder would leave if nobody needed it.
    pub(super) fn wanted(&self) {
        self.0.fetch_max(WANTED, Ordering::Relaxed);
    }

    /// The holder leaves.
    pub(super) fn stop(&self) {
        self.0.fetch_max(STOPS, Ordering::Relaxed);
    }

    /// The error that ends what is done for others, when the holder leaves.
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            STOPS => Err(Error::Invalid(format!(
                "the statement was stopped, because process {}, which holds the folder, ends; ask again",
                std::process::id()
            ))),
            _ => Ok(()),
        }
    }
}

/// The connection.
pub(super) struct ClientStream {
    stream: UnixStream,
    departure: Arc<Departure>,
}

impl ClientStream {
    pub(super) fn new(stream: UnixStream, departure: Arc<Departure>) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(LOOK_EVERY))?;
        Ok(Self { stream, departure })
    }

    /// Waits for the next request as long as it takes.
    pub(super) fn without_read_timeout(&self) -> std::io::Result<()> {
        self.stream.set_read_timeout(None)
    }

    /// Ends what the client asked for when it has gone, or when the holder leaves.
    pub(super) fn watch(&self) -> std::io::Result<Watch> {
        let (stream, departure) = (self.stream.try_clone()?, self.departure.clone());
        Ok(Watch::new(move || {
            departure.check()?;
            match has_gone(&stream) {
                true => Err(Error::Killed { by: Some("its client, which has gone".into()) }),
                false => Ok(()),
            }
        }))
    }
}

impl Read for ClientStream {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(to)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let started = Instant::now();
        loop {
            match self.stream.write(bytes) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
            let gives_up = match self.departure.0.load(Ordering::Relaxed) {
                STAYS => false,
                WANTED => started.elapsed() > STALLED,
                _ => true,
            };
            if gives_up {
                return Err(std::io::Error::new(ErrorKind::TimedOut, "the client takes nothing"));
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// Whether the other side has closed.
fn has_gone(stream: &UnixStream) -> bool {
    poll(stream, libc::POLLRDHUP, Duration::ZERO) & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// Whether there is something to read, or nothing any more, within `patience`.
pub(super) fn readable(stream: &UnixStream, patience: Duration) -> bool {
    poll(stream, libc::POLLIN, patience) != 0
}
