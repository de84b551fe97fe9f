//! `quern proc new`: a project to start from.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;

const EXAMPLES: &str = "\
Examples:
  quern proc new my-proc
  cd my-proc && quern proc build && quern proc create my-proc.wasm";

/// Write a new proc's project: Cargo.toml and a proc that works
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct New {
    /// The folder to make; its last part is the proc's name
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl New {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let name = crate::proc::template::create(&self.folder)?;
        if context.json {
            return context.print_json(&serde_json::json!({ "name": name, "folder": self.folder }));
        }
        context.print(&format!("created proc {name} in {}\n", self.folder.display()))?;
        context.note(&format!("next: cd {} && quern proc build", self.folder.display()));
        Ok(())
    }
}
