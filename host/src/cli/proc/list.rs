//! `quern proc list`.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, bytes, since};
use crate::server::{ComponentView, Request};
use crate::storage::Versions;

/// Digits of a sha256 that tell versions apart.
const SHOWN_HEX: usize = 12;

const EXAMPLES: &str = "\
Examples:
  quern proc list
  quern proc list --versions      also those that are not active
  quern proc list --json";

/// List the procs that can be executed
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_help = EXAMPLES)]
pub(crate) struct List {
    /// List the versions of components instead, also those that are not active
    #[arg(long)]
    versions: bool,
}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let which = if self.versions { Versions::Kept } else { Versions::Active };
        let request = Request::Components { which };
        let components = context.asking_connection()?.ask(request)?.components()?;
        if context.json {
            return context.print_json(&components);
        }
        if components.is_empty() {
            context.note("no procs; `quern proc new NAME` starts one, `quern proc create FILE` adds one");
            return Ok(());
        }
        let grid = if self.versions { versions(&components) } else { procs(&components) };
        Ok(context.print(&grid.render(context.out))?)
    }
}

fn versions(components: &[ComponentView]) -> Grid {
    let mut grid = Grid::new([
        ("component", Align::Left),
        ("version", Align::Right),
        ("active", Align::Left),
        ("size", Align::Right),
        ("created", Align::Left),
        ("sha256", Align::Left),
        ("procs", Align::Left),
    ]);
    for component in components {
        let procs: Vec<&str> = component.procs.iter().map(|proc| proc.name.as_str()).collect();
        grid.row([
            component.name.clone(),
            component.version.to_string(),
            if component.active { "active" } else { "" }.to_owned(),
            bytes(component.size_bytes),
            since(component.created_us),
            component.sha256.chars().take(SHOWN_HEX).collect(),
            procs.join(", "),
        ]);
    }
    grid
}

fn procs(components: &[ComponentView]) -> Grid {
    let mut grid = Grid::new([
        ("proc", Align::Left),
        ("mode", Align::Left),
        ("version", Align::Right),
        ("size", Align::Right),
        ("created", Align::Left),
        ("description", Align::Left),
    ]);
    for component in components {
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
    grid
}
