//! `quern proc delete`.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern proc delete my-proc";

/// Delete a component with its procs; past runs stay
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// The component
    #[arg(value_name = "COMPONENT")]
    component: String,
}

impl Delete {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = Request::DropComponent { name: self.component.clone() };
        context.connection()?.call(request, Vec::new(), &mut |_| Ok(()))?;
        match context.json {
            true => context.print_json(&serde_json::json!({ "deleted": self.component })),
            false => Ok(context.print(&format!("deleted component {}\n", self.component))?),
        }
    }
}
