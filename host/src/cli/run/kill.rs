//! `quern run kill`.

use anyhow::Result;
use clap::Args;

use crate::base::RunId;
use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern run kill 7
  quern run kill 7 8 9";

/// Kill runs; nothing of what they made is kept
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Kill {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<u64>,
}

impl Kill {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let connection = context.connection()?;
        let by = format!("`quern run kill` of process {}", std::process::id());
        for run in self.runs {
            connection.call(Request::Kill { run: RunId(run), by: by.clone() }, Vec::new(), &mut |_| Ok(()))?;
            match context.json {
                true => context.print_json(&serde_json::json!({ "killed": run }))?,
                false => context.print(&format!("killed run {run}\n"))?,
            }
        }
        Ok(())
    }
}
