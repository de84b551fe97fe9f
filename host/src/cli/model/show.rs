//! `quern model show`: a model's row and the tensors in it.

use anyhow::Result;
use clap::Args;

use super::export::{ModelArgs, fetch};
use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, Paint, bytes, timestamp};
use crate::database::Model;

const EXAMPLES: &str = "\
Examples:
  quern model show mnist
  quern model show 01935f3c-8f2e-7cc2-b0fd-0d7c3f0e9f6a --json";

/// Show a model: its metadata and tensors
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    #[command(flatten)]
    model: ModelArgs,
}

/// One tensor of a model file.
#[derive(Debug, serde::Serialize)]
struct TensorInfo {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    size_bytes: usize,
}

impl Show {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (view, file) = fetch(context, self.model)?;
        let tensors = tensors(&file)?;
        context
            .show(&serde_json::json!({ "model": view, "tensors": tensors }), || describe(&view, &tensors, context.out))
    }
}

/// The tensors of a safetensors file, in the order of the file.
fn tensors(file: &[u8]) -> Result<Vec<TensorInfo>> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(file)?;
    let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let info = |(name, info): (String, &safetensors::tensor::TensorInfo)| TensorInfo {
        name,
        dtype: format!("{:?}", info.dtype).to_lowercase(),
        shape: info.shape.clone(),
        size_bytes: info.data_offsets.1.saturating_sub(info.data_offsets.0),
    };
    Ok(tensors.into_iter().map(info).collect())
}

fn describe(view: &Model, tensors: &[TensorInfo], paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{}{value}\n", paint.dim(&format!("{name:<11}"))));
    };
    line("model", &view.id);
    line("name", &view.name);
    line("table", &view.table);
    line("created", &format!("{} UTC", timestamp(view.created_us)));
    line("run", &view.run.map_or_else(|| "–".to_owned(), |run| run.to_string()));
    line("size", &view.size_bytes.map_or_else(|| "–".to_owned(), bytes));
    line("sha256", view.sha256.as_deref().unwrap_or("–"));
    let mut grid =
        Grid::new([("tensor", Align::Left), ("dtype", Align::Left), ("shape", Align::Left), ("size", Align::Right)]);
    for tensor in tensors {
        let shape = format!("{:?}", tensor.shape);
        grid.row([tensor.name.clone(), tensor.dtype.clone(), shape, bytes(tensor.size_bytes as u64)]);
    }
    text.push('\n');
    text + &grid.render(paint)
}
