//! Statements about users, roles and grants.

use super::answer::Done;
use super::change;
use super::provider::View;
use super::statement::{GrantOn, GrantStatement, Grants};
use crate::base::{Error, Result, now_us};
use crate::catalog::{Grant, Object, Privilege, UserKind, Users};

/// `CREATE USER`, `CREATE ROLE`.
pub(super) fn create_user(view: &View, kind: UserKind, name: &str) -> Result<Done> {
    Users::new(&view.storage, &view.caller.rights).create(kind, name, now_us())?;
    Ok(Done::message(format!("created {} `{name}`", kind.word())))
}

/// `DROP USER`, `DROP ROLE`.
pub(super) fn drop_user(view: &View, kind: UserKind, name: &str) -> Result<Done> {
    Users::new(&view.storage, &view.caller.rights).remove(name)?;
    Ok(Done::message(format!("dropped {} `{name}`", kind.word())))
}

/// `GRANT`, `REVOKE`.
pub(super) fn change(view: &View, statement: &GrantStatement) -> Result<Done> {
    let GrantStatement { grants, on, grantee } = statement;
    let users = Users::new(&view.storage, &view.caller.rights);
    let (objects, what) = objects(view, on)?;
    match grants {
        Grants::Grant { grantable } => {
            let of = |(privilege, object)| Grant { privilege, object, grantable: *grantable };
            users.grant(&objects.into_iter().map(of).collect::<Vec<_>>(), grantee)?;
            Ok(Done::message(format!("granted {what} to `{grantee}`")))
        }
        Grants::Revoke => {
            let of = |(privilege, object)| Grant { privilege, object, grantable: false };
            users.revoke(&objects.into_iter().map(of).collect::<Vec<_>>(), grantee)?;
            Ok(Done::message(format!("revoked {what} from `{grantee}`")))
        }
    }
}

/// What a statement is about, and the same in words.
fn objects(view: &View, on: &GrantOn) -> Result<(Vec<(Privilege, Object)>, String)> {
    let words = |privileges: &[Privilege]| privileges.iter().map(|p| p.word()).collect::<Vec<_>>().join(", ");
    Ok(match on {
        GrantOn::CreateFunction => (vec![(Privilege::CreateFunction, Object::Folder)], "CREATE FUNCTION".to_owned()),
        GrantOn::Role(role) => (vec![(Privilege::Member, Object::Role(role.clone()))], format!("role `{role}`")),
        GrantOn::Table(privileges, table) => {
            let table = change::existing(view, table)?;
            let each = privileges.iter().map(|privilege| (*privilege, Object::Table(table.name.clone())));
            (each.collect(), format!("{} on table `{}`", words(privileges), table.name))
        }
        GrantOn::Function(privileges, name) => {
            let name = function(view, name)?;
            let each = privileges.iter().map(|privilege| (*privilege, Object::Function(name.clone())));
            (each.collect(), format!("{} on function `{name}`", words(privileges)))
        }
    })
}

/// The full name of a component or a proc; `*` is all of them.
fn function(view: &View, name: &str) -> Result<String> {
    let catalog = &view.system.catalog;
    if name == "*" || catalog.component(name).is_ok() {
        return Ok(name.to_owned());
    }
    let found = catalog.resolve(name)?;
    match name.contains('@') {
        true => Err(Error::Invalid(format!("`{name}` names a version; grants hold for all versions of a proc"))),
        false => Ok(format!("{}.{}", found.component.name, found.proc.name)),
    }
}
