//! `quern proc create`: a component enters the folder.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::alter::Bound;
use super::inspect::{read_component, report};
use crate::catalog::Activation;
use crate::cli::args::{CreationLimitArg, Pair};
use crate::cli::context::Context;
use crate::proc::{CodeCache, ComponentRequest, Purpose};
use crate::server::{CreatedView, Request, Role};

const EXAMPLES: &str = "\
Examples:
  quern proc create my-proc.wasm
  quern proc create my-proc.wasm --dry-run          the same report, nothing is stored
  quern proc create build/out.wasm --name my-proc   a new version where my-proc exists
  quern proc create my-proc.wasm --inactive         a version to try: execute PROC --version N
  quern proc create my-proc.wasm --max-concurrency train=2";

/// Create the procs of a component, so that they can be executed
///
/// Checks the file step by step and prints what it found. A component of that
/// name gets a new version, which becomes the active one; the same bytes again
/// change nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name [default: the file's, without .wasm]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Check everything and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Add the version without making it the active one
    #[arg(long)]
    inactive: bool,
    /// Let only N instances of a proc run at the same time, over all its runs; repeatable
    #[arg(long, value_name = "PROC=N")]
    max_concurrency: Vec<Pair>,
    /// Another value for a limit, for example compile_cpu_ms; repeatable
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<CreationLimitArg>,
}

impl Create {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let name = match (self.name, self.file.file_stem().and_then(|stem| stem.to_str())) {
            (Some(name), _) => name,
            (None, Some(stem)) => stem.to_owned(),
            (None, None) => bail!("{} gives no name for the component; use --name NAME", self.file.display()),
        };
        let bounds = self.max_concurrency.into_iter().map(|pair| {
            let bound: Bound = pair.value.parse().map_err(anyhow::Error::msg)?;
            Ok((pair.name, bound.instances()))
        });
        let request = ComponentRequest {
            activation: if self.inactive { Activation::Later } else { Activation::Now },
            purpose: if self.dry_run { Purpose::DryRun } else { Purpose::Store },
            limits: self.limits.into_iter().map(|CreationLimitArg(limit)| (limit.name, limit.value)).collect(),
            max_concurrency: bounds.collect::<Result<_>>()?,
            ..ComponentRequest::new(name)
        };
        let bytes = read_component(&self.file)?;
        let created = create(context, request, bytes)?;
        if context.json {
            return context.print_json(&created);
        }
        let mut text = match context.quiet {
            true => String::new(),
            false => report(&created.report, context.out) + "\n",
        };
        let procs: Vec<String> =
            created.report.procs.iter().map(|proc| format!("{}.{}", created.name, proc.name)).collect();
        text.push_str(&format!("{}: {}\n", created.message, procs.join(", ")));
        Ok(context.print(&text)?)
    }
}

/// Stores a component, or only tells what it is.
pub(crate) fn create(context: &Context, request: ComponentRequest, bytes: Vec<u8>) -> Result<CreatedView> {
    let progress = context.progress(&format!("compiling {}", request.name));
    if request.purpose == Purpose::DryRun && !context.folder.exists() {
        // A folder that does not exist is not made for this.
        let previewed = request.preview(&bytes, CodeCache::of_user().as_ref())?;
        progress.finish();
        return Ok(previewed.into());
    }
    let connection = context.creating_connection(Role::Brief)?;
    let reply = connection.call(Request::CreateComponent(request), bytes, &mut |_| Ok(()))?;
    progress.finish();
    Ok(*reply.created()?)
}
