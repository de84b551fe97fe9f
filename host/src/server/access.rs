//! What each request needs to be allowed, before it is handled. Statements are
//! checked where they are executed.

use super::protocol::Request;
use crate::base::Result;
use crate::catalog::Rights;
use crate::database::Database;

/// Refuses what the user may not ask for.
pub(super) fn check(database: &Database, rights: &Rights, request: &Request) -> Result<()> {
    if rights.user().is_none() {
        return Ok(());
    }
    match request {
        Request::CreateComponent(request) => database.may_create_component(rights, request),
        Request::ActivateComponent { name, .. } | Request::DropComponent { name, .. } => {
            database.may_administer(rights, name)
        }
        Request::AddStartup(request) => database.may_execute(rights, request),
        Request::RemoveStartup { id } => database.may_cancel(rights, *id),
        Request::Follow { run, .. } | Request::Run { run } | Request::Logs { run } => {
            rights.run(&database.run(*run)?.run)
        }
        Request::FollowSweep { first, .. } => rights.run(&database.run(*first)?.run),
        Request::Result(which) => rights.run(&database.run(which.run)?.run),
        // Statements, runs, kills, models, imports, settings and lists are checked as they are handled.
        _ => Ok(()),
    }
}
