//! `quern model list`.

use anyhow::Result;
use clap::Args;

use super::models;
use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, bytes, since};

const EXAMPLES: &str = "\
Examples:
  quern model list
  quern model list --json";

/// List the models in all model tables
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_help = EXAMPLES)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let models = models(context)?;
        if context.json {
            return context.print_json(&models);
        }
        if models.is_empty() {
            context.note("no models; procs save them in model tables");
            return Ok(());
        }
        let mut grid = Grid::new([
            ("id", Align::Left),
            ("name", Align::Left),
            ("table", Align::Left),
            ("size", Align::Right),
            ("created", Align::Left),
            ("run", Align::Right),
        ]);
        for model in &models {
            grid.row([
                model.id.clone(),
                model.name.clone(),
                model.table.clone(),
                model.size_bytes.map_or_else(|| "–".to_owned(), bytes),
                since(model.created_us),
                model.run.map_or_else(|| "–".to_owned(), |run| run.to_string()),
            ]);
        }
        Ok(context.print(&grid.render(context.out))?)
    }
}
