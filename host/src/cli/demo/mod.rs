//! `quern demo`: complete stories on real data.

mod files;
mod mnist;
mod picture;

use anyhow::Result;
use clap::Subcommand;

use super::context::Context;

/// The folder of demos when nothing names one.
pub(crate) const FOLDER: &str = "./demo-data";

/// Watch a whole story on real data
#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    Mnist(mnist::Mnist),
}

impl DemoCommand {
    /// Tells the story.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        match self {
            Self::Mnist(command) => command.run(context),
        }
    }
}
