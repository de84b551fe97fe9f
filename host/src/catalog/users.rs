//! Users, roles and what is granted to them, as they are changed.

use super::grants::{Grant, OWNER, Object, Rights, find, record};
use crate::base::{Error, Result, check_name};
use crate::storage::{GrantRecord, Storage, UserRecord};

/// Who acts, or a name for what several may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserKind {
    /// Acts.
    User,
    /// Has members.
    Role,
}

impl UserKind {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
        }
    }
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
    pub fn create(&self, kind: UserKind, name: &str, now_us: i64) -> Result<()> {
        self.rights.folder("create users and roles")?;
        check_name("user", name)?;
        if name == OWNER {
            return Err(Error::Invalid(format!("`{OWNER}` is the folder's owner; choose another name")));
        }
        if self.storage.users()?.iter().any(|user| user.name == name) {
            return Err(Error::Exists { kind: "user or role", name: name.to_owned() });
        }
        let mut write = self.storage.begin();
        write.put_user(UserRecord { name: name.to_owned(), is_role: kind == UserKind::Role, created_us: now_us });
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
