//! `quern proc inspect`: what a component file is, before it is created.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::show::describe_procs;
use crate::base::{Error, Limits};
use crate::cli::context::Context;
use crate::cli::output::bytes;
use crate::proc::{Engine, inspect};
use crate::server::InspectionView;

const EXAMPLES: &str = "\
Examples:
  quern proc inspect target/my-proc.wasm
  quern proc inspect my-proc.wasm --json";

/// Look at a component file: what it imports, what it may do, its procs
///
/// Uses no folder and executes nothing but the component's description of itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let bytes = read_component(&self.file)?;
        let found = inspect(Engine::get()?, &self.file.display().to_string(), &bytes, &Limits::default())?;
        let view = InspectionView::from(found);
        if context.json {
            return context.print_json(&view);
        }
        Ok(context.print(&describe(&view, context))?)
    }
}

/// The bytes of a component file.
pub(crate) fn read_component(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| Error::io("read", file, e).into())
}

fn describe(view: &InspectionView, context: &Context) -> String {
    let paint = context.out;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{}{value}\n", paint.dim(&format!("{name:<11}"))));
    };
    line("sha256", &view.sha256);
    line("size", &bytes(view.size_bytes));
    line("may", &view.capabilities);
    for (i, import) in view.imports.iter().enumerate() {
        line(if i == 0 { "imports" } else { "" }, import);
    }
    for (i, export) in view.exports.iter().enumerate() {
        line(if i == 0 { "exports" } else { "" }, export);
    }
    text.push('\n');
    text.push_str(&describe_procs(&view.procs, paint));
    text
}
