//! `quern run show`: everything about one run.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::base::RunId;
use crate::cli::args::parse_run;
use crate::cli::context::Context;
use crate::cli::output::{Align, Grid, Paint, bytes, count, duration, duration_ms, readable, timestamp};
use crate::server::{Request, RunView};
use crate::storage::RunState;

const EXAMPLES: &str = "\
Examples:
  quern run show 7
  quern run show 7 --json";

/// Show a run: its request, instances, results and receipts
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// The run
    #[arg(value_name = "RUN", value_parser = parse_run)]
    run: RunId,
}

impl Show {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = Request::Run { run: self.run };
        let run = context.asking_connection()?.ask(request)?.run()?;
        context.show(&run, || describe(&run, context.out))
    }
}

/// The word of a state in its colour.
pub(crate) fn painted_state(paint: Paint, state: RunState) -> String {
    let word = state.name();
    match state {
        RunState::Complete => paint.green(word),
        RunState::Error | RunState::Killed => paint.red(word),
        RunState::Running => paint.cyan(word),
        RunState::Queued => word.to_owned(),
    }
}

/// The receipts of a run, one line per instance and one for all.
pub(crate) fn receipts(run: &RunView, paint: Paint) -> String {
    let right = [
        "wall",
        "guest",
        "device",
        "rows in",
        "rows out",
        "moved in",
        "moved out",
        "gathered",
        "guest mem",
        "device mem",
    ];
    let mut grid = Grid::new(
        [("instance", Align::Right)]
            .into_iter()
            .chain(right.map(|name| (name, Align::Right)))
            .chain([("on", Align::Left)]),
    );
    for instance in &run.instances {
        let Some(receipt) = &instance.receipt else { continue };
        // An instance that executes has an empty receipt, which is no result.
        if receipt.device.is_empty() {
            continue;
        }
        grid.row([
            instance.shard.to_string(),
            duration_ms(receipt.wall_ms),
            duration_ms(receipt.guest_ms),
            duration_ms(receipt.device_ms),
            count(receipt.rows_in),
            count(receipt.rows_out),
            bytes(receipt.moved.to_device_bytes()),
            bytes(receipt.moved.from_device_bytes()),
            bytes(receipt.gathered_bytes),
            bytes(receipt.peak_guest_bytes),
            bytes(receipt.peak_device_bytes),
            receipt.device.clone(),
        ]);
    }
    if grid.is_empty() { String::new() } else { grid.render(paint) }
}

fn describe(run: &RunView, paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{}{value}\n", paint.dim(&format!("{name:<11}"))));
        }
    };
    let time = |us: Option<i64>| us.map(|us| timestamp(us) + " UTC").unwrap_or_default();
    line("run", &format!("{}  {}", run.id, painted_state(paint, run.state)));
    let version = run.version.map(|version| format!("version {version}, ")).unwrap_or_default();
    let sha256 = run.sha256.get(..12).unwrap_or(&run.sha256);
    line("proc", &format!("{}.{}  ({version}{sha256})", run.component, run.proc));
    line("tag", run.tag.as_deref().unwrap_or_default());
    line("user", &run.user);
    line("inputs", &brief(&run.inputs));
    line("outputs", &brief(&run.outputs));
    line("params", &brief(&run.params));
    line("seed", &run.seed.to_string());
    line("snapshot", &run.snapshot.map(|s| s.to_string()).unwrap_or_default());
    line("submitted", &time(Some(run.submitted_us)));
    line("started", &time(run.started_us));
    line("finished", &time(run.finished_us));
    line("times", &times(run));
    line("resumes", &run.resume.map(|resumed| format!("run {resumed}")).unwrap_or_default());
    line("error", run.error.as_deref().unwrap_or_default());
    line("warning", run.warning.as_deref().unwrap_or_default());
    let kept = (run.checkpoints > 0).then(|| format!("{} kept", run.checkpoints));
    line("checkpoint", &kept.into_iter().chain(run.resumption()).collect::<Vec<_>>().join("; "));
    line("results", &named(&run.results));
    for instance in &run.instances {
        let number = format!("instance {}", instance.shard);
        line(&number, format!("{}  {}", painted_state(paint, instance.state), instance.status).trim_end());
        line("", instance.message.as_deref().unwrap_or_default());
        line("", &named(&instance.results));
    }
    let receipts = receipts(run, paint);
    if !receipts.is_empty() {
        text.push('\n');
        text.push_str(&receipts);
    }
    text
}

/// How long the run waited, executed and wrote.
fn times(run: &RunView) -> String {
    let span = |name: &str, from: Option<i64>, to: Option<i64>| {
        let us = u64::try_from(to? - from?).ok()?;
        Some(format!("{name} {}", duration(Duration::from_micros(us))))
    };
    let spans = [
        span("queue", Some(run.submitted_us), run.started_us),
        span("instances", run.started_us, run.committing_us.or(run.finished_us)),
        span("commit", run.committing_us, run.finished_us),
    ];
    spans.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Inputs, outputs or parameters on one line.
fn brief(value: &serde_json::Value) -> String {
    let of = |item: &serde_json::Value| match item {
        serde_json::Value::Object(map) => match (map.get("table"), map.get("columns"), map.get("query")) {
            (_, _, Some(query)) => plain(query),
            (Some(table), columns, _) => {
                let filter = map.get("filter").map(|filter| format!(" where {}", plain(filter))).unwrap_or_default();
                let columns = columns.and_then(serde_json::Value::as_array);
                let columns = columns.map(|all| format!("({})", all.iter().map(plain).collect::<Vec<_>>().join(", ")));
                format!("{}{}{filter}", plain(table), columns.unwrap_or_default())
            }
            _ => map.iter().map(|(k, v)| format!("{k} = {}", plain(v))).collect::<Vec<_>>().join(", "),
        },
        serde_json::Value::Array(pair) => pair.iter().map(plain).collect::<Vec<_>>().join(" = "),
        other => plain(other),
    };
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::Array(items) => items.iter().map(of).collect::<Vec<_>>().join(", "),
        other => of(other),
    }
}

/// Results by name on one line.
fn named(results: &serde_json::Value) -> String {
    let pairs = results.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name} = {}", result(value))).collect::<Vec<_>>().join(", ")
}

/// A result: a text, a number so that it can be read, or how many bytes there are.
pub(crate) fn result(value: &serde_json::Value) -> String {
    readable(&plain(value)).into_owned()
}

/// A text, a number, or how many bytes there are.
fn plain(value: &serde_json::Value) -> String {
    if let Some(size) = value.get("bytes").and_then(serde_json::Value::as_u64) {
        return bytes(size);
    }
    value.as_str().map_or_else(|| value.to_string(), |text| visible(text, &[]))
}

/// A text of a guest whose control characters, but for some, are shown and not
/// executed by the terminal.
pub(crate) fn visible(text: &str, but_for: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() && !but_for.contains(&c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}
