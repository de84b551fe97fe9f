//! `quern run list`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::painted_state;
use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, duration, percent, since};
use crate::server::{Request, RunQuery, RunView};
use crate::storage::RunState;

const EXAMPLES: &str = "\
Examples:
  quern run list
  quern run list --state running
  quern run list --tag nightly --limit 5 --json";

/// List the newest runs
#[derive(Debug, Args)]
#[command(visible_alias = "ls", after_help = EXAMPLES)]
pub(crate) struct List {
    /// Only runs in this state
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<RunState>,
    /// Only runs of this proc
    #[arg(long, value_name = "PROC")]
    proc: Option<String>,
    /// Only runs with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// The runs stored for every start of a server
    #[arg(long, conflicts_with_all = ["state", "proc", "tag"])]
    startup: bool,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        if self.startup {
            return list_startups(context);
        }
        let is_all = self.state.is_none() && self.proc.is_none() && self.tag.is_none();
        let query = RunQuery { state: self.state, proc: self.proc, tag: self.tag, limit: Some(self.limit) };
        let runs = context.asking_connection()?.ask(Request::Runs(query))?.runs()?;
        if context.json {
            return context.print_json(&runs);
        }
        if runs.is_empty() {
            context.note(match is_all {
                true => "no runs; `quern proc execute PROC` starts one",
                false => "no run is like that; `quern run list` lists all",
            });
            return Ok(());
        }
        let mut grid = Grid::new([
            ("run", Align::Right),
            ("state", Align::Left),
            ("proc", Align::Left),
            ("started", Align::Left),
            ("time", Align::Right),
            ("tag", Align::Left),
            ("status", Align::Left),
        ]);
        for run in &runs {
            grid.row([
                run.id.to_string(),
                painted_state(context.out, run.state),
                format!("{}.{}", run.component, run.proc),
                since(run.started_us.unwrap_or(run.submitted_us)),
                run_time(run).map_or_else(|| "–".to_owned(), duration),
                run.tag.clone().unwrap_or_else(|| "–".to_owned()),
                status(run),
            ]);
        }
        Ok(context.print(&grid.render(context.out))?)
    }
}

/// Lists what is executed whenever a server opens the folder.
fn list_startups(context: &Context) -> Result<()> {
    let stored = context.asking_connection()?.ask(Request::Startups)?.startups()?;
    if context.json {
        return context.print_json(&stored);
    }
    if stored.is_empty() {
        context.note("nothing; `quern proc execute PROC --at-startup` adds a run");
        return Ok(());
    }
    let mut grid = Grid::new([
        ("id", Align::Right),
        ("proc", Align::Left),
        ("user", Align::Left),
        ("last run", Align::Right),
        ("last error", Align::Left),
    ]);
    for startup in &stored {
        grid.row([
            startup.id.to_string(),
            startup.proc.clone(),
            startup.user.clone(),
            startup.last_run.map_or_else(|| "–".to_owned(), |run| run.to_string()),
            startup.last_error.clone().unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    Ok(context.print(&grid.render(context.out))?)
}

/// How long the run took, or takes until now.
fn run_time(run: &RunView) -> Option<Duration> {
    let end = run.finished_us.unwrap_or_else(crate::base::now_us);
    u64::try_from(end - run.started_us?).ok().map(Duration::from_micros)
}

/// One line: the error, or the status with progress.
fn status(run: &RunView) -> String {
    const SHOWN_CHARS: usize = 80;
    let text = match (&run.error, run.state.is_final(), run.fraction()) {
        (Some(error), _, _) => error.clone(),
        (None, false, Some(fraction)) => format!("{} {}", percent((fraction * 1000.0) as u64, 1000, 0), run.status()),
        _ => run.status().to_owned(),
    };
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHOWN_CHARS {
        return line.to_owned();
    }
    line.chars().take(SHOWN_CHARS - 1).chain(['…']).collect()
}
