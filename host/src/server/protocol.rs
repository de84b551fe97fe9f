//! What travels between a command and the folder's holder.
//!
//! A client says [`Hello`], the holder answers with its own. Then the client
//! sends requests, one at a time; for each the holder sends any number of events
//! and one reply. A holder that ends says goodbye to the clients that wait for
//! nothing, so that they can go elsewhere. One that only asks answers the hello of
//! who wants to work with "leaving", again and again until the folder is free, and
//! then closes the connection.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use super::view::{ComponentView, CreatedView, LogView, RunView, StartupView};
use crate::base::{Error, RunId};
use crate::catalog::ProcChange;
use crate::database::{ImportDone, ImportRequest, Model, ModelRef};
use crate::device::Listed;
use crate::proc::ComponentRequest;
use crate::run::{KillTarget, Killed, RunRequest, Sweep, SweepStatus};
use crate::sql::Done;
use crate::storage::{RunState, Versions};

/// Version of this protocol. Both sides must speak the same; each understands the
/// hello of any other, so that both can say who speaks what.
pub const PROTOCOL: u32 = 5;

/// What each side says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "HelloFrame", into = "HelloFrame")]
pub struct Hello {
    /// [`PROTOCOL`] of the one who speaks.
    pub protocol: u32,
    /// Its version of quern.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Why it holds the folder; of a client, why it would.
    pub role: Role,
    /// The device that the folder's columns and tensors are on; of a client empty.
    pub device: String,
}

/// A hello as it travels: fields are only ever added, with a default, and the roles
/// are those that every protocol knows.
#[derive(Serialize, Deserialize)]
struct HelloFrame {
    protocol: u32,
    version: String,
    pid: u32,
    role: String,
    /// Since protocol 4: a brief command that leaves the folder to who works.
    #[serde(default)]
    asking: bool,
    #[serde(default)]
    device: String,
}

impl From<Hello> for HelloFrame {
    fn from(hello: Hello) -> Self {
        let Hello { protocol, version, pid, role, device } = hello;
        let word = match role {
            Role::Asking | Role::Brief => "brief",
            Role::Command => "command",
            Role::Server => "server",
        };
        Self { protocol, version, pid, role: word.to_owned(), asking: role == Role::Asking, device }
    }
}

impl From<HelloFrame> for Hello {
    fn from(frame: HelloFrame) -> Self {
        let HelloFrame { protocol, version, pid, role, asking, device } = frame;
        let role = match (role.as_str(), asking) {
            ("brief", true) => Role::Asking,
            ("brief", false) => Role::Brief,
            ("server", _) => Role::Server,
            // Also a role that only a later protocol knows, which is refused anyway.
            _ => Role::Command,
        };
        Self { protocol, version, pid, role, device }
    }
}

impl Hello {
    /// Of this process.
    pub fn ours(role: Role, device: &str) -> Self {
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
        Self { protocol: PROTOCOL, version, pid, role, device: device.to_owned() }
    }
}

/// Why a process holds a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For one command that changes nothing and starts nothing; it leaves the folder
    /// to the first who does.
    Asking,
    /// For one command that is usually over at once.
    Brief,
    /// For one command that may take long; it leaves when that is done.
    Command,
    /// To serve others until it is told to stop, or is idle.
    Server,
}

/// What a command asks of the folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Executes statements. Events: per statement its rows, or what it did; before
    /// that the run it waits for.
    Sql {
        /// One or more statements.
        text: String,
    },
    /// Names that a shell completes.
    Names,
    /// Reads files into a table. Events: progress.
    Import(ImportRequest),
    /// Stores the component in the body.
    CreateComponent(ComponentRequest),
    /// Lets a version of a component answer to its name.
    ActivateComponent {
        /// The component.
        name: String,
        /// Which.
        version: u64,
    },
    /// Lets a component no longer be executed.
    DropComponent {
        /// Its name.
        name: String,
        /// One of its versions, or all of it.
        version: Option<u64>,
    },
    /// Changes what is set for a proc.
    AlterProc {
        /// `proc` or `component.proc`.
        proc: String,
        /// What is changed, in this order.
        changes: Vec<ProcChange>,
    },
    /// The components that can be executed.
    Components {
        /// Active versions, or all.
        which: Versions,
    },
    /// One component by its name or by a proc's name.
    Component {
        /// `component`, `proc` or `component.proc`.
        name: String,
    },
    /// Starts a run.
    Execute(RunRequest),
    /// Starts many runs of one proc.
    Sweep(Sweep),
    /// Tells of the runs of a sweep until all have ended. Events: how they stand.
    FollowSweep {
        /// Their tag.
        tag: String,
        /// The number of the first.
        first: RunId,
    },
    /// Stores a run for every start of a server.
    AddStartup(RunRequest),
    /// The runs stored for every start of a server.
    Startups,
    /// Forgets a run stored for every start of a server.
    RemoveStartup {
        /// Its number.
        id: u64,
    },
    /// Tells of a run until it ends. Events: its state, log lines.
    Follow {
        /// The run.
        run: RunId,
        /// Whether log lines are told of, from the first.
        logs: bool,
    },
    /// Stops runs.
    Kill {
        /// Which.
        target: KillTarget,
        /// Who asks, in words.
        by: String,
    },
    /// The newest runs.
    Runs(RunQuery),
    /// One run with its instances.
    Run {
        /// The run.
        run: RunId,
    },
    /// One result of a run. Events: its bytes, in pieces.
    Result(ResultQuery),
    /// Log lines of a run, as events.
    Logs {
        /// The run.
        run: RunId,
    },
    /// All stored models.
    Models,
    /// The devices of the machine and what is used of them.
    Devices,
    /// The file of one model. Events: its bytes, in pieces.
    ExportModel(ModelRef),
    /// Deletes the row of one model.
    DeleteModel(ModelRef),
}

/// Which result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultQuery {
    /// The run.
    pub run: RunId,
    /// The result's name.
    pub name: String,
    /// Of this instance; merged over all where absent.
    pub shard: Option<u32>,
}

/// Which runs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunQuery {
    /// Only in this state.
    pub state: Option<RunState>,
    /// Only of this proc.
    pub proc: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

/// What happens while a request is handled.
#[derive(Clone, Debug)]
pub enum Event {
    /// Rows begin.
    Schema(SchemaRef),
    /// Some of the rows.
    Batch(RecordBatch),
    /// A statement without rows is done.
    Done(Done),
    /// A statement has queued this run and waits for its end.
    Started(RunId),
    /// Rows that were read.
    Rows {
        /// So far.
        rows: u64,
        /// In all, where known.
        total: Option<u64>,
    },
    /// Where a run stands.
    Run(Box<RunView>),
    /// How the runs of a sweep stand.
    Sweep(SweepStatus),
    /// Lines of a run's log.
    Logs(Vec<LogView>),
    /// A piece of a file.
    Bytes(Vec<u8>),
}

/// What a request leads to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done.
    Done,
    /// Names of tables, columns and procs.
    Names(Vec<String>),
    /// An import is done.
    Imported(ImportDone),
    /// Components.
    Components(Vec<ComponentView>),
    /// What became of a component file.
    Created(Box<CreatedView>),
    /// The full name of a proc.
    Proc(String),
    /// A run was started.
    Started(RunId),
    /// How the runs of a sweep stand.
    Sweep(SweepStatus),
    /// Runs stored for every start of a server, oldest first.
    Startups(Vec<StartupView>),
    /// These runs were stopped.
    Killed(Vec<Killed>),
    /// A run with its instances.
    Run(Box<RunView>),
    /// Runs, the newest first.
    Runs(Vec<RunView>),
    /// Models.
    Models(Vec<Model>),
    /// Devices.
    Devices(Vec<Listed>),
}

/// An error as it is shown, here or at the other end of the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The error and its causes on one line.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let hint = match error {
            Error::NotFound { kind: "folder", .. } => {
                Some("--data or QUERN_DATA names the folder; import, proc create, serve and CREATE TABLE make one")
            }
            Error::NotFound { kind: "run state", .. } => Some("there are queued, running, complete, error and killed"),
            Error::NotFound { suggestion: Some(_), .. } => None,
            Error::NotFound { kind: "table", .. } => Some("`quern sql \"show tables\"` lists the tables"),
            Error::NotFound { kind: "system table", .. } => {
                Some("`quern sql \"show system tables\"` lists them with their columns")
            }
            Error::NotFound { kind: "proc" | "component", .. } => {
                Some("`quern proc list` lists what was created, `quern proc create FILE` adds a component")
            }
            Error::NotFound { kind: "run", .. } => Some("`quern run list` lists the runs"),
            Error::NotFound { kind: "model", .. } => Some("`quern model list` lists the models"),
            Error::Exists { kind: "table", .. } => Some("DROP TABLE drops it; CREATE OR REPLACE TABLE does both"),
            _ => None,
        };
        Self { message: error.chain(), hint: hint.map(str::to_owned) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}
