//! `quern model export`: a model as a safetensors file.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::base::Error;
use crate::cli::context::Context;
use crate::cli::output::bytes;
use crate::database::{Model, ModelRef};
use crate::proc::build::write_whole;
use crate::server::{Event, Request};

const EXAMPLES: &str = "\
Examples:
  quern model export mnist mnist.safetensors
  python -c \"import safetensors.numpy as s; print(s.load_file('mnist.safetensors').keys())\"";

/// Write a model to a safetensors file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Overwrite the file if there is one
    #[arg(long)]
    force: bool,
}

/// Which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct ModelArgs {
    /// The model's id, or its name for the newest of that name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Its table, where several have a model of that name
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

impl ModelArgs {
    /// As requests have it.
    pub(crate) fn into_ref(self) -> ModelRef {
        ModelRef { model: self.model, table: self.table }
    }
}

impl Export {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        if self.file.exists() && !self.force {
            bail!("{} exists already; use --force to overwrite it", self.file.display());
        }
        let (view, file) = fetch(context, self.model)?;
        write_whole(&self.file, &file)?;
        if context.json {
            return context.print_json(&serde_json::json!({ "model": view, "file": self.file }));
        }
        let size = bytes(file.len() as u64);
        Ok(context.print(&format!(
            "exported model {} ({}) to {}, {size}\n",
            view.name,
            view.id,
            self.file.display()
        ))?)
    }
}

/// A model and its file.
pub(crate) fn fetch(context: &Context, model: ModelArgs) -> Result<(Model, Vec<u8>)> {
    let mut file = Vec::new();
    let reply =
        context.asking_connection()?.call(Request::ExportModel(model.into_ref()), Vec::new(), &mut |event| {
            if let Event::Bytes(piece) = event {
                file.extend_from_slice(&piece);
            }
            Ok(())
        })?;
    let model = reply.models()?.into_iter().next();
    Ok((model.ok_or_else(|| Error::Internal("a reply without the model".into()))?, file))
}
