//! `quern proc create`: a component enters the folder.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::inspect::read_component;
use crate::cli::context::Context;
use crate::cli::report::unexpected;
use crate::database::Replace;
use crate::server::{ComponentView, Reply, Request};

const EXAMPLES: &str = "\
Examples:
  quern proc create my-proc.wasm
  quern proc create build/out.wasm --name my-proc --replace";

/// Create the procs of a component, so that they can be executed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name [default: the file's, without .wasm]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Make a new version of the component of that name
    #[arg(long)]
    replace: bool,
}

impl Create {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let name = match (self.name, self.file.file_stem().and_then(|stem| stem.to_str())) {
            (Some(name), _) => name,
            (None, Some(stem)) => stem.to_owned(),
            (None, None) => bail!("{} gives no name for the component; use --name NAME", self.file.display()),
        };
        let bytes = read_component(&self.file)?;
        let component = create(context, name, bytes, self.replace)?;
        if context.json {
            return context.print_json(&component);
        }
        let procs: Vec<String> = component.procs.iter().map(|p| format!("{}.{}", component.name, p.name)).collect();
        Ok(context.print(&format!(
            "created component {} version {}: {}\n",
            component.name,
            component.version,
            procs.join(", ")
        ))?)
    }
}

/// Stores a component.
pub(crate) fn create(context: &Context, name: String, bytes: Vec<u8>, replace: bool) -> Result<ComponentView> {
    let progress = context.progress(&format!("compiling {name}"));
    let replace = if replace { Replace::Yes } else { Replace::No };
    let reply = context.connection()?.call(Request::CreateComponent { name, replace }, bytes, &mut |_| Ok(()))?;
    progress.finish();
    match reply {
        Reply::Components(components) => {
            components.into_iter().next().ok_or_else(|| unexpected(&Reply::Components(Vec::new())))
        }
        other => Err(unexpected(&other)),
    }
}
