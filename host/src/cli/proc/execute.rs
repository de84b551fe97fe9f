//! `quern proc execute`: a run, in the foreground unless a server holds the folder.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::sweep;
use crate::base::{Error, LimitChanges, RunId};
use crate::catalog::at_version;
use crate::cli::args::{LimitArg, Pair, parse_duration, parse_run};
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::Progress;
use crate::cli::report::Interrupted;
use crate::cli::run::{goes_on, kill, log_line, receipts, result};
use crate::run::{Bytes, InputRef, KillTarget, OnFailure, RunRequest, Sweep};
use crate::server::{Connection, Event, Failure, Request, Role, RunView};
use crate::storage::RunState;

const EXAMPLES: &str = "\
Examples:
  quern proc execute sum_of_squares --input points --output sums
  quern proc execute mnist.train --input digits:data,label --output models --param epochs=3 --seed 1
  quern proc execute mnist.train --input 'digits where label < 5' --output models
  quern proc execute slow --input t --deadline 10s --limit guest_memory_bytes=512MiB
  quern proc execute mnist.train -i digits -o models --sweep seed=1..10 --sweep epochs=1,5
  quern proc execute slow --input t --detach      goes on when this terminal is closed

Without a server the run is in the foreground: Ctrl-C kills it. Where `quern serve`
holds the folder, the command returns at once with the run's number; --wait stays,
and Ctrl-C ends the waiting, not the run.";

/// Execute a proc
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Execute {
    /// `proc` or `component.proc`
    #[arg(value_name = "PROC")]
    proc: String,
    /// Execute this version of the component, active or not
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// A table to read, in the proc's order, with the columns and rows it may see, or a query; repeatable
    #[arg(long = "input", short, value_name = "TABLE[:COL,…] [where …]")]
    inputs: Vec<String>,
    /// A table to append to, in the proc's order, created where missing; repeatable
    #[arg(long = "output", short, value_name = "TABLE")]
    outputs: Vec<String>,
    /// A parameter; repeatable
    #[arg(long = "param", short, value_name = "NAME=VALUE")]
    params: Vec<Pair>,
    /// A parameter of type `binary`: the bytes of a file; repeatable
    #[arg(long = "param-file", value_name = "NAME=PATH")]
    param_files: Vec<Pair>,
    /// Seed of random numbers [default: drawn, and kept with the run]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// A word to find the run by
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Kill the run after this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// Another value for a limit; repeatable
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<LimitArg>,
    /// Go on from the checkpoints of this run, with its seed, each instance from its own; inputs,
    /// outputs and parameters are given anew
    #[arg(long, value_name = "RUN", value_parser = parse_run)]
    resume: Option<RunId>,
    /// Let the other instances go on when one fails, to report every error; nothing is committed either way
    #[arg(long)]
    keep_going: bool,
    /// Try an instance again after a fault of the host, at most so often
    #[arg(long, default_value_t = 0, value_name = "N")]
    retries: u32,
    /// Many runs under one tag: values of a parameter, or of `seed`, as FIRST..LAST or A,B,C; several make a grid
    #[arg(long, value_name = "NAME=VALUES")]
    sweep: Vec<Pair>,
    /// Many runs under one tag, one per line of a CSV file that names parameters, or per object of a JSON list
    #[arg(long, value_name = "FILE")]
    sweep_file: Option<PathBuf>,
    /// Do not execute it now, but whenever a server opens the folder
    #[arg(long, conflicts_with_all = ["detach", "wait", "sweep", "sweep_file"])]
    at_startup: bool,
    /// Stay until the run ends, also where a server executes it
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Let a server in the background execute it, started where there is none
    #[arg(long)]
    detach: bool,
}

impl Execute {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (wait, detach, at_startup) = (self.wait, self.detach, self.at_startup);
        let is_sweep = !self.sweep.is_empty() || self.sweep_file.is_some();
        let points = sweep::points(&self.sweep, self.sweep_file.as_deref())?;
        let request = self.request()?;
        if at_startup {
            return store(context, request);
        }
        let detached;
        let connection = match detach {
            true => {
                detached = context.detached()?;
                &detached
            }
            false => context.connection_as(Role::Command)?,
        };
        let until = match !detach && (wait || !connection.is_served()) {
            true => Until::Ended,
            false => Until::Started,
        };
        interrupt::listen();
        match is_sweep {
            true => start_sweep(context, connection, Sweep { request, points }, until),
            false => start_run(context, connection, request, until),
        }
    }

    fn request(self) -> Result<RunRequest> {
        let mut limits = LimitChanges::new();
        for limit in &self.limits {
            limits.set(&limit.name, limit.value)?;
        }
        if let Some(deadline) = self.deadline {
            limits.set("deadline_ms", u64::try_from(deadline.as_millis())?)?;
        }
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        Ok(RunRequest {
            proc: match self.version {
                Some(version) => at_version(&self.proc, version.into())?,
                None => self.proc,
            },
            inputs: self.inputs.iter().map(|text| parse_input(text)).collect::<Result<_>>()?,
            outputs: self.outputs,
            params: self.params.into_iter().map(|pair| (pair.name, pair.value)).collect(),
            binary_params: self.param_files.iter().map(read_file).collect::<Result<_>>()?,
            tag: self.tag,
            user,
            seed: self.seed,
            limits,
            resume: self.resume,
            on_failure: if self.keep_going { OnFailure::KeepGoing } else { OnFailure::Stop },
            retries: self.retries,
        })
    }
}

/// Stores a run for every start of a server.
fn store(context: &Context, request: RunRequest) -> Result<()> {
    let stored = context.connection()?.ask(Request::AddStartup(request))?.startups()?;
    let Some(added) = stored.last() else { return Ok(()) };
    if context.json {
        return context.print_json(added);
    }
    context.print(&format!("stored as {}; it is executed whenever `quern serve` opens the folder\n", added.id))?;
    context.note(&format!("`quern run list --startup` shows it, `quern run kill --startup {}` cancels it", added.id));
    Ok(())
}

/// How long the command stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Until the run, or all of a sweep, is queued.
    Started,
    /// Until it has ended.
    Ended,
}

fn start_sweep(context: &Context, connection: &Connection, sweep: Sweep, until: Until) -> Result<()> {
    let begun = Instant::now();
    let started = connection.ask(Request::Sweep(sweep))?.sweep()?;
    if until == Until::Ended {
        return sweep::follow(context, connection, &started, begun);
    }
    if context.json {
        return context.print_json(&started);
    }
    context.print(&format!("{} runs started with tag {}\n", started.runs, started.tag))?;
    context.note(&format!("`quern run list --tag {0}` shows them, `quern run kill --tag {0}` stops them", started.tag));
    Ok(())
}

fn start_run(context: &Context, connection: &Connection, request: RunRequest, until: Until) -> Result<()> {
    let run = start(connection, request)?;
    if until == Until::Ended {
        let progress = context.progress(&format!("run {run}"));
        return finish(context, &follow(context, connection, run, progress)?);
    }
    if context.json {
        return context.print_json(&serde_json::json!({ "run": run }));
    }
    context.print(&format!("run {run} started\n"))?;
    context.note(&format!("`quern run logs {run} -f` follows it, `quern run kill {run}` stops it"));
    Ok(())
}

/// Starts a run.
pub(crate) fn start(connection: &Connection, request: RunRequest) -> Result<RunId> {
    Ok(connection.ask(Request::Execute(request))?.started()?)
}

/// Shows a run until it ends: a bar, its log above it. Ctrl-C kills the run, unless
/// a server executes it: then it goes on.
pub(crate) fn follow(
    context: &Context,
    connection: &Connection,
    run: RunId,
    mut progress: Progress,
) -> Result<RunView> {
    let mut killed = false;
    let follow = Request::Follow { run, logs: !context.quiet };
    let reply = connection.call(follow, Vec::new(), &mut |event| {
        match event {
            Event::Run(view) => progress.set(view.fraction(), &status(&view)),
            Event::Logs(lines) => {
                for line in &lines {
                    progress.line(log_line(context.err, line).trim_end());
                }
            }
            _ => {}
        }
        if interrupt::asked() && !killed {
            if connection.is_served() {
                return Err(Error::Killed { by: None });
            }
            killed = true;
            progress.line(&context.err.dim(&format!("killing run {run}; Ctrl-C again leaves at once")));
            // A run that ended meanwhile cannot be killed, which is as good.
            let _ = kill(connection, KillTarget::Run(run), interrupt::name().to_owned());
        }
        Ok(())
    });
    progress.finish();
    if reply.is_err() && interrupt::asked() && connection.is_served() {
        context.note(&goes_on(&KillTarget::Run(run)));
        return Err(Interrupted.into());
    }
    Ok(*reply?.run()?)
}

/// The status line, with the state where that says more.
fn status(run: &RunView) -> String {
    match run.state {
        RunState::Running => run.status().to_owned(),
        _ => run.state.name().to_owned(),
    }
}

/// The error of a run that did not complete.
pub(crate) fn check(run: &RunView) -> Result<()> {
    match run.state {
        RunState::Complete => Ok(()),
        RunState::Killed if interrupt::asked() => Err(Interrupted.into()),
        _ => {
            let reason = run.error.as_deref().unwrap_or("it gave no reason");
            Err(Failure { message: format!("run {}: {reason}", run.id), hint: run.resumption() }.into())
        }
    }
}

/// Shows what a run that ended has left.
fn finish(context: &Context, run: &RunView) -> Result<()> {
    if context.json {
        context.print_json(run)?;
        return check(run);
    }
    check(run)?;
    let mut text = format!("run {} complete\n", run.id);
    for instance in &run.instances {
        let Some(results) = instance.results.as_object() else { continue };
        for (name, value) in results {
            text.push_str(&format!("instance {}  {name} = {}\n", instance.shard, result(value)));
        }
    }
    for (name, value) in run.results.as_object().into_iter().flatten() {
        text.push_str(&format!("merged      {name} = {}\n", result(value)));
    }
    if !context.quiet {
        text.push_str(&receipts(run, context.out));
    }
    Ok(context.print(&text)?)
}

/// A parameter's name and the bytes of the file it names.
fn read_file(pair: &Pair) -> Result<(String, Bytes)> {
    let bytes = std::fs::read(&pair.value)
        .with_context(|| format!("cannot read {} for parameter `{}`", pair.value, pair.name))?;
    Ok((pair.name.clone(), Bytes(bytes.into())))
}

/// `table`, `table:column,column`, either with `where condition` behind it; or a query.
fn parse_input(text: &str) -> Result<InputRef> {
    let first = text.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    if ["select", "with", "values"].iter().any(|word| first.eq_ignore_ascii_case(word)) && text.contains(' ') {
        return Ok(InputRef { query: Some(text.to_owned()), ..InputRef::default() });
    }
    // The blank behind it lets a condition be missed, not the word.
    let lower = text.to_ascii_lowercase() + " ";
    let (place, filter) = match lower.find(" where ") {
        Some(at) => {
            let filter = text.get(at + " where ".len()..).unwrap_or_default();
            (text.get(..at).unwrap_or(text), Some(filter.trim().to_owned()))
        }
        None => (text, None),
    };
    let (table, columns) = match place.split_once(':') {
        Some((table, columns)) => {
            (table, Some(columns.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()))
        }
        None => (place, None),
    };
    let table = table.trim();
    if table.is_empty()
        || columns.iter().flatten().any(String::is_empty)
        || filter.as_ref().is_some_and(String::is_empty)
    {
        let write = "write TABLE, TABLE:COLUMN,COLUMN, either with `where CONDITION` behind it, or a query";
        return Err(anyhow!("input `{text}` names no table or column; {write}"));
    }
    Ok(InputRef { columns, filter, ..InputRef::table(table) })
}
