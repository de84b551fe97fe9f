//! `quern model delete`.

use anyhow::Result;
use clap::Args;

use super::export::ModelArgs;
use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern model delete 01935f3c-8f2e-7cc2-b0fd-0d7c3f0e9f6a
  quern model delete mnist --table mnist_train_output";

/// Delete a model's row
#[derive(Debug, Args)]
#[command(visible_alias = "rm", after_help = EXAMPLES)]
pub(crate) struct Delete {
    #[command(flatten)]
    model: ModelArgs,
}

impl Delete {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = Request::DeleteModel(self.model.into_ref());
        let models = context.connection()?.ask(request)?.models()?;
        for model in models {
            match context.json {
                true => context.print_json(&serde_json::json!({ "deleted": model }))?,
                false => {
                    context.print(&format!("deleted model {} ({}) from {}\n", model.name, model.id, model.table))?
                }
            }
        }
        Ok(())
    }
}
