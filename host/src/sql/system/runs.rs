//! Runs, and of each run its instances, receipts, logs, metrics and results.

use std::collections::{BTreeSet, HashMap};

use super::rows::{Cell, rows_of};
use super::{Batches, Table};
use crate::base::{Result, RunId};
use crate::proc::Receipt;
use crate::run::{Runs, may_see_startup};
use crate::sql::provider::View;
use crate::storage::{InstanceRecord, RunFilter, RunRecord, StartupRecord, Versions};

type Rows = Vec<Vec<Cell>>;

/// Log lines or metric points of one batch.
const PAGE: u32 = 8192;

/// The runs that the caller may look at, the oldest first.
fn visible(view: &View) -> Result<Vec<RunRecord>> {
    let mut list = view.system.runs.list(&RunFilter::default())?;
    list.retain(|run| view.caller.rights.run(run).is_ok());
    list.reverse();
    Ok(list)
}

pub(super) fn runs(view: &View) -> Result<Rows> {
    let versions = view.storage.components(Versions::All)?;
    let versions: HashMap<_, _> = versions.iter().map(|c| ((c.name.as_str(), c.sha256.as_str()), c.version)).collect();
    let rows = visible(view)?.into_iter().map(|run| {
        let version = versions.get(&(run.component.as_str(), run.sha256.as_str())).copied();
        let ms = |from: Option<i64>, to: Option<i64>| Some((to? - from?) as f64 / 1e3);
        let wall_ms = ms(run.started_us, run.finished_us);
        let queue_ms = ms(Some(run.submitted_us), run.started_us);
        let commit_ms = ms(run.committing_us, run.finished_us);
        vec![
            run.id.0.into(),
            run.proc.into(),
            run.component.into(),
            run.tag.into(),
            run.user.into(),
            run.state.name().into(),
            run.params.into(),
            run.inputs.into(),
            run.outputs.into(),
            run.snapshot.map(|snapshot| snapshot.0).into(),
            Cell::Seed(run.seed),
            run.instances.into(),
            Cell::Time(run.submitted_us),
            run.started_us.map_or(Cell::Null, Cell::Time),
            run.finished_us.map_or(Cell::Null, Cell::Time),
            wall_ms.into(),
            queue_ms.into(),
            commit_ms.into(),
            run.error.into(),
            run.sha256.into(),
            version.into(),
            run.resume.map(|resumed| resumed.0).into(),
            run.warning.into(),
        ]
    });
    Ok(rows.collect())
}

pub(super) fn startup(view: &View) -> Result<Rows> {
    let visible = |startup: &StartupRecord| may_see_startup(&view.caller.rights, startup);
    let stored = view.system.runs.startups()?.into_iter().filter(visible).map(|startup| {
        vec![
            startup.id.into(),
            startup.proc.into(),
            startup.user.into(),
            Cell::Time(startup.created_us),
            startup.request.into(),
            startup.last_run.map(|run| run.0).into(),
            startup.last_error.into(),
        ]
    });
    Ok(stored.collect())
}

pub(super) fn checkpoints(view: &View) -> Result<Rows> {
    let runs: BTreeSet<RunId> = visible(view)?.into_iter().map(|run| run.id).collect();
    let kept = view.storage.checkpoints(None)?.into_iter().filter(|kept| runs.contains(&kept.run)).map(|kept| {
        vec![
            kept.run.0.into(),
            kept.shard.into(),
            kept.name.into(),
            kept.sha256.into(),
            kept.size_bytes.into(),
            Cell::Time(kept.created_us),
        ]
    });
    Ok(kept.collect())
}

/// The rows of one table about runs, run by run, the oldest first.
pub(super) fn of_each(table: Table, view: &View) -> Result<Batches> {
    let list = visible(view)?;
    let runs = view.system.runs.clone();
    let schema = table.schema();
    // Log lines and metric points come in pages: the run, and the last number seen.
    let mut left = list.into_iter().map(|run| run.id);
    let mut current: Option<(RunId, u64)> = None;
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            let (run, after) = match current.take() {
                Some(position) => position,
                None => (left.next()?, 0),
            };
            match page(table, &runs, run, after) {
                Ok((rows, _)) if rows.is_empty() => {}
                Ok((rows, next)) => {
                    current = next.map(|after| (run, after));
                    return Some(rows_of(&schema, rows));
                }
                Err(e) => return Some(Err(e)),
            }
        }
    })))
}

/// Rows of one run behind number `after`, and where more may follow.
fn page(table: Table, runs: &Runs, run: RunId, after: u64) -> Result<(Rows, Option<u64>)> {
    Ok(match table {
        Table::Instances => (runs.status(run)?.instances.into_iter().map(instance).collect(), None),
        Table::Receipts => (runs.status(run)?.instances.iter().map(receipt).collect(), None),
        Table::Logs => {
            let lines = runs.logs(run, after, PAGE)?;
            let next = lines.last().map(|line| line.seq);
            let row = |line: crate::storage::LogLine| {
                vec![
                    line.run.0.into(),
                    line.shard.into(),
                    line.seq.into(),
                    Cell::Time(line.time_us),
                    line.level.into(),
                    line.text.into(),
                ]
            };
            (lines.into_iter().map(row).collect(), next)
        }
        Table::Metrics => {
            let points = runs.metrics(run, after, PAGE)?;
            let next = points.last().map(|point| point.seq);
            let row = |point: crate::storage::MetricPoint| {
                vec![
                    point.run.0.into(),
                    point.shard.into(),
                    point.seq.into(),
                    Cell::Time(point.time_us),
                    point.name.into(),
                    point.step.into(),
                    point.value.into(),
                ]
            };
            (points.into_iter().map(row).collect(), next)
        }
        _ => (results(runs, run)?, None),
    })
}

fn instance(instance: InstanceRecord) -> Vec<Cell> {
    vec![
        instance.run.0.into(),
        instance.shard.into(),
        instance.state.name().into(),
        instance.status.into(),
        instance.fraction.into(),
        instance.message.into(),
        instance.results.into(),
    ]
}

fn receipt(instance: &InstanceRecord) -> Vec<Cell> {
    let used: Receipt = serde_json::from_str(&instance.receipt).unwrap_or_default();
    vec![
        instance.run.0.into(),
        instance.shard.into(),
        used.device.into(),
        used.wall_ms.into(),
        used.start_ms.into(),
        used.guest_ms.into(),
        used.device_ms.into(),
        used.peak_guest_bytes.into(),
        used.peak_device_bytes.into(),
        used.moved.inputs_bytes.into(),
        used.moved.parameters_bytes.into(),
        used.moved.reads_bytes.into(),
        used.moved.outputs_bytes.into(),
        used.rows_in.into(),
        used.rows_out.into(),
        used.host_calls.into(),
        used.programs.into(),
        used.replays.into(),
        used.gathered_bytes.into(),
        used.moved.scalars_bytes.into(),
        used.moved.checks_bytes.into(),
        used.compile_ms.into(),
    ]
}

/// Results of the instances, and merged ones, which have no shard.
fn results(runs: &Runs, run: RunId) -> Result<Rows> {
    let found = runs.results(run)?;
    let of_instances = found.instances.into_iter().map(|result| {
        vec![result.run.0.into(), result.shard.into(), result.name.into(), result.text.into(), result.bytes.into()]
    });
    let merged = found.merged.into_iter().map(|(name, value)| {
        let (text, bytes) = (value.text().map(str::to_owned), value.bytes().map(<[u8]>::to_vec));
        vec![run.0.into(), Cell::Null, name.into(), text.into(), bytes.into()]
    });
    Ok(of_instances.chain(merged).collect())
}
