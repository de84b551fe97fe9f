//! The process that holds a folder: it has the lock, owns the database and
//! answers on the socket, in threads of its own, while its own command works.
//!
//! Steps: lock → listen → answer hellos → open the database → handle requests.
//! So a client knows at once that somebody is there, even where opening takes
//! long. The way out is the reverse: no new requests, those in flight end, the
//! others are told goodbye, the database closes, the socket goes, the lock last.
//!
//! A holder that only asks ([`Role::Asking`]) is none whom runs of others would
//! keep: to a client that wants to work it gives the lock, and reads on beside it.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client_stream::{ClientStream, Departure};
use super::frame::{read_frame, write_frame};
use super::handler::{Question, Sink, handle};
use super::lock::FolderLock;
use super::protocol::{Failure, Hello, PROTOCOL, Reply, Role};
use super::socket::{SOCKET_FILE, connect, listen};
use super::wire::{ToClient, ToHolder, write_event};
use crate::base::{Error, Result};
use crate::database::{Database, Options};
use crate::sql::Watch;

/// Clients at one time; more are refused.
const MAX_CLIENTS: usize = 64;

/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long statements and runs that were stopped may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// How often who waits for the folder is told that it will have it.
const TOLD_EVERY: Duration = Duration::from_millis(250);

/// How often the way out looks whether others still need this process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to do about others that still need this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait until they are done.
    Wait,
    /// Stop their statements and runs, and wait for that, but not for long.
    Kill,
}

/// The holder of one folder.
#[derive(Debug)]
pub struct Holder {
    shared: Arc<Shared>,
}

/// What others find the folder held by.
#[derive(Debug)]
struct Door {
    accepting: JoinHandle<()>,
    lock: FolderLock,
}

/// What the threads of a holder share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    role: Role,
    device: String,
    state: Mutex<State>,
    changed: Condvar,
    departure: Arc<Departure>,
    /// None once it was closed.
    door: Mutex<Option<Door>>,
    /// Since when the folder is left to one who works in it.
    left_at: OnceLock<Instant>,
}

#[derive(Debug, Default)]
struct State {
    /// Set once it is open.
    database: Option<Arc<Database>>,
    closing: bool,
    /// Requests of clients that are being handled.
    in_flight: usize,
    /// A way to each client, to say goodbye.
    clients: HashMap<u64, UnixStream>,
    accepted: u64,
    last_used: Option<Instant>,
}

impl Holder {
    /// Opens the folder that `lock` is for and serves others.
    pub(super) fn start(folder: &Path, lock: FolderLock, options: &Options, role: Role) -> Result<Self> {
        // Known before the folder is open, for clients that ask for another.
        let options = options.in_folder(folder)?;
        let device = options.device.unwrap_or_default().resolved();
        let options = Options { device: Some(device), ..options };
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            role,
            device: device.to_string(),
            state: Mutex::default(),
            changed: Condvar::new(),
            departure: Arc::default(),
            door: Mutex::default(),
            left_at: OnceLock::new(),
        });
        let listener = listen(folder)?;
        let accepting = std::thread::Builder::new()
            .name("quern-accept".into())
            .spawn({
                let shared = shared.clone();
                move || accept(&shared, &listener)
            })
            .map_err(|e| Error::io("serve", folder, e))?;
        // From here on dropping `holder` undoes everything.
        *shared.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(Door { accepting, lock });
        let holder = Self { shared };
        let database = Database::open(folder, &options)?;
        holder.shared.lock().database = Some(Arc::new(database));
        holder.shared.changed.notify_all();
        if role == Role::Server {
            start_up(&holder.shared)?;
        }
        Ok(holder)
    }

    /// Handles a request of this process.
    pub(super) fn call(&self, question: Question, sink: Sink<'_>) -> Result<Reply> {
        let database = self.shared.lock().database.clone();
        let reply = handle(&*database.ok_or_else(left)?, question, sink);
        reply.map_err(|error| self.shared.explained(error))
    }

    /// Since when the folder is left to another process, because that wants to work.
    pub(super) fn gave_way(&self) -> Option<Instant> {
        self.shared.left_at.get().copied()
    }

    /// For how long nobody has asked anything and no run was active.
    pub fn idle_for(&self) -> Duration {
        let mut state = self.shared.lock();
        let busy = state.in_flight > 0 || state.database.as_ref().is_some_and(|d| d.active_runs() > 0);
        let last = *state.last_used.get_or_insert_with(Instant::now);
        if busy {
            state.last_used = Some(Instant::now());
            return Duration::ZERO;
        }
        last.elapsed()
    }

    /// Stops holding the folder, once nobody needs this process any more.
    /// `waiting` is asked again and again with a line that says for what. After
    /// its patience has ended, statements and runs are stopped, and what does not
    /// end within [`GRACE`] is left behind as a crash leaves it: undone.
    pub fn close(&self, waiting: &mut dyn FnMut(&str) -> Patience) -> Result<()> {
        let mut stopped: Option<Instant> = None;
        self.shared.departure.wanted();
        while let Some(reason) = self.shared.close_if_unused() {
            if stopped.is_some_and(|since| since.elapsed() > GRACE) {
                break;
            }
            if waiting(&reason) == Patience::Kill {
                self.shared.departure.stop();
                stopped.get_or_insert_with(Instant::now);
                let database = self.shared.lock().database.clone();
                if let Some(database) = database {
                    database.kill_all("the end of the process that held the folder")?;
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.leave(stopped.map_or(GRACE, |since| GRACE.saturating_sub(since.elapsed())))
    }

    /// The way out; does nothing the second time. Runs get `patience` to end.
    fn leave(&self, patience: Duration) -> Result<()> {
        let lock = self.shared.close_door();
        let (clients, quiet) = {
            let mut state = self.shared.lock();
            state.closing = true;
            (std::mem::take(&mut state.clients), state.in_flight == 0)
        };
        self.shared.changed.notify_all();
        for mut client in clients.into_values() {
            let _ = client.set_write_timeout(Some(Duration::from_millis(100)));
            if quiet {
                let _ = write_frame(&mut client, &self.shared.goodbye(), &[]);
            }
            let _ = client.shutdown(Shutdown::Both);
        }
        let Some(database) = self.shared.lock().database.take() else { return Ok(()) };
        // Rows of one-shot inserts stay in the catalog, where more join them.
        let closed = match self.shared.role {
            Role::Server => database.close(patience),
            _ => Ok(()),
        };
        let left_behind = !quiet || database.active_runs() > 0;
        drop(database);
        let Some(lock) = lock else { return closed };
        let _ = std::fs::remove_file(self.shared.folder.join(SOCKET_FILE));
        match left_behind {
            // What still works may yet commit: the folder is free when this process has ended.
            true => std::mem::forget(lock),
            false => drop(lock),
        }
        closed
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // There is nobody to tell any more; the folder is as after a crash, which it survives.
        let _ = self.leave(GRACE);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody in any more, and answers the lock of the folder, once.
    fn close_door(&self) -> Option<FolderLock> {
        let Door { accepting, lock } = self.door.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.lock().closing = true;
        self.changed.notify_all();
        // Accepting ends when it next wakes up and sees that we are closing.
        if connect(&self.folder).is_ok() {
            let _ = accepting.join();
        }
        Some(lock)
    }

    /// Leaves the folder to a client that wants to work in it, and tells it so. What
    /// was asked here is still answered, from the snapshots that it reads.
    fn hand_over(&self, to: &mut ClientStream) -> Result<()> {
        // Not before it is open: opening writes, and may take longer than a client
        // waits for a holder that says nothing.
        loop {
            write_frame(to, &ToClient::Leaving { free_ms: 0 }, &[])?;
            let mut state = self.lock();
            if state.closing {
                break;
            }
            if state.database.is_some() {
                // At once, so that nobody is told goodbye and is there before the one who is to have it.
                state.closing = true;
                let _ = self.left_at.set(Instant::now());
                break;
            }
            drop(self.changed.wait_timeout(state, TOLD_EVERY));
        }
        if let Some(lock) = self.close_door() {
            let _ = std::fs::remove_file(self.folder.join(SOCKET_FILE));
            drop(lock);
        }
        Ok(())
    }

    /// What a file that is gone means for who reads beside a new holder, which does not
    /// know of this reader: it removes what no snapshot has needed for an hour.
    fn explained(&self, error: Error) -> Error {
        match self.left_at.get() {
            Some(since) if is_missing_file(&error) => Error::Invalid(format!(
                "the statement read files that are not there any more: another process has held the folder for {} s \
                 and has removed what it replaced ({}); ask again, which reads the newest rows",
                since.elapsed().as_secs(),
                error.chain()
            )),
            _ => error,
        }
    }

    /// What a client is told whose request is not looked at any more.
    fn goodbye(&self) -> ToClient {
        match self.left_at.get() {
            Some(since) => {
                ToClient::Leaving { free_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX) }
            }
            None => ToClient::Goodbye,
        }
    }

    /// Begins to close and returns nothing, or says what this process is needed for.
    fn close_if_unused(&self) -> Option<String> {
        let mut state = self.lock();
        let runs = state.database.as_ref().map_or(0, |database| database.active_runs());
        let requests = state.in_flight;
        if runs == 0 && requests == 0 {
            state.closing = true;
            return None;
        }
        let of = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        Some(match (runs, requests) {
            (0, n) => format!("{} of other terminals", of(n, "request")),
            (n, _) => format!("{} that other terminals started", of(n, "run")),
        })
    }

    /// Whether the folder is left to somebody in this role.
    fn gives_way_to(&self, role: Role) -> bool {
        self.role == Role::Asking && role != Role::Asking
    }

    /// The database, as soon as it is open, for one request. None when closing.
    fn enter(&self) -> Option<InFlight<'_>> {
        let mut state = self.lock();
        loop {
            match (&state.database, state.closing) {
                (_, true) => return None,
                (Some(database), _) => {
                    let database = Some(database.clone());
                    state.in_flight += 1;
                    return Some(InFlight { shared: self, database });
                }
                (None, _) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// A request of a client that is being handled.
struct InFlight<'a> {
    shared: &'a Shared,
    database: Option<Arc<Database>>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // The holder drops the last reference once no request is in flight.
        self.database = None;
        let mut state = self.shared.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.last_used = Some(Instant::now());
    }
}

/// Executes what is stored for start-up, beside the requests of clients and as one
/// of them: the way out stops it.
fn start_up(shared: &Arc<Shared>) -> Result<()> {
    let shared = Arc::clone(shared);
    let folder = shared.folder.clone();
    let work = move || {
        let entered = shared.enter();
        let Some(database) = entered.as_ref().and_then(|entered| entered.database.as_ref()) else { return };
        let departure = Arc::clone(&shared.departure);
        // What became of each request is stored; a list that cannot be read fails whoever asks for it.
        drop(database.start_up(&Watch::new(move || departure.check())));
    };
    let thread = std::thread::Builder::new().name("quern-start-up".into());
    thread.spawn(work).map(drop).map_err(|e| Error::io("serve", &folder, e))
}

/// Accepts clients until the holder closes.
fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, for example; it may pass.
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        let mut state = shared.lock();
        if state.closing {
            return;
        }
        if state.clients.len() >= MAX_CLIENTS {
            drop(state);
            refuse(stream);
            continue;
        }
        state.accepted += 1;
        let id = state.accepted;
        if let Ok(way) = stream.try_clone() {
            state.clients.insert(id, way);
            drop(state);
            let shared_too = shared.clone();
            let serve = move || {
                // A client that breaks off concerns nobody but itself.
                let _ = serve_client(&shared_too, stream);
                shared_too.lock().clients.remove(&id);
            };
            if std::thread::Builder::new().name("quern-client".into()).spawn(serve).is_err() {
                shared.lock().clients.remove(&id);
            }
        }
    }
}

/// Tells a client that there are too many.
fn refuse(mut stream: UnixStream) {
    let message = format!("{MAX_CLIENTS} other terminals use the folder already");
    let failure = Failure { message, hint: Some("end some of them, or try again later".into()) };
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = write_frame(&mut stream, &ToClient::Failure(failure), &[]);
}

/// Answers one client until it leaves.
fn serve_client(shared: &Shared, stream: UnixStream) -> Result<()> {
    let io = |e| Error::library("the connection to a client broke", e);
    stream.set_read_timeout(Some(HELLO_TIMEOUT)).map_err(io)?;
    let mut stream = ClientStream::new(stream, shared.departure.clone()).map_err(io)?;
    match read_frame(&mut stream)? {
        Some((ToHolder::Hello(client), _)) if client.protocol == PROTOCOL && shared.gives_way_to(client.role) => {
            return shared.hand_over(&mut stream);
        }
        Some((ToHolder::Hello(_), _)) => {}
        _ => return Ok(()),
    }
    write_frame(&mut stream, &ToClient::Hello(Hello::ours(shared.role, &shared.device)), &[])?;
    stream.without_read_timeout().map_err(io)?;
    while let Some((header, body)) = read_frame(&mut stream)? {
        let (request, user) = match header {
            ToHolder::Request(request) => (request, None),
            ToHolder::RequestAs { user, request } => (request, Some(user)),
            ToHolder::Hello(_) => continue,
        };
        let entered = shared.enter();
        let Some(database) = entered.as_ref().and_then(|entered| entered.database.as_ref()) else {
            return write_frame(&mut stream, &shared.goodbye(), &[]);
        };
        let question = Question { request: *request, body, watch: stream.watch().map_err(io)?, user };
        let reply = handle(database, question, &mut |event| write_event(&mut stream, event));
        let answer = match reply.map_err(|error| shared.explained(error)) {
            Ok(reply) => ToClient::Reply(reply),
            Err(error) => ToClient::Failure(error.into()),
        };
        write_frame(&mut stream, &answer, &[])?;
    }
    Ok(())
}

/// Whether the other side speaks our protocol.
pub(super) fn check_hello(folder: &Path, hello: &Hello) -> Result<()> {
    if hello.protocol == PROTOCOL {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "folder {} is held by process {} of quern {}, which speaks version {} of the protocol, \
         this one ({}) speaks {PROTOCOL}; use the same quern, or stop that process (kill {})",
        folder.display(),
        hello.pid,
        hello.version,
        hello.protocol,
        env!("CARGO_PKG_VERSION"),
        hello.pid
    )))
}

/// Whether a file was looked for that is not there.
fn is_missing_file(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error of a request after the way out began.
fn left() -> Error {
    Error::Internal("the folder is closed already".into())
}
