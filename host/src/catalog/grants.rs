//! Who may do what. Everything that asks is answered here: statements about
//! their tables, runs about their inputs and outputs, commands about procs.
//!
//! The folder's owner may do everything: whoever can open the folder or its
//! socket, which its mode leaves to one account. The owner can act as another
//! user, as with `SET ROLE`; then [`Rights`] hold what was granted to that user
//! and to the roles it is a member of. A creator owns what it creates: tables,
//! and components with their procs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Catalog;
use crate::base::{Error, Result, check_name};
use crate::storage::{GrantRecord, RunRecord, Snapshot, Storage, TableState, UserRecord, Write};

/// What the folder's owner is called where a user's name stands.
const OWNER: &str = "owner";

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
    fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Function(_) => "function",
            Self::Role(_) => "role",
            Self::Folder => "folder",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Table(name) | Self::Function(name) | Self::Role(name) => name,
            Self::Folder => "",
        }
    }

    /// As it stands behind a privilege in SQL.
    fn on(&self) -> String {
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
        find(&storage.users()?, user)?;
        let all = storage.grants()?;
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
        Ok(Self(Some(Arc::new(Granted { user: user.to_owned(), grants }))))
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
            Privilege::Owner => format!("drop or replace table `{table}`, which is not its own"),
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

    /// Records that the user owns a component that it has created.
    pub fn own_component(&self, storage: &Storage, name: &str) -> Result<()> {
        let object = Object::Function(name.to_owned());
        let owner = Privilege::Owner.word();
        let is_owned =
            |grant: &GrantRecord| grant.privilege == owner && grant.kind == object.kind() && grant.object == name;
        if self.user().is_none() || storage.grants()?.iter().any(is_owned) {
            return Ok(());
        }
        let mut write = storage.begin();
        self.own(&mut write, &object);
        write.commit().map(drop)
    }

    /// Whether a run may be looked at and killed: it is the user's own, or one of
    /// a proc that the user administers.
    pub fn run(&self, run: &RunRecord) -> Result<()> {
        match &self.0 {
            Some(granted) if granted.user != run.user => {
                self.function(Privilege::Admin, &run.component, Some(&run.proc)).map_err(|_| {
                    Error::Denied(format!(
                        "user `{}` may not look at or kill run {}, which is `{}`'s; this allows it: \
                         GRANT ADMIN ON FUNCTION {}.{} TO {}",
                        granted.user, run.id, run.user, run.component, run.proc, granted.user
                    ))
                })
            }
            _ => Ok(()),
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
    fn revoke(&self, grant: &Grant, found: &GrantRecord) -> Result<()> {
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

fn record(grantee: &str, grant: &Grant, grantor: &str) -> GrantRecord {
    GrantRecord {
        grantee: grantee.to_owned(),
        privilege: grant.privilege.word().to_owned(),
        kind: grant.object.kind().to_owned(),
        object: grant.object.name().to_owned(),
        grantable: grant.grantable,
        grantor: grantor.to_owned(),
    }
}

fn find<'a>(users: &'a [UserRecord], name: &str) -> Result<&'a UserRecord> {
    let names = || users.iter().map(|user| user.name.as_str());
    users.iter().find(|user| user.name == name).ok_or_else(|| Error::not_found("user or role", name, None, names()))
}

/// Users, roles and grants of one folder, as they are changed.
pub struct Users<'a> {
    storage: &'a Storage,
    rights: &'a Rights,
}

impl<'a> Users<'a> {
    /// Changed with these rights.
    pub fn new(storage: &'a Storage, rights: &'a Rights) -> Self {
        Self { storage, rights }
    }

    /// Adds a user or a role.
    pub fn create(&self, name: &str, is_role: bool, now_us: i64) -> Result<()> {
        self.rights.folder("create users and roles")?;
        check_name("user", name)?;
        if name == OWNER {
            return Err(Error::Invalid(format!("`{OWNER}` is the folder's owner; choose another name")));
        }
        if self.storage.users()?.iter().any(|user| user.name == name) {
            return Err(Error::Exists { kind: "user or role", name: name.to_owned() });
        }
        let mut write = self.storage.begin();
        write.put_user(UserRecord { name: name.to_owned(), is_role, created_us: now_us });
        write.commit().map(drop)
    }

    /// Removes a user or a role and its grants. What it owned stays, as the
    /// folder owner's.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.rights.folder("drop users and roles")?;
        find(&self.storage.users()?, name)?;
        let mut write = self.storage.begin();
        write.drop_user(name);
        write.commit().map(drop)
    }

    /// Grants to a user or role.
    pub fn grant(&self, grants: &[Grant], to: &str) -> Result<()> {
        let users = self.storage.users()?;
        find(&users, to)?;
        let mut write = self.storage.begin();
        for grant in grants {
            self.check(grant, &users)?;
            if grant.object == Object::Role(to.to_owned()) {
                return Err(Error::Invalid(format!("role `{to}` cannot be granted to itself")));
            }
            write.put_grant(record(to, grant, self.rights.user().unwrap_or(OWNER)));
        }
        write.commit().map(drop)
    }

    /// Takes grants back; those that were not granted are an error.
    pub fn revoke(&self, grants: &[Grant], from: &str) -> Result<()> {
        let users = self.storage.users()?;
        find(&users, from)?;
        let held = self.storage.grants()?;
        let mut write = self.storage.begin();
        for grant in grants {
            self.check(grant, &users)?;
            let wanted = record(from, grant, "");
            let same = |found: &&GrantRecord| {
                (&found.grantee, &found.privilege, &found.kind, &found.object)
                    == (&wanted.grantee, &wanted.privilege, &wanted.kind, &wanted.object)
            };
            match held.iter().find(same) {
                Some(found) => {
                    self.rights.revoke(grant, found)?;
                    write.drop_grant(found.clone());
                }
                None => {
                    let what = format!("{}{}", grant.privilege.word(), grant.object.on());
                    return Err(Error::Invalid(format!("`{from}` has no grant {what}; SHOW GRANTS lists what it has")));
                }
            }
        }
        write.commit().map(drop)
    }

    fn check(&self, grant: &Grant, users: &[UserRecord]) -> Result<()> {
        if let Object::Role(role) = &grant.object {
            self.rights.folder("grant roles")?;
            if !find(users, role)?.is_role {
                return Err(Error::Invalid(format!("`{role}` is a user, not a role; CREATE ROLE makes one")));
            }
        }
        self.rights.grant(grant)
    }
}
