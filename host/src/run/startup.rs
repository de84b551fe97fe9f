//! Requests that are executed whenever a server opens the folder.

use super::history::now_us;
use super::request::Request;
use super::runs::Runs;
use crate::base::{Error, Result, RunId};
use crate::catalog::Rights;
use crate::storage::StartupRecord;

impl Runs {
    /// Stores a request; it is executed from the next time on. Refuses what could
    /// not be executed now, as far as that shows without reading tables.
    pub fn add_startup(&self, mut request: Request, rights: &Rights) -> Result<u64> {
        let resolved = self.check(&request)?;
        // The name decides with whose rights it is executed; the owner's is a mere label.
        request.user = rights.user().map(str::to_owned);
        self.storage().add_startup(StartupRecord {
            id: 0,
            proc: format!("{}.{}", resolved.component.name, resolved.proc.name),
            request: serde_json::to_string(&request).map_err(|e| Error::Internal(e.to_string()))?,
            user: request.user.clone().unwrap_or_else(|| "owner".to_owned()),
            created_us: now_us(),
            last_run: None,
            last_error: None,
        })
    }

    /// The stored requests, oldest first.
    pub fn startups(&self) -> Result<Vec<StartupRecord>> {
        self.storage().startups()
    }

    /// Forgets a stored request; runs that it led to go on.
    pub fn remove_startup(&self, id: u64) -> Result<()> {
        let all = self.startups()?;
        if !all.iter().any(|startup| startup.id == id) {
            let ids = all.iter().map(|startup| startup.id.to_string());
            return Err(Error::not_found("request for start-up", &id.to_string(), None, ids));
        }
        let mut write = self.storage().begin();
        write.delete_startup(id);
        write.commit().map(drop)
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

    /// Executes all stored requests by `execute` and keeps what became of each.
    pub fn start_up(&self, execute: impl Fn(Request) -> Result<RunId>) -> Result<()> {
        for mut startup in self.startups()? {
            let request = serde_json::from_str::<Request>(&startup.request).map_err(|e| Error::Corrupt {
                what: format!("request {} for start-up", startup.id),
                reason: format!("it cannot be read ({e}); cancel it with `quern run kill --startup {}`", startup.id),
            });
            let outcome = self.check_user(&startup).and(request).and_then(&execute);
            startup.last_error = outcome.as_ref().err().map(Error::chain);
            startup.last_run = outcome.ok();
            let mut write = self.storage().begin();
            write.put_startup(startup);
            write.commit()?;
        }
        Ok(())
    }
}
