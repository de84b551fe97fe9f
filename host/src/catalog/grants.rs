//! Who may do what. Everything that asks is answered here: statements about
//! their tables, runs about their inputs and outputs, commands about procs.
//!
//! The folder's owner may do everything: whoever can open the folder or its
//! socket, which its mode leaves to one account. The owner can act as another
//! user, as with `SET ROLE`; then [`Rights`] hold what was granted to that user
//! and to the roles it is a member of. A creator owns what it creates: tables,
//! and components with their procs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Catalog;
use crate::base::{Error, Limits, Result};
use crate::storage::{GrantRecord, RunRecord, Snapshot, Storage, TableState, UserRecord, Write};

/// What the folder's owner is called where a user's name stands.
pub(crate) const OWNER: &str = "owner";

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Reading a table.
    Select,
    /// Adding rows to a table.
    Insert,
    /// Changing rows of a table.
    Update,
    /// Deleting rows of a table.
    Delete,
    /// Executing a proc.
    Execute,
    /// Executing, replacing and deleting a proc, killing its runs, granting it.
    Admin,
    /// Creating components.
    CreateFunction,
    /// Everything with what was created.
    Owner,
    /// All that a role may do.
    Member,
}

impl Privilege {
    /// The word of it, in SQL and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Execute => "EXECUTE",
            Self::Admin => "ADMIN",
            Self::CreateFunction => "CREATE FUNCTION",
            Self::Owner => "OWNER",
            Self::Member => "MEMBER",
        }
    }
}

/// What something is allowed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A table.
    Table(String),
    /// A component, `component.proc`, or all: `*`.
    Function(String),
    /// A role.
    Role(String),
    /// The folder.
    Folder,
}

impl Object {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Function(_) => "function",
            Self::Role(_) => "role",
            Self::Folder => "folder",
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Table(name) | Self::Function(name) | Self::Role(name) => name,
            Self::Folder => "",
        }
    }

    /// As it stands behind a privilege in SQL.
    pub(super) fn on(&self) -> String {
        match self {
            Self::Table(name) => format!(" ON TABLE {name}"),
            Self::Function(name) => format!(" ON FUNCTION {name}"),
            Self::Role(_) | Self::Folder => String::new(),
        }
    }
}

/// Something granted, or to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is allowed.
    pub privilege: Privilege,
    /// On what.
    pub object: Object,
    /// Whether the grantee may grant it on.
    pub grantable: bool,
}

/// What one user may do.
#[derive(Clone, Debug, Default)]
pub struct Rights(Option<Arc<Granted>>);

/// What a user who is not the folder's owner was granted.
#[derive(Debug)]
struct Granted {
    user: String,
    /// When the user was created, microseconds since 1970.
    since_us: i64,
    /// Who owns each component that is not the folder owner's.
    component_owners: BTreeMap<String, String>,
    /// All users and roles.
    users: Vec<UserRecord>,
    /// Its own and those of its roles.
    grants: Vec<GrantRecord>,
}

impl Rights {
    /// Of the folder's owner.
    pub fn owner() -> Self {
        Self(None)
    }

    /// Of a user; of the folder's owner without one.
    pub fn of(storage: &Storage, user: Option<&str>) -> Result<Self> {
        let Some(user) = user else { return Ok(Self::owner()) };
        let users = storage.users()?;
        let since_us = find(&users, user)?.created_us;
        let all = storage.grants()?;
        let component_owners = component_owners(&all);
        let mut names = BTreeSet::from([user.to_owned()]);
        loop {
            let is_member = |grant: &&GrantRecord| grant.kind == "role" && names.contains(&grant.grantee);
            let roles: Vec<String> = all.iter().filter(is_member).map(|grant| grant.object.clone()).collect();
            let known = names.len();
            names.extend(roles);
            if names.len() == known {
                break;
            }
        }
        let grants = all.into_iter().filter(|grant| names.contains(&grant.grantee)).collect();
        Ok(Self(Some(Arc::new(Granted { user: user.to_owned(), since_us, component_owners, users, grants }))))
    }

    /// What the same user may do now.
    pub fn fresh(&self, storage: &Storage) -> Result<Self> {
        Self::of(storage, self.user())
    }

    /// The user; none for the folder's owner.
    pub fn user(&self) -> Option<&str> {
        self.0.as_ref().map(|granted| granted.user.as_str())
    }

    /// Whether a list shows a table: something was granted on it.
    pub fn sees_table(&self, table: &str) -> bool {
        self.0.as_ref().is_none_or(|granted| granted.grants.iter().any(|g| g.kind == "table" && g.object == table))
    }

    /// Whether a list shows a component, or one of its procs: something was granted
    /// on it, on another of its procs where the component is asked for, or on all.
    pub fn sees_function(&self, component: &str, proc: Option<&str>) -> bool {
        let is_on = |object: &str| match (object.split_once('.'), proc) {
            (None, _) => object == "*" || object == component,
            (Some((of, _)), None) => of == component,
            (Some((of, granted)), Some(proc)) => of == component && granted == proc,
        };
        self.0.as_ref().is_none_or(|granted| granted.grants.iter().any(|g| g.kind == "function" && is_on(&g.object)))
    }

    /// Whether a list shows a grant: it is one of the user's own, of its roles, or
    /// one that the user has given.
    pub fn sees_grant(&self, grant: &GrantRecord) -> bool {
        let Some(granted) = &self.0 else { return true };
        grant.grantor == granted.user
            || granted.grants.iter().any(|own| own.grantee == grant.grantee)
            || grant.grantee == granted.user
    }

    /// Whether something may be done with a table.
    pub fn table(&self, privilege: Privilege, table: &str) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        let allowed = |grant: &GrantRecord| {
            grant.kind == "table" && grant.object == table && is_one(grant, &[privilege, Privilege::Owner])
        };
        let what = match privilege {
            Privilege::Owner => format!("alter, drop or replace table `{table}`, which is not its own"),
            _ => format!("{} table `{table}`", verb(privilege)),
        };
        granted.require(&what, allowed, (privilege, &Object::Table(table.to_owned())))
    }

    /// Whether something may be done with a table in one of its states. Grants are
    /// those of the table that has the name in `now`, which was read after them:
    /// another table that had the name before is not theirs.
    pub fn table_state(&self, privilege: Privilege, table: &TableState, now: &Snapshot) -> Result<()> {
        let Some(user) = self.user() else { return Ok(()) };
        let name = &table.name;
        self.table(privilege, name)?;
        match now.table(name) {
            Ok(same) if same.id == table.id => Ok(()),
            _ => Err(Error::Denied(format!(
                "user `{user}` may not {} table `{name}` of version {}: it was another table of that name; \
                 only the folder's owner may, without --user",
                verb(privilege),
                table.version
            ))),
        }
    }

    /// Whether a proc may be executed, or administered; `None` means all procs
    /// of the component.
    pub fn function(&self, privilege: Privilege, component: &str, proc: Option<&str>) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        let full = proc.map_or_else(|| component.to_owned(), |proc| format!("{component}.{proc}"));
        let sufficient = [privilege, Privilege::Admin, Privilege::Owner];
        let allowed = |grant: &GrantRecord| {
            grant.kind == "function"
                && (grant.object == "*" || grant.object == component || grant.object == full)
                && is_one(grant, &sufficient)
        };
        let what = match privilege {
            Privilege::Execute => format!("execute proc `{full}`"),
            _ => format!("administer `{full}`"),
        };
        granted.require(&what, allowed, (privilege, &Object::Function(full.clone())))
    }

    /// Whether components may be created.
    pub fn create_function(&self) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        let allowed = |grant: &GrantRecord| is_one(grant, &[Privilege::CreateFunction]);
        granted.require("create components", allowed, (Privilege::CreateFunction, &Object::Folder))
    }

    /// Whether a component of this name may be created, or get another version.
    pub fn create_component(&self, catalog: &Catalog, name: &str) -> Result<()> {
        if self.user().is_none() {
            return Ok(());
        }
        match catalog.versions()?.iter().any(|kept| kept.name == name) {
            true => self.function(Privilege::Admin, name, None),
            false => self.create_function(),
        }
    }

    /// Whether what a user of this name asked for at a time is this user's: who has
    /// the name since is another.
    pub fn is_of(&self, user: &str, at_us: i64) -> bool {
        self.0.as_ref().is_none_or(|granted| granted.user == user && at_us >= granted.since_us)
    }

    /// Whether a run may be looked at and killed: it is the user's own, or one of
    /// a proc that the user administers. Who took the name of a user or of a
    /// component over has no right to what was executed before.
    pub fn run(&self, run: &RunRecord) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        if self.is_of(&run.user, run.submitted_us) {
            return Ok(());
        }
        let owner = granted.component_owners.get(&run.component).map_or(OWNER, String::as_str);
        let denied = |cure: String| {
            let whose = match run.user == granted.user {
                true => "which an earlier user of that name asked for".to_owned(),
                false => format!("which is `{}`'s", run.user),
            };
            Error::Denied(format!("user `{}` may not look at or kill run {}, {whose}; {cure}", granted.user, run.id))
        };
        // Who administers all components does so whoever owned them.
        if owner != owner_then(&granted.users, run) && self.function(Privilege::Admin, "*", None).is_err() {
            return Err(denied(format!(
                "component `{}` had another owner then; only the folder's owner may, without --user",
                run.component
            )));
        }
        self.function(Privilege::Admin, &run.component, Some(&run.proc)).map_err(|_| {
            let (component, proc, user) = (&run.component, &run.proc, &granted.user);
            denied(format!("this allows it: GRANT ADMIN ON FUNCTION {component}.{proc} TO {user}"))
        })
    }

    /// Whether limits of a proc, or of all procs of a component, may be set to what
    /// is asked: lower than `allowed` they may always be; to raise them takes ADMIN
    /// that the folder's owner has granted, because they guard its machine.
    pub fn raise_limits<'a>(
        &self,
        component: &str,
        proc: Option<&str>,
        allowed: &Limits,
        asked: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        let full = proc.map_or_else(|| component.to_owned(), |proc| format!("{component}.{proc}"));
        let is_trusted = |grant: &GrantRecord| {
            grant.kind == "function"
                && grant.grantor == OWNER
                && [component, &full, "*"].contains(&grant.object.as_str())
                && is_one(grant, &[Privilege::Admin])
        };
        let allowed = allowed.entries();
        let raised = asked.into_iter().find_map(|(name, value)| {
            let (name, most) = allowed.iter().find(|(known, most)| known == name && value > *most)?;
            Some((name, value, most))
        });
        match raised {
            Some((name, value, most)) if !granted.grants.iter().any(is_trusted) => {
                let (user, unit) = (&granted.user, Limits::unit(name));
                Err(Error::Denied(format!(
                    "user `{user}` may not raise limit `{name}` of `{full}`: {value} {unit} asked, {most} {unit} allowed; \
                     the folder's owner may, and can allow it: GRANT ADMIN ON FUNCTION {full} TO {user}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a file below the data folder, through whatever links: rows of its
    /// tables are not read past their grants.
    pub fn read_file(&self, storage: &Storage, path: &Path) -> Result<()> {
        let Some(user) = self.user() else { return Ok(()) };
        let resolved = |path: &Path| path.canonicalize().map_err(|e| Error::io("read", path, e));
        let folder = resolved(storage.folder())?;
        match resolved(path)?.starts_with(&folder) {
            true => Err(Error::Denied(format!(
                "user `{user}` may not read `{}`, which lies in the data folder; SELECT reads its tables",
                path.display()
            ))),
            false => Ok(()),
        }
    }

    /// Refuses all but the folder's owner.
    pub fn folder(&self, what: &str) -> Result<()> {
        match self.user() {
            None => Ok(()),
            Some(user) => {
                Err(Error::Denied(format!("user `{user}` may not {what}; only the folder's owner may, without --user")))
            }
        }
    }

    /// Whether something may be granted and revoked.
    pub fn grant(&self, grant: &Grant) -> Result<()> {
        let Some(granted) = &self.0 else { return Ok(()) };
        let same = |found: &GrantRecord| {
            found.grantable
                && found.privilege == grant.privilege.word()
                && found.kind == grant.object.kind()
                && found.object == grant.object.name()
        };
        if self.owns(&grant.object) || granted.grants.iter().any(same) {
            return Ok(());
        }
        let what = format!("{}{}", grant.privilege.word(), grant.object.on());
        Err(Error::Denied(format!(
            "user `{0}` may not grant or revoke {what}; this allows it: GRANT {what} TO {0} WITH GRANT OPTION",
            granted.user
        )))
    }

    /// Whether all grants on something are the user's to give and to take.
    fn owns(&self, object: &Object) -> bool {
        match object {
            Object::Table(table) => self.table(Privilege::Owner, table).is_ok(),
            Object::Function(name) => {
                let (component, proc) = name.split_once('.').map_or((name.as_str(), None), |(c, p)| (c, Some(p)));
                self.function(Privilege::Admin, component, proc).is_ok()
            }
            Object::Role(_) | Object::Folder => self.user().is_none(),
        }
    }

    /// Whether a grant may be taken back: by who gave it, and by owners.
    pub(super) fn revoke(&self, grant: &Grant, found: &GrantRecord) -> Result<()> {
        match self.user() {
            Some(user) if found.grantor != user && !self.owns(&grant.object) => {
                let what = format!("{}{}", grant.privilege.word(), grant.object.on());
                Err(Error::Denied(format!(
                    "user `{user}` may not revoke {what} from `{}`: `{}` granted it; only that one and owners may",
                    found.grantee, found.grantor
                )))
            }
            _ => Ok(()),
        }
    }

    /// Records, with a change, that the user owns what it creates.
    pub fn own(&self, write: &mut Write, object: &Object) {
        if let Some(user) = self.user() {
            write.put_grant(record(
                user,
                &Grant { privilege: Privilege::Owner, object: object.clone(), grantable: true },
                user,
            ));
        }
    }
}

impl Granted {
    fn require(
        &self,
        what: &str,
        allowed: impl Fn(&GrantRecord) -> bool,
        (privilege, object): (Privilege, &Object),
    ) -> Result<()> {
        if self.grants.iter().any(allowed) {
            return Ok(());
        }
        let user = &self.user;
        let cure = match privilege {
            Privilege::Owner => "only its owner and the folder's owner may".to_owned(),
            _ => format!("this allows it: GRANT {}{} TO {user}", privilege.word(), object.on()),
        };
        Err(Error::Denied(format!("user `{user}` may not {what}; {cure}")))
    }
}

fn is_one(grant: &GrantRecord, privileges: &[Privilege]) -> bool {
    privileges.iter().any(|privilege| privilege.word() == grant.privilege)
}

fn verb(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Insert => "insert into",
        Privilege::Update => "update",
        Privilege::Delete => "delete from",
        _ => "read",
    }
}

pub(super) fn record(grantee: &str, grant: &Grant, grantor: &str) -> GrantRecord {
    GrantRecord {
        grantee: grantee.to_owned(),
        privilege: grant.privilege.word().to_owned(),
        kind: grant.object.kind().to_owned(),
        object: grant.object.name().to_owned(),
        grantable: grant.grantable,
        grantor: grantor.to_owned(),
    }
}

pub(super) fn find<'a>(users: &'a [UserRecord], name: &str) -> Result<&'a UserRecord> {
    let names = || users.iter().map(|user| user.name.as_str());
    users.iter().find(|user| user.name == name).ok_or_else(|| Error::not_found("user or role", name, None, names()))
}

/// Who owns each component, where it is not the folder's owner.
fn component_owners(grants: &[GrantRecord]) -> BTreeMap<String, String> {
    let is_owned = |grant: &&GrantRecord| grant.kind == "function" && grant.privilege == Privilege::Owner.word();
    grants.iter().filter(is_owned).map(|grant| (grant.object.clone(), grant.grantee.clone())).collect()
}

/// Who owned a run's component when the run was asked for. What a user owned who is
/// gone since is the folder owner's, also where another has the name now.
fn owner_then<'a>(users: &[UserRecord], run: &'a RunRecord) -> &'a str {
    let owner = run.component_owner.as_str();
    let is_same = |user: &UserRecord| user.name == owner && user.created_us <= run.submitted_us;
    if users.iter().any(is_same) { owner } else { OWNER }
}

impl Catalog {
    /// Who owns a component: a user, or `owner`, the folder's.
    pub fn component_owner(&self, component: &str) -> Result<String> {
        let mut owners = component_owners(&self.storage.grants()?);
        Ok(owners.remove(component).unwrap_or_else(|| OWNER.to_owned()))
    }

    /// Who owned a run's component when the run was asked for.
    pub fn component_owner_then(&self, run: &RunRecord) -> Result<String> {
        Ok(owner_then(&self.storage.users()?, run).to_owned())
    }
}
