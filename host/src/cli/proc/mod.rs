//! `quern proc`: from a new project to a run.

mod activate;
mod alter;
mod build;
mod create;
mod delete;
mod execute;
mod inspect;
mod list;
mod new;
mod show;
mod sweep;
mod test;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

pub(crate) use build::build;
pub(crate) use create::create;
pub(crate) use execute::{check, follow, start};

/// Write, build, create, execute and delete procs
#[derive(Debug, Subcommand)]
pub(crate) enum ProcCommand {
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Inspect(inspect::Inspect),
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Activate(activate::Activate),
    Alter(alter::Alter),
    Execute(execute::Execute),
    Delete(delete::Delete),
}

impl ProcCommand {
    /// Does what the subcommand says.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::New(command) => command.run(context),
            Self::Build(command) => command.run(context),
            Self::Test(command) => command.run(context),
            Self::Inspect(command) => command.run(context),
            Self::Create(command) => command.run(context),
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Activate(command) => command.run(context),
            Self::Alter(command) => command.run(context),
            Self::Execute(command) => command.run(context),
            Self::Delete(command) => command.run(context),
        }
    }
}
