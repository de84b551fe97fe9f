//! Users, roles, and what they may do. Words are kept as the layer `catalog`
//! writes them; what they mean is decided there.

use rusqlite::params;

use crate::base::Result;
use crate::storage::connections::sql;
use crate::storage::{Storage, Write};

/// A user or a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Its name, which users and roles share.
    pub name: String,
    /// Whether it is a role.
    pub is_role: bool,
    /// When it was created, microseconds since 1970.
    pub created_us: i64,
}

/// Something that a user or a role may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// The user or role.
    pub grantee: String,
    /// `SELECT`, `EXECUTE`, …, `OWNER` or `MEMBER`.
    pub privilege: String,
    /// `table`, `function`, `role` or `folder`.
    pub kind: String,
    /// The name of what it is about.
    pub object: String,
    /// Whether the grantee may grant it on.
    pub grantable: bool,
    /// Who gave it.
    pub grantor: String,
}

impl Write {
    /// Adds a user or a role.
    pub fn put_user(&mut self, user: UserRecord) {
        self.record(move |connection| {
            let text = "INSERT INTO quern_user (name, is_role, created_us) VALUES (?1, ?2, ?3)";
            sql(connection.execute(text, params![user.name, user.is_role, user.created_us])).map(drop)
        });
    }

    /// Removes a user or a role, what it was granted, and membership in it.
    /// Components that it owned become the folder owner's, also those of past runs:
    /// another user of that name has no right to them.
    pub fn drop_user(&mut self, name: &str) {
        let name = name.to_owned();
        self.record(move |connection| {
            sql(connection.execute("DELETE FROM quern_user WHERE name = ?1", [&name]))?;
            let text = "UPDATE quern_run SET component_owner = 'owner' WHERE component_owner = ?1";
            sql(connection.execute(text, [&name]))?;
            let text = "DELETE FROM quern_grant WHERE grantee = ?1 OR (kind = 'role' AND object = ?1)";
            sql(connection.execute(text, [&name])).map(drop)
        });
    }

    /// Adds a grant. The same one keeps what it allows, and its grantor unless an
    /// owner grants it now.
    pub fn put_grant(&mut self, grant: GrantRecord) {
        self.record(move |connection| {
            let text = "INSERT INTO quern_grant (grantee, privilege, kind, object, grantable, grantor) \
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
                        grantable = max(grantable, excluded.grantable), grantor = CASE WHEN excluded.grantor = 'owner' \
                        OR EXISTS (SELECT 1 FROM quern_grant own WHERE own.grantee = excluded.grantor AND \
                        own.privilege = 'OWNER' AND own.kind = excluded.kind AND own.object = excluded.object) \
                        THEN excluded.grantor ELSE grantor END";
            let GrantRecord { grantee, privilege, kind, object, grantable, grantor } = &grant;
            sql(connection.execute(text, params![grantee, privilege, kind, object, grantable, grantor])).map(drop)
        });
    }

    /// Removes a grant.
    pub fn drop_grant(&mut self, grant: GrantRecord) {
        self.record(move |connection| {
            let text = "DELETE FROM quern_grant WHERE grantee = ?1 AND privilege = ?2 AND kind = ?3 AND object = ?4";
            sql(connection.execute(text, params![grant.grantee, grant.privilege, grant.kind, grant.object])).map(drop)
        });
    }
}

impl Storage {
    /// All users and roles, by name.
    pub fn users(&self) -> Result<Vec<UserRecord>> {
        self.read(|connection| {
            let mut statement =
                sql(connection.prepare("SELECT name, is_role, created_us FROM quern_user ORDER BY name"))?;
            let rows = statement.query_map([], |row| {
                Ok(UserRecord { name: row.get(0)?, is_role: row.get(1)?, created_us: row.get(2)? })
            });
            sql(sql(rows)?.collect())
        })
    }

    /// All grants, by grantee.
    pub fn grants(&self) -> Result<Vec<GrantRecord>> {
        self.read(|connection| {
            let text = "SELECT grantee, privilege, kind, object, grantable, grantor FROM quern_grant \
                        ORDER BY grantee, kind, object, privilege";
            let mut statement = sql(connection.prepare(text))?;
            let rows = statement.query_map([], |row| {
                Ok(GrantRecord {
                    grantee: row.get(0)?,
                    privilege: row.get(1)?,
                    kind: row.get(2)?,
                    object: row.get(3)?,
                    grantable: row.get(4)?,
                    grantor: row.get(5)?,
                })
            });
            sql(sql(rows)?.collect())
        })
    }
}
