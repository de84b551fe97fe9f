//! Requests that are executed whenever a server opens the folder.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::request::RunRequest;
use super::runs::Runs;
use crate::base::{Error, Result, RunId, now_us};
use crate::catalog::{OWNER, Rights};
use crate::device::KillSwitch;
use crate::storage::StartupRecord;

/// Whether stored requests are still to be executed.
pub type Wanted<'a> = dyn Fn() -> bool + Sync + 'a;

/// Executes a stored request, until it is killed.
pub type Execute<'a> = dyn Fn(RunRequest, &KillSwitch) -> Result<RunId> + Sync + 'a;

/// Stored requests that read rows first and are executed at the same time.
const READERS: usize = 4;

/// A stored request, as far as it can be read.
type Stored = (Result<RunRequest>, StartupRecord);

/// A panic on data that the host did not expect ends one request, not those after it.
fn unpanicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::Internal("executing it ended in a panic, whose text the server has printed".into()))
    })
}

impl Runs {
    /// Stores a request; it is executed from the next time on. Refuses what could
    /// not be executed now, as far as that shows without reading tables.
    pub fn add_startup(&self, mut request: RunRequest, rights: &Rights) -> Result<u64> {
        let resolved = self.check(&request)?;
        super::plan::check_counts(&resolved.proc, &request)?;
        // The name decides with whose rights it is executed; the owner's is a mere label.
        request.user = rights.user().map(str::to_owned);
        self.storage().add_startup(StartupRecord {
            id: 0,
            proc: format!("{}.{}", resolved.component.name, resolved.proc.name),
            request: serde_json::to_string(&request).map_err(|e| Error::Internal(e.to_string()))?,
            user: request.user.clone().unwrap_or_else(|| OWNER.to_owned()),
            created_us: now_us(),
            last_run: None,
            last_error: None,
        })
    }

    /// The stored requests, oldest first.
    pub fn startups(&self) -> Result<Vec<StartupRecord>> {
        self.storage().startups()
    }

    /// Forgets a stored request. What it is about to lead to is stopped; a run that
    /// it led to goes on.
    pub fn remove_startup(&self, id: u64) -> Result<()> {
        let all = self.startups()?;
        if !all.iter().any(|startup| startup.id == id) {
            let ids = all.iter().map(|startup| startup.id.to_string());
            return Err(Error::not_found("request for start-up", &id.to_string(), None, ids));
        }
        let mut write = self.storage().begin();
        write.delete_startup(id);
        write.commit()?;
        if let Some(kill) = self.starting().get(&id) {
            kill.kill("its cancellation".to_owned());
        }
        Ok(())
    }

    /// Executes all stored requests by `execute` and keeps what became of each, as
    /// long as `is_wanted`. Those that read rows first come after all others, a few
    /// at a time.
    pub fn start_up(&self, is_wanted: &Wanted<'_>, execute: &Execute<'_>) -> Result<()> {
        let all = self.startups()?.into_iter().map(|startup| (self.request_of(&startup), startup));
        let reads_first = |(request, _): &Stored| request.as_ref().is_ok_and(RunRequest::reads_first);
        let (later, first): (VecDeque<Stored>, VecDeque<Stored>) = all.partition(reads_first);
        self.start_each(&Mutex::new(first), (is_wanted, execute));
        let readers = later.len().min(READERS);
        let later = Mutex::new(later);
        std::thread::scope(|scope| {
            for _ in 1..readers {
                let thread = std::thread::Builder::new().name("quern-start-up".into());
                // Without a thread this one does it all.
                drop(thread.spawn_scoped(scope, || self.start_each(&later, (is_wanted, execute))));
            }
            self.start_each(&later, (is_wanted, execute));
        });
        Ok(())
    }

    /// Executes stored requests, oldest first, until there are none.
    fn start_each(&self, requests: &Mutex<VecDeque<Stored>>, (is_wanted, execute): (&Wanted<'_>, &Execute<'_>)) {
        let next = || requests.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while is_wanted()
            && let Some((request, startup)) = next()
        {
            self.start_one(&startup, request, (is_wanted, execute));
        }
    }

    fn start_one(
        &self,
        startup: &StartupRecord,
        request: Result<RunRequest>,
        (is_wanted, execute): (&Wanted<'_>, &Execute<'_>),
    ) {
        let kill = KillSwitch::new();
        self.starting().insert(startup.id, kill.clone());
        // One that was cancelled before it was entered here is not there any more.
        let is_stored = |all: Vec<StartupRecord>| all.iter().any(|other| other.id == startup.id);
        let outcome = self.startups().and_then(|all| match is_stored(all) {
            true => self.check_user(startup).and(request).and_then(|request| unpanicked(|| execute(request, &kill))),
            false => Err(Error::Killed { by: None }),
        });
        self.starting().remove(&startup.id);
        if outcome.is_err() && !is_wanted() {
            return;
        }
        let mut write = self.storage().begin();
        write.note_startup(startup.id, outcome.map_err(|error| error.chain()));
        // What cannot be noted is known by its run, or fails again the next time.
        drop(write.commit());
    }

    /// Refuses a request of a user whose name another has taken since.
    fn check_user(&self, startup: &StartupRecord) -> Result<()> {
        let (id, name) = (startup.id, &startup.user);
        match self.storage().users()?.iter().find(|user| user.name == *name) {
            Some(user) if user.created_us > startup.created_us => Err(Error::Denied(format!(
                "user `{name}` was created after request {id} for start-up was stored, by an earlier user of that name; \
                 `quern run kill --startup {id}` cancels it"
            ))),
            _ => Ok(()),
        }
    }

    fn request_of(&self, startup: &StartupRecord) -> Result<RunRequest> {
        serde_json::from_str::<RunRequest>(&startup.request).map_err(|e| Error::Corrupt {
            what: format!("request {} for start-up", startup.id),
            reason: format!("it cannot be read ({e}); cancel it with `quern run kill --startup {}`", startup.id),
        })
    }

    /// The requests that are being executed, by number.
    fn starting(&self) -> MutexGuard<'_, HashMap<u64, KillSwitch>> {
        self.0.starting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
