//! `quern proc build`: Rust to a component.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;

const EXAMPLES: &str = "\
Examples:
  quern proc build                     the project in this folder
  quern proc build udfs/mnist --out mnist.wasm";

/// Build a component from a proc's project
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Build {
    /// The project's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Where the component goes [default: NAME.wasm in the project]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}
