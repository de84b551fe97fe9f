//! `quern run watch`: the live progress of all instances of a run.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use super::painted_state;
use crate::base::{Error, RunId};
use crate::cli::args::parse_run;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::{Align, Grid, Paint, duration, percent};
use crate::cli::report::Interrupted;
use crate::server::{Event, InstanceView, Request, RunQuery, RunView};
use crate::storage::RunState;

const EXAMPLES: &str = "\
Examples:
  quern run watch             the newest run that has not ended
  quern run watch 7           until it ends; Ctrl-C stops looking, not the run
  quern run watch 7 --json    one object per change, the last one how it ended";

/// Characters of a bar.
const BAR: usize = 20;

/// The least time between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// Watch the instances of a run until it ends
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// The run; without it the newest that has not ended
    #[arg(value_name = "RUN", value_parser = parse_run)]
    run: Option<RunId>,
}

impl Watch {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let run = match self.run {
            Some(run) => run,
            None => newest(context)?,
        };
        interrupt::listen();
        let mut screen = Screen::new(context);
        let mut failed = None;
        let request = Request::Follow { run, logs: false };
        let reply = context.asking_connection()?.call(request, Vec::new(), &mut |event| {
            if interrupt::asked() {
                return Err(Error::Killed { by: None });
            }
            let Event::Run(view) = event else { return Ok(()) };
            screen.show(&view).map_err(|error| {
                failed = Some(error);
                Error::Killed { by: None }
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if interrupt::asked() {
            return Err(Interrupted.into());
        }
        screen.end(&*reply?.run()?)
    }
}

/// The newest run that has not ended.
fn newest(context: &Context) -> Result<RunId> {
    for state in [RunState::Running, RunState::Queued] {
        let query = RunQuery { state: Some(state), limit: Some(1), ..RunQuery::default() };
        if let Some(run) = context.asking_connection()?.ask(Request::Runs(query))?.runs()?.first() {
            return Ok(run.id);
        }
    }
    bail!("no run is queued or running; `quern run watch RUN` shows one that has ended")
}

/// What was shown last.
struct Screen<'a> {
    context: &'a Context,
    /// A terminal is drawn over; elsewhere lines follow each other.
    drawn_lines: usize,
    drawn: Option<Instant>,
    told: Option<serde_json::Value>,
    lines: Vec<String>,
}

impl<'a> Screen<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, drawn_lines: 0, drawn: None, told: None, lines: Vec::new() }
    }

    fn show(&mut self, run: &RunView) -> Result<()> {
        if self.context.json {
            return self.tell(run);
        }
        if !self.context.out_terminal {
            return self.print_changes(run);
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        self.draw(run)
    }

    /// How it ended; an error when it did not complete.
    fn end(&mut self, run: &RunView) -> Result<()> {
        if self.context.json {
            self.context.print_json(run)?;
        } else if self.context.out_terminal {
            self.draw(run)?;
        } else {
            self.print_changes(run)?;
            self.context.print(&(head(run, self.context.out) + "\n"))?;
        }
        crate::cli::proc::check(run)
    }

    /// One line of JSON, where something but the time is new.
    fn tell(&mut self, run: &RunView) -> Result<()> {
        let value = serde_json::to_value(run)?;
        if self.told.as_ref() == Some(&value) {
            return Ok(());
        }
        self.context.print_json(&value)?;
        self.told = Some(value);
        Ok(())
    }

    /// The lines of instances that have changed.
    fn print_changes(&mut self, run: &RunView) -> Result<()> {
        self.lines.resize(run.instances.len(), String::new());
        for (instance, told) in run.instances.iter().zip(&mut self.lines) {
            let progress = instance.fraction.map(share).unwrap_or_default();
            let line = format!("instance {}  {}  {progress}  {}", instance.shard, instance.state, said(instance));
            if *told != line {
                self.context.print(&format!("{}\n", line.trim_end()))?;
                *told = line;
            }
        }
        Ok(())
    }

    /// Draws over what was drawn before.
    fn draw(&mut self, run: &RunView) -> Result<()> {
        let paint = self.context.out;
        let mut text = head(run, paint);
        text.push('\n');
        let mut grid = Grid::new([
            ("instance", Align::Right),
            ("state", Align::Left),
            ("progress", Align::Left),
            ("status", Align::Left),
        ]);
        for instance in &run.instances {
            let fraction = if instance.state == RunState::Complete { Some(1.0) } else { instance.fraction };
            grid.row([
                instance.shard.to_string(),
                painted_state(paint, instance.state),
                fraction.map(bar).unwrap_or_default(),
                said(instance).to_owned(),
            ]);
        }
        text.push_str(&grid.render(paint));
        let up = if self.drawn_lines > 0 { format!("\u{1b}[{}A\u{1b}[J", self.drawn_lines) } else { String::new() };
        self.drawn_lines = text.lines().count();
        Ok(self.context.print(&(up + &text))?)
    }
}

/// The run on one line.
fn head(run: &RunView, paint: Paint) -> String {
    let end = run.finished_us.unwrap_or_else(crate::base::now_us);
    let took_us = end.saturating_sub(run.started_us.unwrap_or(run.submitted_us));
    let took = duration(Duration::from_micros(u64::try_from(took_us).unwrap_or_default()));
    format!("run {}  {}.{}  {}  {took}", run.id, run.component, run.proc, painted_state(paint, run.state))
}

/// Why an instance failed, or its status line.
fn said(instance: &InstanceView) -> &str {
    let text = instance.message.as_deref().unwrap_or(&instance.status);
    text.lines().next().unwrap_or_default()
}

fn share(fraction: f64) -> String {
    percent((fraction.clamp(0.0, 1.0) * 1000.0) as u64, 1000, 0)
}

/// `██████              30 %`
fn bar(fraction: f64) -> String {
    let full = (fraction.clamp(0.0, 1.0) * BAR as f64) as usize;
    format!("{}{} {}", "█".repeat(full), "·".repeat(BAR.saturating_sub(full)), share(fraction))
}
