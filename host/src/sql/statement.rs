//! The statements: what each one says, read but not yet resolved.

use std::sync::Arc;

/// What DataFusion plans.
pub(super) use datafusion::sql::parser::Statement as Planned;

use crate::base::{Residency, Schema, Sharding};
use crate::catalog::{Privilege, UserKind};
use crate::run::Bytes;

/// One statement.
#[derive(Debug)]
pub struct Statement(pub(super) Kind, pub(super) Arc<Vec<Call>>);

impl Statement {
    /// Whether it only reads.
    pub fn is_query(&self) -> bool {
        matches!(self.0, Kind::Query(_) | Kind::Show(_))
    }

    /// Whether it starts no run either, as a query of a proc's rows does.
    pub fn only_asks(&self) -> bool {
        self.is_query() && self.1.is_empty()
    }
}

/// A proc that a query reads as a table.
#[derive(Debug)]
pub(super) struct Call {
    /// What stands for it in the query.
    pub name: String,
    /// As it was typed.
    pub text: String,
    pub execute: Execute,
}

/// What a statement does.
#[derive(Debug)]
pub(super) enum Kind {
    /// `SELECT`, `WITH`, `VALUES`, `EXPLAIN`: DataFusion plans it.
    Query(Box<Planned>),
    CreateTable(CreateTable),
    DropTables {
        tables: Vec<TableName>,
        absent: Absent,
    },
    /// `ALTER TABLE t SET RESIDENCY …`.
    SetResidency {
        table: TableName,
        residency: Residency,
    },
    Insert(Insert),
    /// `DELETE` and `TRUNCATE`; all rows without a condition.
    Delete {
        table: TableName,
        condition: Option<String>,
    },
    Update(Update),
    Import(Import),
    Show(Show),
    CreateFunction(CreateFunction),
    AlterFunction(AlterFunction),
    DropFunction {
        name: String,
        absent: Absent,
    },
    Execute(Execute),
    CreateUser {
        kind: UserKind,
        name: String,
    },
    DropUser {
        kind: UserKind,
        name: String,
    },
    Grants(GrantStatement),
    Kill(Kill),
}

/// A table, perhaps with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    /// `main` when nothing is said.
    pub schema: String,
    pub name: String,
}

/// `CREATE TABLE`.
#[derive(Debug)]
pub(super) struct CreateTable {
    pub table: TableName,
    /// The columns, or none when the query gives them.
    pub schema: Option<Schema>,
    pub query: Option<Box<Planned>>,
    /// Decided by the columns when absent.
    pub sharding: Option<Sharding>,
    pub shards: Option<u32>,
    pub if_not_exists: bool,
    pub or_replace: bool,
}

/// `INSERT INTO`.
#[derive(Debug)]
pub(super) struct Insert {
    pub table: TableName,
    /// The columns that values are given for; all when empty.
    pub columns: Vec<String>,
    pub query: Box<Planned>,
}

/// `UPDATE`: expressions in SQL text, the condition as well.
#[derive(Debug)]
pub(super) struct Update {
    pub table: TableName,
    pub assignments: Vec<(String, String)>,
    pub condition: Option<String>,
}

/// `IMPORT`, `COPY … FROM`.
#[derive(Debug)]
pub(super) struct Import {
    pub table: TableName,
    pub files: Vec<String>,
    /// `WITH (name = value, …)`.
    pub options: Vec<(String, String)>,
}

/// `SHOW` and `DESCRIBE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Tables,
    /// Those of schema `quern`.
    SystemTables,
    Columns(TableName),
    /// Of one user or role, or all.
    Grants(Option<String>),
    /// Of one component or proc, or all.
    Functions(Option<String>),
    /// What a proc reads, writes and takes.
    Function(Option<String>),
    FunctionStatus {
        verbose: bool,
        run: Option<u64>,
    },
}

/// `CREATE FUNCTION`.
#[derive(Debug)]
pub(super) struct CreateFunction {
    pub name: String,
    pub files: Vec<String>,
    pub or_replace: bool,
    /// `WITH OPTIONS (name = value, …)`.
    pub options: Vec<(String, String)>,
}

/// `ALTER FUNCTION`.
#[derive(Debug)]
pub(super) struct AlterFunction {
    pub name: String,
    pub change: FunctionChange,
}

/// What `ALTER FUNCTION` changes.
#[derive(Debug)]
pub(super) enum FunctionChange {
    /// `ACTIVATE VERSION n`.
    Activate(u64),
    /// `SET name = value, …`: the bound on concurrent instances, limits.
    Set(Vec<(String, String)>),
}

/// `KILL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kill {
    /// `KILL RUN 7`.
    Run(u64),
    /// `KILL RUNS TAG 'nightly'`.
    Tag(String),
    /// `KILL ALL RUNS`.
    All,
    /// `KILL STARTUP 1`.
    Startup(u64),
}

/// `EXECUTE FUNCTION`.
#[derive(Debug, Default)]
pub(super) struct Execute {
    pub proc: String,
    pub inputs: Vec<ExecuteInput>,
    pub outputs: Vec<String>,
    pub params: Vec<(String, String)>,
    pub binary_params: Vec<(String, Bytes)>,
    pub options: Vec<(String, String)>,
}

/// An input of `EXECUTE FUNCTION`.
#[derive(Debug)]
pub(super) enum ExecuteInput {
    /// A table: the columns named, or all.
    Table(TableName, Option<Vec<String>>),
    /// What a query gives.
    Query(Box<Planned>),
}

/// `GRANT` and `REVOKE`.
#[derive(Debug)]
pub(super) struct GrantStatement {
    pub grants: Grants,
    pub on: GrantOn,
    pub grantee: String,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grants {
    Grant { grantable: bool },
    Revoke,
}

/// What is granted.
#[derive(Debug)]
pub(super) enum GrantOn {
    CreateFunction,
    Role(String),
    Table(Vec<Privilege>, TableName),
    /// A component, a proc, or all: `*`.
    Function(Vec<Privilege>, String),
}

/// What `DROP` does about what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Refuse,
    /// `IF EXISTS`.
    Ignore,
}
