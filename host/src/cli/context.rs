//! What every subcommand has: the folder, how to show things, the connection.

use std::cell::OnceCell;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{ArgAction, Args};

use super::args::{Cores, CreationLimitArg, EmptyIsNone};
use super::interrupt;
use super::output::{ColorChoice, Paint, Progress};
use crate::base::{Error, closest, data_folder};
use crate::database::Options;
use crate::device::Choice;
use crate::server::{Connection, LOCK_FILE, Patience, Role};
use crate::storage::CATALOG_FILE;

/// How long to wait for other terminals before saying so.
const QUIET_WAIT: Duration = Duration::from_secs(1);

/// What to do where the folder is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Refuse,
    Create,
}

/// Arguments of every subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The folder with the tables [default: $QUERN_DATA, else ./quern-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Act as this user of the folder instead of as its owner
    #[arg(long, global = true, env = "QUERN_USER", value_name = "NAME", hide_env = true)]
    pub(crate) user: Option<String>,
    /// Write results as JSON, for scripts
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    pub(crate) json: bool,
    /// Say nothing beside results and errors
    #[arg(long, short, global = true, action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Where tables and tensors are: cpu, cuda:0 (or another number), or best, the GPU
    /// with the most memory, else the processor [default: $QUERN_DEVICE, else what
    /// quern.toml in the folder says, else best]
    #[arg(long, global = true, env = "QUERN_DEVICE", value_name = "DEVICE", hide_env = true)]
    pub(crate) device: Option<EmptyIsNone<Choice>>,
    /// Threads for tensor work [default: $QUERN_CORES, else as quern.toml says, else all cores]
    #[arg(long, global = true, env = "QUERN_CORES", value_name = "N", hide_env = true)]
    pub(crate) cores: Option<EmptyIsNone<Cores>>,
    /// Another limit for the folder and its runs while this process holds it, for
    /// example running_instances=128 [default: $QUERN_LIMITS, with commas between them]
    #[arg(long, global = true, env = "QUERN_LIMITS", value_name = "NAME=N", hide_env = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) folder_limit: Vec<EmptyIsNone<CreationLimitArg>>,
}

/// The parsed global arguments as usable values.
pub(crate) struct Context {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// `--json`.
    pub(crate) json: bool,
    /// `--quiet`.
    pub(crate) quiet: bool,
    /// Colours of standard output.
    pub(crate) out: Paint,
    /// Colours of standard error.
    pub(crate) err: Paint,
    /// Whether standard output is a terminal.
    pub(crate) out_terminal: bool,
    /// Whether progress can be drawn on standard error.
    pub(crate) err_terminal: bool,
    options: Options,
    user: Option<String>,
    connection: OnceCell<Arc<Connection>>,
}

impl Context {
    /// Of the global arguments.
    pub(crate) fn new(global: Global) -> Self {
        Self {
            folder: data_folder(global.data),
            json: global.json,
            quiet: global.quiet,
            out: Paint::new(global.color, &std::io::stdout()),
            err: Paint::new(global.color, &std::io::stderr()),
            out_terminal: std::io::stdout().is_terminal(),
            err_terminal: std::io::stderr().is_terminal(),
            options: Options {
                device: global.device.and_then(|device| device.0),
                cores: global.cores.and_then(|cores| cores.0).map(|cores| cores.0),
                limits: global
                    .folder_limit
                    .into_iter()
                    .filter_map(|limit| limit.0)
                    .map(|CreationLimitArg(limit)| (limit.name, limit.value))
                    .collect(),
            },
            user: global.user.filter(|user| !user.is_empty()),
            connection: OnceCell::new(),
        }
    }

    /// `--device`.
    pub(crate) fn device(&self) -> Choice {
        self.options.device.unwrap_or_default()
    }

    /// `--cores`.
    pub(crate) fn cores(&self) -> Option<usize> {
        self.options.cores
    }

    /// The connection to the folder's holder, which may be this process. A folder
    /// that is missing is an error.
    pub(crate) fn connection(&self) -> Result<&Connection> {
        self.connection_as(Role::Brief)
    }

    /// The connection of a command that changes nothing and starts nothing: it keeps
    /// nobody from work in the folder. A folder that is missing is an error.
    pub(crate) fn asking_connection(&self) -> Result<&Connection> {
        self.connection_as(Role::Asking)
    }

    /// The connection to the folder's holder, shared with another thread.
    pub(crate) fn shared_connection(&self) -> Result<Arc<Connection>> {
        self.connection()?;
        self.connection.get().cloned().context("the connection is gone")
    }

    /// The connection to the folder's holder. Where this process becomes the holder, it
    /// is so in this role; a folder that is missing is an error.
    /// The first call decides.
    pub(crate) fn connection_as(&self, role: Role) -> Result<&Connection> {
        self.connect(role, Missing::Refuse)
    }

    /// The connection to the folder's holder, for what writes: a folder that is missing
    /// is created.
    pub(crate) fn creating_connection(&self, role: Role) -> Result<&Connection> {
        self.connect(role, Missing::Create)
    }

    fn connect(&self, role: Role, missing: Missing) -> Result<&Connection> {
        if let Some(connection) = self.connection.get() {
            return Ok(connection);
        }
        let is_new = !self.folder.exists();
        if is_new && missing == Missing::Refuse {
            return Err(self.no_folder());
        }
        if missing == Missing::Refuse {
            self.refuse_foreign()?;
        }
        let connection = Connection::open(&self.folder, &self.options, role)?.as_user(self.user.clone());
        if is_new {
            self.note(&format!("created the folder {}", self.folder.display()));
        }
        if connection.remote_holder().is_none() {
            let device = self.options.in_folder(&self.folder)?.device;
            if let Some(regret) = device.unwrap_or_default().regret() {
                self.note(&format!("warning: {regret}"));
            }
        }
        Ok(self.connection.get_or_init(|| Arc::new(connection)))
    }

    /// Refuses a folder of other files, in which nobody who only asks makes a database.
    fn refuse_foreign(&self) -> Result<()> {
        let Ok(mut entries) = std::fs::read_dir(&self.folder) else { return Ok(()) };
        if entries.next().is_none() || self.folder.join(CATALOG_FILE).exists() {
            return Ok(());
        }
        // A holder that has just begun has its lock before its catalog.
        if self.folder.join(LOCK_FILE).exists() {
            return Ok(());
        }
        let folder = self.folder.display();
        bail!(
            "folder `{folder}` has other files and no {CATALOG_FILE}: it is none of Quern's; name another with --data"
        )
    }

    /// The error for a folder that is not there, with the one beside it that was meant.
    fn no_folder(&self) -> anyhow::Error {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let beside = std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
        let folders = beside.map(|entry| entry.path()).filter(|path| path.join(LOCK_FILE).exists());
        let suggestion = closest(&name(&self.folder), folders.map(|path| name(&path)));
        let (kind, within) = ("folder", None);
        Error::NotFound { kind, name: self.folder.display().to_string(), within, suggestion }.into()
    }

    /// A connection to a holder that outlives this process.
    pub(crate) fn detached(&self) -> Result<Connection> {
        if !self.folder.exists() {
            return Err(self.no_folder());
        }
        self.refuse_foreign()?;
        Ok(Connection::open_detached(&self.folder, &self.options)?.as_user(self.user.clone()))
    }

    /// Stops holding the folder, after what other terminals asked for is done.
    pub(crate) fn close(&self) -> Result<()> {
        if let Some(connection) = self.connection.get() {
            let (mut told, began) = (false, Instant::now());
            connection.close(&mut |needed_for| {
                if !told && !interrupt::asked() && began.elapsed() > QUIET_WAIT {
                    told = true;
                    // Also where nothing else is said: it looks as if the command hung.
                    eprintln!("{}", self.err.dim(&format!("waiting for {needed_for}; Ctrl-C ends them")));
                    interrupt::listen();
                }
                if interrupt::asked() { Patience::Kill } else { Patience::Wait }
            })?;
        }
        Ok(())
    }

    /// A line beside the results.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            eprintln!("{}", self.err.dim(text));
        }
    }

    /// A progress bar for work that may take longer than a second.
    pub(crate) fn progress(&self, label: &str) -> Progress {
        match self.err_terminal && !self.quiet {
            true => Progress::new(self.err, label),
            false => Progress::hidden(self.err, label),
        }
    }

    /// Writes a result.
    pub(crate) fn print(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes a result: `value` with `--json`, else what `text` says.
    pub(crate) fn show(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        match self.json {
            true => self.print_json(value),
            false => Ok(self.print(&text())?),
        }
    }

    /// Writes a result as one line of JSON.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string(value)?;
        Ok(self.print(&(text + "\n"))?)
    }
}
