//! `quern proc delete`.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern proc delete my-proc
  quern proc delete my-proc --version 1";

/// Delete a component with its procs, or one version of it; runs stay and go on
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// The component
    #[arg(value_name = "COMPONENT")]
    component: String,
    /// Only this version, which must not be the active one
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

impl Delete {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let version = self.version.map(u64::from);
        let request = Request::DropComponent { name: self.component.clone(), version };
        context.connection()?.ask(request)?;
        let which = version.map(|version| format!(" version {version}")).unwrap_or_default();
        context.show(&serde_json::json!({ "deleted": self.component, "version": version }), || {
            format!("deleted component {}{which}\n", self.component)
        })
    }
}
