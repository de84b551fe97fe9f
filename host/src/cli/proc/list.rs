//! `quern proc list`.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, bytes, since};
use crate::cli::report::unexpected;
use crate::server::{Reply, Request};

const EXAMPLES: &str = "\
Examples:
  quern proc list
  quern proc list --json";

/// List the procs that can be executed
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_help = EXAMPLES)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let components = match context.connection()?.call(Request::Components, Vec::new(), &mut |_| Ok(()))? {
            Reply::Components(components) => components,
            other => return Err(unexpected(&other)),
        };
        if context.json {
            return context.print_json(&components);
        }
        if components.is_empty() {
            context.note("no procs; `quern proc new NAME` starts one, `quern proc create FILE` adds one");
            return Ok(());
        }
        let mut grid = Grid::new([
            ("proc", Align::Left),
            ("mode", Align::Left),
            ("version", Align::Right),
            ("size", Align::Right),
            ("created", Align::Left),
            ("description", Align::Left),
        ]);
        for component in &components {
            for proc in &component.procs {
                grid.row([
                    format!("{}.{}", component.name, proc.name),
                    proc.mode.to_string(),
                    component.version.to_string(),
                    bytes(component.size_bytes),
                    since(component.created_us),
                    proc.doc.clone(),
                ]);
            }
        }
        Ok(context.print(&grid.render(context.out))?)
    }
}
