//! `quern proc activate`: back to an older version, or on to one that was tried.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern proc list --versions
  quern proc activate mnist 1      mnist.train is version 1's from now on";

/// Let a version of a component answer to its name
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Activate {
    /// The component
    #[arg(value_name = "COMPONENT")]
    component: String,
    /// Which version
    #[arg(value_name = "VERSION")]
    version: u32,
}

impl Activate {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = Request::ActivateComponent { name: self.component, version: self.version.into() };
        let components = context.connection()?.ask(request)?.components()?;
        context.show(&components.first(), || {
            let line =
                |c: &crate::server::ComponentView| format!("component {} version {} is active\n", c.name, c.version);
            components.iter().map(line).collect::<String>()
        })
    }
}
