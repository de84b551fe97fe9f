//! A GPU that is open, and the thread that owns it: all calls of the driver are
//! made there, one after the other.
//!
//! When the driver answers that nothing works any more, the device is *lost*:
//! its thread tears the context down and ends, and every later call answers
//! [`Error::DeviceLost`]. [`Cuda::open`] then makes a new one, which shares
//! nothing with it.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::gpu::Gpu;
use super::modules::Stages;
use super::probe::{Absent, Info, probe};
use crate::base::{Error, Result};

/// How long the thread of a device may take to end before the device is opened again.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How often who waits for the owner thread looks whether the work is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A GPU that is open.
pub struct Cuda {
    pub(super) shared: Arc<Shared>,
    info: Info,
}

/// Something for the owner thread to do.
type Job = Box<dyn FnOnce(&Gpu) + Send>;

/// The devices that were opened, by their number.
type ByOrdinal = HashMap<usize, (Weak<Cuda>, Arc<Shared>)>;

static OPENED: Mutex<Option<ByOrdinal>> = Mutex::new(None);

/// What the owner thread and those that use it share.
pub(super) struct Shared {
    /// `cuda:0`, ….
    pub(super) name: String,
    /// None after it was closed or lost.
    jobs: Mutex<Option<Sender<Job>>>,
    lost: OnceLock<String>,
    ended: Mutex<bool>,
    has_ended: Condvar,
    /// It did not end in time once; nobody waits for it again.
    is_stuck: AtomicBool,
    pub(super) counts: Counts,
    pub(super) stages: Stages,
    /// Whether cuBLAS is open.
    pub(super) has_blas: AtomicBool,
}

/// Counters behind [`Copies`].
#[derive(Default)]
pub(super) struct Counts {
    pub(super) uploaded_bytes: AtomicU64,
    pub(super) downloaded_bytes: AtomicU64,
    pub(super) copied_bytes: AtomicU64,
    pub(super) launches: AtomicU64,
    pub(super) replays: AtomicU64,
}

/// What was done on a GPU since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Bytes copied from the host to the device.
    pub uploaded_bytes: u64,
    /// Bytes copied from the device to the host.
    pub downloaded_bytes: u64,
    /// Bytes copied on the device.
    pub copied_bytes: u64,
    /// Kernels and products of matrices launched, those of graphs when they are recorded.
    pub launches: u64,
    /// Graphs replayed.
    pub replays: u64,
}

thread_local! {
    /// The GPU that this thread owns.
    static OWNED: Cell<*const Gpu> = const { Cell::new(std::ptr::null()) };
}

impl Cuda {
    /// Opens a GPU by its number; the one that is open already where there is one.
    pub fn open(ordinal: usize) -> Result<Arc<Self>> {
        let mut open = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        let mut before = None;
        if let Some((cuda, shared)) = open.get(&ordinal) {
            match cuda.upgrade().filter(|cuda| cuda.check().is_ok()) {
                Some(cuda) => return Ok(cuda),
                // Both would use the one primary context of the device.
                None => shared.wait_until_ended()?,
            }
            before = Some(Arc::clone(shared));
        }
        let cuda = Self::start(ordinal).map_err(|error| match before.filter(|before| before.is_lost()) {
            Some(lost) => lost.not_opened(&error),
            None => error,
        })?;
        open.insert(ordinal, (Arc::downgrade(&cuda), Arc::clone(&cuda.shared)));
        Ok(cuda)
    }

    /// What a GPU is, without opening it; why it cannot be used otherwise.
    pub fn find(ordinal: usize) -> Result<Info> {
        let name = format!("cuda:{ordinal}");
        let gpus = probe().map_err(|absent| absent_error(&name, &absent))?;
        let names = gpus.iter().map(|info| format!("cuda:{}", info.ordinal)).collect::<Vec<_>>();
        let info = gpus.into_iter().find(|info| info.ordinal == ordinal);
        info.ok_or_else(|| Error::not_found("device", &name, Some("this machine".to_owned()), &names))
    }

    /// Starts the owner thread, which opens the device.
    fn start(ordinal: usize) -> Result<Arc<Self>> {
        let info = Self::find(ordinal)?;
        let name = format!("cuda:{ordinal}");
        let (sender, jobs) = channel();
        let shared = Arc::new(Shared {
            name: name.clone(),
            jobs: Mutex::new(Some(sender)),
            lost: OnceLock::new(),
            ended: Mutex::new(false),
            has_ended: Condvar::new(),
            is_stuck: AtomicBool::new(false),
            counts: Counts::default(),
            stages: Stages::default(),
            has_blas: AtomicBool::new(false),
        });
        let (opened, answer) = channel();
        let (of_thread, of_device) = (Arc::clone(&shared), info.clone());
        let own = move || {
            let gpu = catch_unwind(|| Gpu::open(&of_device, Arc::clone(&of_thread)));
            match gpu.unwrap_or_else(|_| Err(Error::Internal("the NVIDIA driver failed".to_owned()))) {
                Ok(gpu) => {
                    let _ = opened.send(Ok(()));
                    serve(gpu, &jobs, &of_thread);
                }
                Err(error) => {
                    of_thread.close();
                    of_thread.end();
                    let _ = opened.send(Err(error));
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(own).map_err(|e| Error::library("cannot start a thread", e))?;
        answer.recv().map_err(|_| Error::Internal("the thread of a GPU ended".to_owned()))??;
        Ok(Arc::new(Self { shared, info }))
    }

    /// `cuda:0`, ….
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Executes `work` on the owner thread, after all that was sent before, and
    /// waits until it returns; what it put on the device's stream may go on.
    pub fn run<T: Send>(&self, work: impl FnOnce(&Gpu) -> Result<T> + Send) -> Result<T> {
        self.shared.run(None, work)
    }

    /// As [`Self::run`]. Meanwhile `look` is called every few milliseconds: when it
    /// fails before the owner thread has come to `work`, that is the answer and
    /// `work` is never begun.
    pub fn run_while<T: Send>(
        &self,
        look: impl Fn() -> Result<()>,
        work: impl FnOnce(&Gpu) -> Result<T> + Send,
    ) -> Result<T> {
        self.shared.run(Some(&look), work)
    }

    /// Executes `work` on the owner thread, after all that was sent before. What
    /// fails is told by the ticket.
    pub fn send(&self, work: impl FnOnce(&Gpu) -> Result<()> + Send + 'static) -> Result<Ticket> {
        let (done, answer) = channel();
        self.shared.post(Box::new(move |gpu| {
            let mark = work(gpu).and_then(|()| gpu.mark());
            let _ = done.send(mark);
        }))?;
        Ok(Ticket { answer, shared: Arc::clone(&self.shared) })
    }

    /// [`Error::DeviceLost`] once it is lost.
    pub fn check(&self) -> Result<()> {
        match self.shared.lost.get() {
            Some(_) => Err(self.shared.gone()),
            None => Ok(()),
        }
    }

    /// Whether nobody uses a device and all that were opened have given back what they
    /// had, after waiting for those that are about to; not where one takes longer.
    pub fn have_closed() -> bool {
        // Who opens one now holds the lock, perhaps for as long as a driver hangs.
        let Ok(opened) = OPENED.try_lock() else { return false };
        let mut devices = opened.iter().flat_map(HashMap::values);
        devices.all(|(cuda, shared)| cuda.strong_count() == 0 && shared.wait_until_ended().is_ok())
    }

    /// What was done so far.
    pub fn copies(&self) -> Copies {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Copies {
            uploaded_bytes: read(&counts.uploaded_bytes),
            downloaded_bytes: read(&counts.downloaded_bytes),
            copied_bytes: read(&counts.copied_bytes),
            launches: read(&counts.launches),
            replays: read(&counts.replays),
        }
    }

    /// Does `work` some time, if the device is still there.
    pub(in crate::device) fn later(&self, work: impl FnOnce(&Gpu) + Send + 'static) {
        let _ = self.shared.post(Box::new(work));
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({})", self.name())
    }
}

/// Work that was sent to a device.
pub struct Ticket {
    answer: Receiver<Result<super::Mark>>,
    shared: Arc<Shared>,
}

impl Ticket {
    /// Waits until the work and all that it put on the device's stream has ended.
    pub fn wait(self) -> Result<()> {
        let mark = self.answer.recv().map_err(|_| self.shared.gone())??;
        self.shared.run(None, move |gpu| gpu.wait_for(&mark))
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", self.shared.name)
    }
}

/// Work with where its result goes; dropped in this order.
struct Task<W, T> {
    work: W,
    done: Sender<Result<T>>,
}

/// Work that waits for the owner thread: who comes first takes it, that thread or
/// who no longer wants it.
struct Waiting<W, T>(Arc<Mutex<Option<Task<W, T>>>>);

impl<W, T> Waiting<W, T> {
    fn take(&self) -> Option<Task<W, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<W, T> Drop for Waiting<W, T> {
    /// A job that is dropped instead of executed: whoever waits is told by the channel.
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Shared {
    /// As [`Cuda::run`], or [`Cuda::run_while`].
    fn run<T: Send>(
        &self,
        look: Option<&dyn Fn() -> Result<()>>,
        work: impl FnOnce(&Gpu) -> Result<T> + Send,
    ) -> Result<T> {
        let owned = OWNED.get();
        if !owned.is_null() {
            // SAFETY: set by `serve` on this thread for as long as the GPU lives there.
            let gpu = unsafe { &*owned };
            return if gpu.is_of(self) {
                work(gpu)
            } else {
                Err(Error::Internal("one GPU's thread uses another".into()))
            };
        }
        let (done, answer) = channel();
        let task = Arc::new(Mutex::new(Some(Task { work, done })));
        let waiting = Waiting(Arc::clone(&task));
        let job: Box<dyn FnOnce(&Gpu) + Send + '_> = Box::new(move |gpu| {
            if let Some(Task { work, done }) = waiting.take() {
                let _ = done.send(work(gpu));
            }
        });
        // SAFETY: only the lifetime changes. The work is over, was dropped or was taken
        // back when this function returns; what is left of the job then holds nothing.
        let job = unsafe { std::mem::transmute::<Box<dyn FnOnce(&Gpu) + Send + '_>, Job>(job) };
        self.post(job)?;
        let task = Waiting(task);
        loop {
            let Some(look) = look else {
                return answer.recv().unwrap_or_else(|_| Err(self.gone()));
            };
            match answer.recv_timeout(LOOK_EVERY) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
                Err(RecvTimeoutError::Timeout) => {
                    let seen = catch_unwind(AssertUnwindSafe(look));
                    let seen = seen.unwrap_or_else(|_| Err(Error::Internal("a look at a run failed".to_owned())));
                    if let Err(unwanted) = seen
                        && task.take().is_some()
                    {
                        return Err(unwanted);
                    }
                }
            }
        }
    }

    /// Queues a job; it is dropped when the device is gone.
    pub(super) fn post(&self, job: Job) -> Result<()> {
        let refused = {
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            match jobs.as_ref() {
                Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
                None => Some(job),
            }
        };
        // Dropped here, not under the lock: what a job holds posts others when it is dropped.
        if refused.is_some() { Err(self.gone()) } else { Ok(()) }
    }

    /// Why no call can be made any more.
    pub(super) fn gone(&self) -> Error {
        let reason = self.lost.get().map_or("its thread ended", String::as_str);
        Error::DeviceLost { device: self.name.clone(), reason: reason.to_owned() }
    }

    /// Notes that the device is lost.
    pub(super) fn lose(&self, reason: String) {
        let _ = self.lost.set(reason);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn end(&self) {
        *self.ended() = true;
        self.has_ended.notify_all();
    }

    /// Waits until its thread has ended; an error when a call of the driver does not
    /// return, as long as that is so.
    fn wait_until_ended(&self) -> Result<()> {
        let patience = if self.is_stuck.load(Ordering::Relaxed) { Duration::ZERO } else { ENDS_WITHIN };
        let waited = self.has_ended.wait_timeout_while(self.ended(), patience, |ended| !*ended);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return Ok(());
        }
        self.is_stuck.store(true, Ordering::Relaxed);
        Err(Error::Unsupported(format!(
            "{} cannot be opened again ({}): a call of its driver does not return; \
             look at `nvidia-smi`, and start quern again",
            self.name,
            self.reason()
        )))
    }

    /// That the device, which was lost, could not be opened again: some losses a process
    /// does not survive.
    fn not_opened(&self, error: &Error) -> Error {
        Error::Unsupported(format!(
            "{} could not be opened again ({}): {}; the next run tries once more, and where \
             that fails too look at `nvidia-smi`, and start quern again",
            self.name,
            self.reason(),
            error.chain()
        ))
    }

    /// Why nobody uses it any more.
    fn reason(&self) -> &str {
        self.lost.get().map_or("it was given up", String::as_str)
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what is asked until nobody can ask any more or the device is lost.
fn serve(gpu: Gpu, jobs: &Receiver<Job>, shared: &Shared) {
    OWNED.set(&raw const gpu);
    while !shared.is_lost()
        && let Ok(job) = jobs.recv()
    {
        // Whoever waits is told by the channel that the job dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&gpu)));
    }
    shared.close();
    OWNED.set(std::ptr::null());
    // Jobs that still wait are dropped, after nobody can add to them: who waits for one
    // is told now, since a driver may take long to tear down what was lost.
    while jobs.try_recv().is_ok() {}
    let _ = catch_unwind(AssertUnwindSafe(|| gpu.close()));
    shared.end();
}

fn absent_error(name: &str, absent: &Absent) -> Error {
    Error::Unsupported(format!("{name} cannot be used: {absent}"))
}
