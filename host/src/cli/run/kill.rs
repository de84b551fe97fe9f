//! `quern run kill`.

use anyhow::{Result, bail};
use clap::Args;

use crate::base::RunId;
use crate::cli::args::parse_run;
use crate::cli::context::Context;
use crate::run::{KillTarget, Killed};
use crate::server::{Connection, Request};

const EXAMPLES: &str = "\
Examples:
  quern run kill 7
  quern run kill 7 8 9
  quern run kill --tag nightly
  quern run kill --all
  quern run kill --startup 1       see `quern run list --startup`";

/// Kill runs; nothing of what they made is kept
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Kill {
    /// The runs
    #[arg(required_unless_present_any = ["tag", "all", "startup"], value_name = "RUN", value_parser = parse_run)]
    runs: Vec<RunId>,
    /// All runs with this tag
    #[arg(long, value_name = "TAG", conflicts_with = "runs")]
    tag: Option<String>,
    /// All runs
    #[arg(long, conflicts_with_all = ["runs", "tag"])]
    all: bool,
    /// Cancel a run that is stored for every start of a server
    #[arg(long, value_name = "N", conflicts_with_all = ["runs", "tag", "all"])]
    startup: Option<u64>,
}

impl Kill {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        if let Some(id) = self.startup {
            context.connection()?.ask(Request::RemoveStartup { id })?;
            return context.show(&serde_json::json!({ "cancelled": id }), || format!("cancelled {id}\n"));
        }
        let targets = match self.tag {
            Some(tag) => vec![KillTarget::Tag(tag)],
            None if self.all => vec![KillTarget::All],
            None => self.runs.into_iter().map(KillTarget::Run).collect(),
        };
        let connection = context.connection()?;
        for target in targets {
            let killed =
                kill(connection, target.clone(), format!("`quern run kill` of process {}", std::process::id()))?;
            if let (KillTarget::Tag(tag), []) = (&target, killed.as_slice()) {
                bail!("no run with tag `{tag}` is queued or running");
            }
            if killed.is_empty() {
                context.note("no run is queued or running");
            }
            for Killed { run, has_ended } in killed {
                match has_ended {
                    true => context.show(&serde_json::json!({ "killed": run }), || format!("killed run {run}\n"))?,
                    false => context
                        .show(&serde_json::json!({ "killing": run }), || format!("run {run} is being killed\n"))?,
                }
            }
        }
        Ok(())
    }
}

/// Kills runs; answers which, and whether they have ended.
pub(crate) fn kill(connection: &Connection, target: KillTarget, by: String) -> Result<Vec<Killed>> {
    Ok(connection.ask(Request::Kill { target, by })?.killed()?)
}

/// What is said after Ctrl-C of runs that a server executes.
pub(crate) fn goes_on(target: &KillTarget) -> String {
    match target {
        KillTarget::Run(run) => format!("run {run} goes on; `quern run kill {run}` stops it"),
        KillTarget::Tag(tag) => format!("the runs with tag {tag} go on; `quern run kill --tag {tag}` stops them"),
        KillTarget::All => "the runs go on; `quern run kill --all` stops them".to_owned(),
    }
}
