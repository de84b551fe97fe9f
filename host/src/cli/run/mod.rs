//! `quern run`: what was executed, and what is executing.

mod kill;
mod list;
mod logs;
mod result;
mod show;
mod watch;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

pub(crate) use kill::{goes_on, kill};
pub(crate) use logs::log_line;
pub(crate) use show::{painted_state, receipts, result};

/// Look at runs, follow and kill them
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    List(list::List),
    Show(show::Show),
    Logs(logs::Logs),
    Result(result::RunResult),
    Watch(watch::Watch),
    Kill(kill::Kill),
}

impl RunCommand {
    /// Does what the subcommand says.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Logs(command) => command.run(context),
            Self::Result(command) => command.run(context),
            Self::Watch(command) => command.run(context),
            Self::Kill(command) => command.run(context),
        }
    }
}
