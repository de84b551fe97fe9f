//! `quern proc build`: Rust to a component.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::output::{bytes, duration};
use crate::proc::build::Built;

const EXAMPLES: &str = "\
Examples:
  quern proc build                     the project in this folder
  quern proc build udfs/mnist --out mnist.wasm";

/// Build a component from a proc's project
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Build {
    /// The project's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Where the component goes [default: NAME.wasm in FOLDER]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Build {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let built = build(context, &self.folder, self.out.as_deref())?;
        context.show(&serde_json::json!({ "component": built.path, "size_bytes": built.size_bytes }), || {
            let (size, time) = (bytes(built.size_bytes), duration(built.elapsed));
            format!("built {}, {size} in {time}\n", built.path.display())
        })
    }
}

/// Builds, and shows cargo's lines as progress.
pub(crate) fn build(context: &Context, folder: &Path, out: Option<&Path>) -> Result<Built> {
    let mut progress = context.progress(&format!("building {}", folder.display()));
    let built = crate::proc::build::build(folder, out, &mut |line| progress.set(None, line))?;
    progress.finish();
    Ok(built)
}
