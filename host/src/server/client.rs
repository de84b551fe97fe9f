//! The way of a command to its folder: as the holder itself, or over the socket
//! to the one who holds it.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::client_stream::readable;
use super::frame::write_frame;
use super::handler::{Question, Sink};
use super::holder::{Holder, Patience, check_hello};
use super::lock::{FolderLock, holder_pid};
use super::protocol::{Failure, Hello, Reply, Request, Role};
use super::socket::connect;
use super::wire::{ToClient, ToHolder, event, read_from_holder};
use crate::base::{Error, Result};
use crate::database::Options;
use crate::sql::Watch;

/// How long a holder may take to answer a hello before it is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a background holder may take to start.
const START: Duration = Duration::from_secs(20);

/// Between two tries.
const RETRY: Duration = Duration::from_millis(10);

/// How often to look whether an answer is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long the folder is left to one who works before others that were sent away
/// may take it.
const RESERVED: Duration = Duration::from_millis(500);

/// Where the messages of a background holder go, in its folder.
pub const BACKGROUND_LOG: &str = "quern.log";

/// A command's way to its folder.
#[derive(Debug)]
pub struct Connection {
    folder: PathBuf,
    options: Options,
    role: Role,
    link: Mutex<Link>,
    /// This process as a holder that gave way to another, while clients still read.
    former: Mutex<Option<Arc<Holder>>>,
    user: Option<String>,
}

#[derive(Clone, Debug)]
enum Link {
    Local(Arc<Holder>),
    Remote(Arc<Remote>),
    Closed,
}

/// A holder in another process.
#[derive(Debug)]
struct Remote {
    hello: Hello,
    /// A connection that waits for its next request.
    idle: Mutex<Option<UnixStream>>,
}

/// What a request over the socket came to.
enum Outcome {
    Reply(Reply),
    /// The holder left without looking at the request; with the time from which on
    /// this process may hold the folder, where it was left to another.
    HolderLeft(Option<Instant>),
}

/// Who was found where a folder's holder should answer.
enum Dialled {
    Holder(Remote),
    /// Nobody.
    Nobody,
    /// One who has left the folder to this process meanwhile.
    HasLeft,
}

/// What is heard while a holder is greeted.
enum Heard {
    Hello(UnixStream, Hello),
    /// The holder leaves; more is heard.
    Leaving,
    Nobody,
}

impl Connection {
    /// Becomes the holder of `folder`, or a client of the one there is. The
    /// folder is created where it is missing.
    pub fn open(folder: &Path, options: &Options, role: Role) -> Result<Self> {
        create_folder(folder)?;
        let folder = folder.canonicalize().map_err(|e| Error::io("open", folder, e))?;
        let link = open_link(&folder, options, role, None)?;
        Ok(Self {
            folder,
            options: options.clone(),
            role,
            link: Mutex::new(link),
            former: Mutex::default(),
            user: None,
        })
    }

    /// Becomes a client of a holder that outlives this process: of the one there
    /// is, else of one that is started in the background and leaves when idle.
    pub fn open_detached(folder: &Path, options: &Options) -> Result<Self> {
        create_folder(folder)?;
        let folder = folder.canonicalize().map_err(|e| Error::io("open", folder, e))?;
        let remote = match dial(&folder, Role::Command)? {
            Dialled::Holder(found) => {
                check_device(&folder, options, &found.hello)?;
                found
            }
            Dialled::Nobody | Dialled::HasLeft => start_background(&folder, options)?,
        };
        let link = Mutex::new(Link::Remote(Arc::new(remote)));
        Ok(Self { folder, options: options.clone(), role: Role::Command, link, former: Mutex::default(), user: None })
    }

    /// The same connection, asking as a user instead of the folder's owner.
    #[must_use]
    pub fn as_user(mut self, user: Option<String>) -> Self {
        self.user = user;
        self
    }

    /// The folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The other process that holds the folder, when it is not this one.
    pub fn remote_holder(&self) -> Option<Hello> {
        match self.link() {
            Link::Remote(remote) => Some(remote.hello.clone()),
            _ => None,
        }
    }

    /// Whether a server holds the folder: what it executes goes on without us.
    pub fn is_served(&self) -> bool {
        self.remote_holder().is_some_and(|holder| holder.role == Role::Server)
    }

    /// The holder, when it is this process.
    pub fn local_holder(&self) -> Option<Arc<Holder>> {
        match self.link() {
            Link::Local(holder) => Some(holder),
            _ => None,
        }
    }

    /// Sends a request whose reply says everything.
    pub fn ask(&self, request: Request) -> Result<Reply, Failure> {
        self.call(request, Vec::new(), &mut |_| Ok(()))
    }

    /// Sends a request, with `body` where it has one, and gives its events to
    /// `sink`. An error of the sink ends the request.
    pub fn call(&self, request: Request, body: Vec<u8>, sink: Sink<'_>) -> Result<Reply, Failure> {
        self.call_watched(request, body, &Watch::default(), sink)
    }

    /// The same, for as long as `watch` allows: it is asked also while nothing happens.
    pub fn call_watched(
        &self,
        request: Request,
        body: Vec<u8>,
        watch: &Watch,
        sink: Sink<'_>,
    ) -> Result<Reply, Failure> {
        let question = Question { request, body, watch: watch.clone(), user: self.user.clone() };
        loop {
            match self.link() {
                Link::Local(holder) => match holder.gave_way() {
                    None => return Ok(holder.call(question, sink)?),
                    Some(since) => {
                        self.open_again(since.checked_add(RESERVED))?;
                        *self.former.lock().unwrap_or_else(PoisonError::into_inner) = Some(holder);
                    }
                },
                Link::Closed => return Err(Error::Internal("the connection is closed".into()).into()),
                Link::Remote(remote) => match remote.call((&self.folder, self.role), &question, sink)? {
                    Outcome::Reply(reply) => return Ok(reply),
                    // Perhaps it is now on us to hold the folder.
                    Outcome::HolderLeft(reserved) => self.open_again(reserved)?,
                },
            }
        }
    }

    /// Ends the connection. A holder stays until others no longer need it;
    /// `waiting` is asked meanwhile.
    pub fn close(&self, waiting: &mut dyn FnMut(&str) -> Patience) -> Result<()> {
        let former = self.former.lock().unwrap_or_else(PoisonError::into_inner).take();
        former.map(|holder| holder.close(waiting)).transpose()?;
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *link, Link::Closed) {
            Link::Local(holder) => holder.close(waiting),
            Link::Remote(_) | Link::Closed => Ok(()),
        }
    }

    fn open_again(&self, reserved: Option<Instant>) -> Result<()> {
        let link = open_link(&self.folder, &self.options, self.role, reserved)?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        Ok(())
    }

    fn link(&self) -> Link {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Remote {
    fn call(&self, (folder, role): (&Path, Role), question: &Question, sink: Sink<'_>) -> Result<Outcome, Failure> {
        let Question { request, body, watch, user } = question;
        let request = Box::new(request.clone());
        let header = match user {
            None => ToHolder::Request(request),
            Some(user) => ToHolder::RequestAs { user: user.clone(), request },
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut stream = match idle {
            Some(stream) => stream,
            None => match dial(folder, role)? {
                Dialled::Holder(again) if again.hello.pid == self.hello.pid => {
                    let stream = again.idle.into_inner().unwrap_or_else(PoisonError::into_inner);
                    let Some(stream) = stream else { return Ok(Outcome::HolderLeft(None)) };
                    stream
                }
                _ => return Ok(Outcome::HolderLeft(None)),
            },
        };
        let sent = write_frame(&mut stream, &header, body);
        if let Err(Error::Limit { .. } | Error::Invalid(_) | Error::Internal(_)) = &sent {
            // Nothing was sent: the stream can be used again.
            *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
            return sent.map(|()| Outcome::HolderLeft(None)).map_err(Failure::from);
        }
        loop {
            while sent.is_ok() && !readable(&stream, LOOK_EVERY) {
                // Without the stream, the holder sees that nobody waits any more.
                watch.check()?;
            }
            let (header, body) = match (read_from_holder(&mut stream), &sent) {
                (Ok(frame), _) => frame,
                // The request did not reach it, and there is no other word from it.
                (Err(_), Err(_)) => return Ok(Outcome::HolderLeft(None)),
                (Err(error), Ok(())) => return Err(self.lost(&error)),
            };
            match header {
                ToClient::Event(header) => sink(event(header, body)?)?,
                ToClient::Reply(reply) => {
                    *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                    return Ok(Outcome::Reply(reply));
                }
                ToClient::Failure(failure) => {
                    *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                    return Err(failure);
                }
                ToClient::Goodbye => return Ok(Outcome::HolderLeft(None)),
                ToClient::Leaving { free_ms } => {
                    let left = RESERVED.saturating_sub(Duration::from_millis(free_ms));
                    return Ok(Outcome::HolderLeft(Instant::now().checked_add(left)));
                }
                ToClient::Hello(_) => {}
            }
        }
    }

    fn lost(&self, error: &Error) -> Failure {
        Failure {
            message: format!(
                "process {}, which held the folder, ended before it answered: {}",
                self.hello.pid,
                error.chain()
            ),
            hint: Some("what was asked is done completely or not at all; look before you ask again".into()),
        }
    }
}

/// Takes the lock, or finds who has it, until one of the two works. Until `reserved`
/// the lock is another's to take.
fn open_link(folder: &Path, options: &Options, role: Role, reserved: Option<Instant>) -> Result<Link> {
    let mut started = Instant::now();
    loop {
        if reserved.is_none_or(|until| Instant::now() >= until)
            && let Some(lock) = FolderLock::try_acquire(folder)?
        {
            return Ok(Link::Local(Arc::new(Holder::start(folder, lock, options, role)?)));
        }
        match dial(folder, role)? {
            // What takes long is better done by who asked for it than by a holder
            // who is about to leave, and would have to stay for us.
            Dialled::Holder(remote)
                if remote.hello.role == Role::Brief
                    && matches!(role, Role::Command | Role::Server)
                    && started.elapsed() < PATIENCE => {}
            Dialled::Holder(remote) => {
                check_device(folder, options, &remote.hello)?;
                return Ok(Link::Remote(Arc::new(remote)));
            }
            // Nobody listens for a moment while a holder starts or leaves.
            Dialled::Nobody => {}
            Dialled::HasLeft => {
                started = Instant::now();
                continue;
            }
        }
        if started.elapsed() > PATIENCE {
            return Err(Error::Held { folder: folder.to_owned(), pid: holder_pid(folder) });
        }
        std::thread::sleep(RETRY);
    }
}

/// Refuses a holder that uses another device than was asked for.
fn check_device(folder: &Path, options: &Options, holder: &Hello) -> Result<()> {
    // Holders from before devices could be chosen say none.
    let device = if holder.device.is_empty() { "cpu" } else { holder.device.as_str() };
    let Some(asked) = options.device.filter(|asked| !asked.allows(device)) else { return Ok(()) };
    Err(Error::Invalid(format!(
        "folder {} is held by process {}, which uses {}, not {}; leave out --device and $QUERN_DEVICE, \
         or stop that process (kill {}) and start it with this device",
        folder.display(),
        holder.pid,
        device,
        asked,
        holder.pid
    )))
}

/// Connects and says hello; waits for one who leaves the folder to this role. An error
/// where the one who listens does not answer in time or speaks another protocol.
fn dial(folder: &Path, role: Role) -> Result<Dialled> {
    let (send, answer) = mpsc::channel();
    // In a thread, because connecting itself blocks when a stopped holder's
    // queue is full. A thread that is given up ends with the process.
    let dialling = folder.to_owned();
    let thread = std::thread::Builder::new().name("quern-dial".into()).spawn(move || {
        let heard = greet(&dialling, role, &|| drop(send.send(Ok(Heard::Leaving))));
        drop(send.send(heard));
    });
    thread.map_err(|e| Error::io("connect to the holder of", folder, e))?;
    let mut leaves = false;
    loop {
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(Heard::Hello(stream, hello))) => {
                check_hello(folder, &hello)?;
                return Ok(Dialled::Holder(Remote { hello, idle: Mutex::new(Some(stream)) }));
            }
            Ok(Ok(Heard::Leaving)) => leaves = true,
            Ok(Ok(Heard::Nobody)) => return Ok(if leaves { Dialled::HasLeft } else { Dialled::Nobody }),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Error::Held { folder: folder.to_owned(), pid: holder_pid(folder) }),
        }
    }
}

/// Connects and exchanges hellos; calls `leaving` whenever the holder says that it leaves.
fn greet(folder: &Path, role: Role, leaving: &dyn Fn()) -> Result<Heard> {
    let Ok(mut stream) = connect(folder) else { return Ok(Heard::Nobody) };
    if write_frame(&mut stream, &ToHolder::Hello(Hello::ours(role, "")), &[]).is_err() {
        return Ok(Heard::Nobody);
    }
    loop {
        match read_from_holder(&mut stream) {
            Ok((ToClient::Hello(hello), _)) => return Ok(Heard::Hello(stream, hello)),
            Ok((ToClient::Failure(failure), _)) => return Err(Error::Denied(failure.message)),
            Ok((ToClient::Leaving { .. }, _)) => leaving(),
            // It has left.
            _ => return Ok(Heard::Nobody),
        }
    }
}

/// Starts `quern serve` in a session of its own and waits until it answers.
fn start_background(folder: &Path, options: &Options) -> Result<Remote> {
    let program = std::env::current_exe().map_err(|e| Error::io("find", "the quern program", e))?;
    let log_path = folder.join(BACKGROUND_LOG);
    let log =
        OpenOptions::new().create(true).append(true).open(&log_path).map_err(|e| Error::io("open", &log_path, e))?;
    let mut command = Command::new(&program);
    command.arg("--data").arg(folder).arg("--quiet");
    if let Some(device) = options.device {
        command.arg("--device").arg(device.to_string());
    }
    if let Some(cores) = options.cores {
        command.arg("--cores").arg(cores.to_string());
    }
    for (name, value) in &options.limits {
        command.arg("--folder-limit").arg(format!("{name}={value}"));
    }
    command.args(["serve", "--idle-exit", "10s"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: `setsid` is async-signal-safe and touches no memory of the parent.
    // Its only failure, of a process that leads a group already, does no harm.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|e| Error::io("start", &program, e))?;
    let started = Instant::now();
    loop {
        if let Dialled::Holder(remote) = dial(folder, Role::Command)? {
            // Another process may have been quicker.
            check_device(folder, options, &remote.hello)?;
            return Ok(remote);
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || started.elapsed() > START {
            let reason = match ended {
                Some(status) => format!("it ended with {status}; its messages are in {}", log_path.display()),
                None => format!("it did not answer within {} s", START.as_secs()),
            };
            return Err(Error::Invalid(format!(
                "the background holder of {} does not start: {reason}",
                folder.display()
            )));
        }
        std::thread::sleep(RETRY);
    }
}

/// Creates the folder, for its owner only.
fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if folder.exists() {
        return Err(Error::Invalid(format!("{} is not a folder; name another with --data", folder.display())));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| Error::io("create", folder, e))
}
