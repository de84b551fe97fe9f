//! The runs of a sweep: points from ranges, lists and files; how they end.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::base::Error;
use crate::cli::args::Pair;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::{count, duration};
use crate::cli::report::Interrupted;
use crate::cli::run::{goes_on, kill};
use crate::run::{KillTarget, SweepStatus};
use crate::server::{Connection, Event, Request};

/// The parameters of one run.
type Point = Vec<(String, String)>;

/// Runs that one command may start.
const MAX_POINTS: usize = 100_000;

/// The points of `name=values` arguments, as a grid whose last name changes
/// first, or of a file.
pub(super) fn points(grid: &[Pair], file: Option<&Path>) -> Result<Vec<Point>> {
    let mut points = match file {
        Some(path) => read_file(path)?,
        None => vec![Point::new()],
    };
    for pair in grid {
        let values = values(pair)?;
        if points.len().saturating_mul(values.len()) > MAX_POINTS {
            bail!("a sweep has at most {MAX_POINTS} runs; `{}` makes it more", pair.name);
        }
        let extended = points.iter().flat_map(|point| {
            let with = |value: &String| point.iter().cloned().chain([(pair.name.clone(), value.clone())]).collect();
            values.iter().map(with).collect::<Vec<Point>>()
        });
        points = extended.collect();
    }
    Ok(points)
}

/// `1..10`, both included, or `a,b,c`.
fn values(pair: &Pair) -> Result<Vec<String>> {
    let Some((first, last)) = pair.value.split_once("..") else {
        return Ok(pair.value.split(',').map(|value| value.trim().to_owned()).collect());
    };
    let number = |text: &str| text.trim().parse::<i64>();
    match (number(first), number(last)) {
        (Ok(first), Ok(last)) if first <= last && last.abs_diff(first) < MAX_POINTS as u64 => {
            Ok((first..=last).map(|value| value.to_string()).collect())
        }
        (Ok(first), Ok(last)) if first <= last => {
            bail!("a sweep has at most {MAX_POINTS} runs; `{}` makes it more", pair.name)
        }
        (Ok(first), Ok(last)) => {
            bail!("`--sweep {}={}`: {first} is above {last}; write the smaller one first", pair.name, pair.value)
        }
        _ => bail!("`--sweep {}={}`: write a range as FIRST..LAST, or values as A,B,C", pair.name, pair.value),
    }
}

/// A CSV file whose first line names parameters, or a JSON list of objects.
fn read_file(path: &Path) -> Result<Vec<Point>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let points = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => read_json(&text).with_context(|| format!("{} is no list of objects", path.display()))?,
        _ => read_csv(&text).map_err(|(line, reason)| anyhow!("{}: line {line} {reason}", path.display()))?,
    };
    if points.is_empty() {
        bail!("{} lists no runs", path.display());
    }
    Ok(points)
}

fn read_json(text: &str) -> serde_json::Result<Vec<Point>> {
    let objects: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text)?;
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(objects
        .into_iter()
        .map(|object| object.into_iter().map(|(name, value)| (name, text(value))).collect())
        .collect())
}

/// One run per line. The error is a line's number and what is wrong with it.
fn read_csv(text: &str) -> Result<Vec<Point>, (usize, &'static str)> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let cells = |(at, line): (usize, &str)| {
        let cells = csv_cells(line).ok_or((at + 1, "has a quote that is not closed; a value cannot span lines"))?;
        Ok((at + 1, cells))
    };
    let names = lines.next().map(cells).transpose()?.map(|(_, names)| names).unwrap_or_default();
    let point = |line| {
        let (at, values) = cells(line)?;
        if values.len() != names.len() {
            return Err((at, "has another number of values than the first"));
        }
        Ok(names.iter().cloned().zip(values).collect())
    };
    lines.map(point).collect()
}

/// Values between commas; one in quotes may hold commas, and quotes as `""`.
/// Nothing when a quote is not closed.
fn csv_cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut rest) = (Vec::new(), line);
    loop {
        let (cell, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_cell(quoted)?,
            None => {
                let (cell, after) = rest.split_once(',').map_or((rest, None), |(cell, after)| (cell, Some(after)));
                (cell.trim().to_owned(), after)
            }
        };
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return Some(cells),
        }
    }
}

/// The value up to its closing quote, and what follows the comma behind it.
fn quoted_cell(text: &str) -> Option<(String, Option<&str>)> {
    let (mut cell, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(further) => {
                cell.push('"');
                rest = further;
            }
            None => return Some((cell, after.split_once(',').map(|(_, after)| after))),
        }
    }
}

/// Shows a sweep until all runs have ended, then its summary. Ctrl-C kills the runs,
/// unless a server executes them: then they go on. The time is taken from `begun`,
/// for runs end while others are still submitted.
pub(super) fn follow(context: &Context, connection: &Connection, started: &SweepStatus, begun: Instant) -> Result<()> {
    let mut progress = context.progress(&started.tag);
    let mut killed = false;
    let request = Request::FollowSweep { tag: started.tag.clone(), first: started.first };
    let reply = connection.call(request, Vec::new(), &mut |event| {
        if let Event::Sweep(status) = event {
            let ended = status.runs.saturating_sub(status.open);
            let line = format!("{ended} of {} runs, {} failed", status.runs, status.failed);
            progress.set(Some(ended as f64 / status.runs.max(1) as f64), &line);
        }
        if interrupt::asked() && !killed {
            if connection.is_served() {
                return Err(Error::Killed { by: None });
            }
            killed = true;
            // Those that have ended cannot be killed, which is as good.
            let _ = kill(connection, KillTarget::Tag(started.tag.clone()), interrupt::name().to_owned());
        }
        Ok(())
    });
    progress.finish();
    if reply.is_err() && interrupt::asked() && connection.is_served() {
        context.note(&goes_on(&KillTarget::Tag(started.tag.clone())));
        return Err(Interrupted.into());
    }
    let status = reply?.sweep()?;
    let took = begun.elapsed();
    if context.json {
        let seconds = took.as_secs_f64();
        let mut value = serde_json::to_value(&status)?;
        value["seconds"] = seconds.into();
        value["models_per_second"] = (status.models as f64 / seconds).into();
        context.print_json(&value)?;
    } else {
        let SweepStatus { runs, complete, failed, killed, models, .. } = &status;
        let per_second = |n: u64| format!("{:.1}", n as f64 / took.as_secs_f64());
        let mut text = format!(
            "{} runs with tag {}: {complete} complete, {failed} failed, {killed} killed in {}, {} runs/s\n",
            count(*runs),
            status.tag,
            duration(took),
            per_second(*complete)
        );
        if *models > 0 {
            text.push_str(&format!("{} models saved, {} models/s\n", count(*models), per_second(*models)));
        }
        context.print(&text)?;
    }
    if killed && interrupt::asked() {
        return Err(Interrupted.into());
    }
    match status.errors.as_slice() {
        [] => Ok(()),
        errors => bail!("{} of {} runs failed; {}", status.failed, status.runs, errors.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Pair {
        text.parse().unwrap_or(Pair { name: String::new(), value: String::new() })
    }

    #[test]
    fn ranges_and_lists_make_a_grid_whose_last_name_changes_first() {
        let points = points(&[pair("rate=0.1,0.2"), pair("seed=3..4")], None).unwrap_or_default();
        let text: Vec<String> = points
            .iter()
            .map(|point| point.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(text, ["rate=0.1 seed=3", "rate=0.1 seed=4", "rate=0.2 seed=3", "rate=0.2 seed=4"]);
        let error = super::points(&[pair("seed=9..1")], None).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("`--sweep seed=9..1`: 9 is above 1; write the smaller one first"));
        let error = super::points(&[pair("a=1..1000"), pair("b=1..101")], None).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("a sweep has at most 100000 runs; `b` makes it more"));
    }

    #[test]
    fn files_list_points() {
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = vec![vec![of("a", "1"), of("b", "x")], vec![of("a", "2"), of("b", "y")]];
        assert_eq!(read_csv("a,b\n1, x\n\n2,y\n"), Ok(expected.clone()));
        assert_eq!(read_csv("a,b\n1\n"), Err((2, "has another number of values than the first")));
        let quoted = read_csv("a,\"b\"\n1, \"x, \"\"y\"\"\"\n");
        assert_eq!(quoted, Ok(vec![vec![of("a", "1"), of("b", "x, \"y\"")]]));
        let open = "has a quote that is not closed; a value cannot span lines";
        assert_eq!(read_csv("a,b\n1,2\n3,\"x\n"), Err((3, open)));
        let json = read_json(r#"[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]"#).unwrap_or_default();
        assert_eq!(json, expected);
    }
}
