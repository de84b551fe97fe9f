//! SQL over tables, procs and runs; files in, rows out.
//!
//! - [`ingest`] reads files as batches; [`import`] commits them as a table.
//! - [`Sql`] executes statements. Queries are planned and executed by DataFusion,
//!   over one snapshot per statement; everything that changes something is ours,
//!   each statement one commit.
//! - [`Answer`] is what a statement gives; [`format`] writes it as a table, CSV,
//!   JSON or Arrow.
//!
//! Callers are plain threads: every call blocks, on a runtime that `Sql` owns.

mod alter;
mod answer;
mod call;
mod change;
mod checked;
mod convert;
mod error;
pub mod format;
mod functions;
mod grants;
mod import;
pub mod ingest;
mod inputs;
mod interruptible;
mod nested;
mod parse;
mod provider;
mod scan;
mod session;
mod statement;
mod system;
mod types;
mod waiting;
mod watch;

use std::sync::Arc;

pub use answer::{Answer, Awaited, Done, Rows};
pub use import::{Import, ImportMode, Progress, delimiter, import};
pub use statement::Statement;
pub use watch::{Caller, Watch};

use crate::base::{Limits, Result, RunId};
use crate::catalog::Catalog;
use crate::run::{Runs, Submission};
use crate::storage::Storage;
use crate::table::Tables;
use provider::View;
use session::Session;
use statement::Kind;
use system::System;

/// Reads statements separated by `;` without executing them.
pub fn parse(text: &str) -> Result<Vec<Statement>> {
    parse::statements(text)
}

/// What statements work on.
pub struct Context {
    /// The tables.
    pub storage: Storage,
    /// The components.
    pub catalog: Catalog,
    /// The runs.
    pub runs: Runs,
    /// Its tables on the device.
    pub tables: Tables,
    /// What a run may use when its caller says nothing.
    pub limits: Limits,
    /// Threads that execute queries.
    pub threads: usize,
}

/// Executes statements for one folder. Cheap to clone; any number of threads may
/// use it at once.
#[derive(Clone)]
pub struct Sql(Arc<Inner>);

struct Inner {
    storage: Storage,
    system: Arc<System>,
    session: Arc<Session>,
}

impl Sql {
    /// Starts the threads of SQL.
    pub fn new(context: Context) -> Result<Self> {
        let Context { storage, catalog, runs, tables, limits, threads } = context;
        let system = Arc::new(System { catalog, runs, tables, limits });
        Ok(Self(Arc::new(Inner { storage, system, session: Arc::new(Session::new(threads.max(1))?) })))
    }

    /// Executes statements separated by `;`, one after the other. All are read
    /// before the first is executed; the first that fails ends it. Rows are made
    /// as they are taken, from the snapshot their statement saw.
    pub fn execute(&self, text: &str) -> Result<Vec<Answer>> {
        let answer = |statement| match self.execute_one(statement, &Caller::default())? {
            Answer::Run(awaited) => awaited.wait().map(Answer::Done),
            answer => Ok(answer),
        };
        parse(text)?.iter().map(answer).collect()
    }

    /// Executes one statement over the newest snapshot, as far as the caller may
    /// and for as long as it wants. A run is not waited for here.
    pub fn execute_one(&self, statement: &Statement, caller: &Caller) -> Result<Answer> {
        let session = &self.0.session;
        let view = &View { calls: statement.1.clone(), ..self.view(caller)? };
        let done = match &statement.0 {
            Kind::Query(query) => return session.query(view, query).map(Answer::Rows),
            Kind::Show(show) => return functions::show(session, view, show),
            Kind::CreateTable(create) => change::create_table(session, view, create),
            Kind::DropTables { tables, absent } => change::drop_tables(view, tables, *absent),
            Kind::SetResidency { table, residency } => change::set_residency(view, table, *residency),
            Kind::Insert(insert) => change::insert(session, view, insert),
            Kind::Delete { table, condition } => change::delete(session, view, table, condition.as_deref()),
            Kind::Update(update) => change::update(session, view, update),
            Kind::Import(statement) => import::statement(view, statement),
            Kind::CreateFunction(create) => functions::create(view, create),
            Kind::AlterFunction(statement) => alter::alter(view, statement),
            Kind::DropFunction { name, absent } => functions::drop(view, name, *absent),
            Kind::Execute(execute) => return functions::execute(session, view, execute),
            Kind::Kill(kill) => functions::kill(view, kill),
            Kind::CreateUser { kind, name } => grants::create_user(view, *kind, name),
            Kind::DropUser { kind, name } => grants::drop_user(view, *kind, name),
            Kind::Grants(statement) => grants::change(view, statement),
        };
        done.map(Answer::Done)
    }

    /// Queues a run; its inputs may be filters and queries.
    pub fn submit(&self, submission: impl Into<Submission>, caller: &Caller) -> Result<RunId> {
        inputs::submit(&self.0.session, &self.view(caller)?, submission.into())
    }

    /// Names that a shell completes: tables, their columns, system tables, procs; of
    /// those that lists show to the caller.
    pub fn names(&self, caller: &Caller) -> Result<Vec<String>> {
        let view = self.view(caller)?;
        let rights = &view.caller.rights;
        let mut names: Vec<String> = system::NAMES.iter().map(|name| format!("{}.{name}", system::SCHEMA)).collect();
        for table in view.snapshot.tables().filter(|table| rights.sees_table(&table.name)) {
            names.push(error::quoted(&table.name));
            names.extend(table.schema.columns().iter().map(|column| error::quoted(&column.name)));
        }
        for found in view.system.catalog.procs()? {
            if rights.sees_function(&found.component.name, Some(&found.proc.name)) {
                names.push(format!("{}.{}", found.component.name, found.proc.name));
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// All tables as the next statement sees them.
    fn view(&self, caller: &Caller) -> Result<View> {
        Ok(View {
            storage: self.0.storage.clone(),
            snapshot: self.0.storage.snapshot()?,
            system: self.0.system.clone(),
            row_ids_of: None,
            session: self.0.session.clone(),
            calls: Arc::default(),
            only_shard: None,
            caller: Caller { watch: caller.watch.clone(), rights: caller.rights.fresh(&self.0.storage)? },
        })
    }
}
