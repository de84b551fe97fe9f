//! `quern model`: the models that procs have saved.

mod delete;
mod export;
mod list;
mod show;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;
use crate::database::Model;
use crate::server::Request;

/// List, export and delete models
#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    List(list::List),
    Show(show::Show),
    Export(export::Export),
    Delete(delete::Delete),
}

impl ModelCommand {
    /// Does what the subcommand says.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::List(command) => command.run(context),
            Self::Show(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Delete(command) => command.run(context),
        }
    }
}

/// All models, oldest first.
fn models(context: &Context) -> Result<Vec<Model>> {
    Ok(context.asking_connection()?.ask(Request::Models)?.models()?)
}
