//! The end of a run: all outputs and the record in one transaction of storage,
//! after which neither kill nor deadline applies; or the record alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::backend::{Committed, Made};
use super::live::{Live, RunStatus};
use super::plan::{Destination, Output, RunPlan};
use super::runs::Inner;
use super::temporary;
use crate::base::{Error, Result, Sharding, SnapshotId, now_us};
use crate::catalog::{ExecutionMode, Object, Privilege, Rights};
use crate::storage::{AppendTo, ModelRecord, Write};
use crate::table::{KeptOutput, KeptRows};

/// How often a commit is made again because another one created its table first.
const ATTEMPTS: u32 = 4;

/// Runs that end together whose records go into one transaction.
const TOGETHER: usize = 4096;

/// Bytes of rows that are written between two looks at the kill switch.
const PIECE_BYTES: usize = 16 << 20;

/// Appends what all instances made, in shard order, and ends the run.
pub(super) fn commit(inner: &Inner, live: &Arc<Live>, plan: &RunPlan, made: Vec<Made>) -> Result<()> {
    let mut attempt = 1;
    loop {
        let (mut write, placed) = stage(inner, live, plan, &made)?;
        if attempt == 1 {
            live.begin_commit()?;
        }
        let mut concluded = live.conclude(Ok(()));
        live.store(&concluded, &mut write);
        temporary::drop_with(live, &mut write);
        match write.commit() {
            Ok(snapshot) => {
                publish(inner, plan, made, (snapshot, &placed));
                note_finished(inner, live, &mut concluded);
                live.end(concluded);
                inner.dispatch.forget(live.id);
                return Ok(());
            }
            Err(Error::Exists { kind: "table", .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Rows of an instance that are appended.
struct Placed {
    /// The output's place.
    output: usize,
    instance: usize,
    to: AppendTo,
}

/// Hands what is on a device still to the backend, by table and shard.
fn publish(inner: &Inner, plan: &RunPlan, mut made: Vec<Made>, (snapshot, placed): (SnapshotId, &[Placed])) {
    for (place, output) in plan.outputs.iter().enumerate() {
        let mut parts: BTreeMap<Option<u32>, Vec<KeptRows>> = BTreeMap::new();
        for rows in placed.iter().filter(|rows| rows.output == place) {
            let shard = match rows.to {
                AppendTo::Shard(shard) => Some(shard),
                AppendTo::Deal => None,
            };
            let kept = made.get_mut(rows.instance).and_then(|made| made.kept.get_mut(place));
            parts.entry(shard).or_default().push(kept.map(std::mem::take).map(KeptOutput::claim).unwrap_or_default());
        }
        for (shard, kept) in parts {
            inner.backend.committed(Committed { snapshot, table: &output.table, shard, kept });
        }
    }
}

/// Puts the time at which the commit was done into the record, which could not
/// know it: a run has ended, and its commit is measured, when its rows are there.
/// After a crash before that it is the time at which the transaction began.
fn note_finished(inner: &Inner, live: &Arc<Live>, concluded: &mut RunStatus) {
    let finished_us = now_us();
    concluded.run.finished_us = Some(finished_us);
    let mut write = inner.storage.begin();
    write.set_finished(live.id, finished_us);
    // The record then has the earlier time, which is as true as it was.
    drop(write.commit_later(drop));
}

/// Stores why a run ended without completing, and forgets it; a record that
/// cannot be stored is kept in memory.
pub(super) fn record_failure(inner: &Inner, live: &Arc<Live>, error: &Error) {
    record_failures(inner, std::slice::from_ref(live), error);
}

/// [`record_failure`] of runs that ended for the same reason, in few commits.
pub(super) fn record_failures(inner: &Inner, runs: &[Arc<Live>], error: &Error) {
    for together in runs.chunks(TOGETHER) {
        let mut write = inner.storage.begin();
        let ends: Vec<RunStatus> = together.iter().map(|live| live.conclude(Err(error))).collect();
        together.iter().zip(&ends).for_each(|(live, concluded)| live.store(concluded, &mut write));
        let refused = write.commit().err().map(|refused| refused.chain());
        inner.drop_inputs(together);
        for (live, mut concluded) in together.iter().zip(ends) {
            if let Some(refused) = &refused {
                // The stored record stays behind until the next open.
                let told = concluded.run.error.get_or_insert_default();
                *told = format!("{told}; this could not be stored: {refused}");
            }
            live.end(concluded);
            if refused.is_none() {
                inner.dispatch.forget(live.id);
            }
        }
    }
}

/// Writes the rows to files that nothing names yet.
fn stage(inner: &Inner, live: &Live, plan: &RunPlan, made: &[Made]) -> Result<(Write, Vec<Placed>)> {
    let mut placed = Vec::new();
    let proc = &live.resolved.proc;
    let mut write = inner.storage.begin();
    write.describe(&format!("proc:{}", proc.name), &format!("run {}", live.id));
    let now = write.base()?;
    // Read after the tables, which the commit expects to be the same.
    let rights = Rights::of(&inner.storage, live.submission.on_behalf_of.as_deref())?;
    for (place, output) in plan.outputs.iter().enumerate() {
        let destination = match (&output.destination, now.table(&output.table)) {
            (Destination::Existing(table), _) => {
                rights.table(Privilege::Insert, &table.name)?;
                write.expect_table(table);
                output.destination.clone()
            }
            // Another commit made it meanwhile: as good, if it is the same and may be written.
            (Destination::New { .. }, Ok(table)) if table.schema == output.schema => {
                rights.table(Privilege::Insert, &table.name)?;
                write.expect_table(&table);
                Destination::Existing(table)
            }
            (Destination::New { sharding, shards }, _) => {
                write.create_table(&output.table, &output.schema, sharding.clone(), *shards)?;
                rights.own(&mut write, &Object::Table(output.table.clone()));
                output.destination.clone()
            }
        };
        for ((instance, shard), rows) in (0..).zip(0..).zip(made) {
            let batches = rows.outputs.get(place).into_iter().flatten().filter(|batch| batch.num_rows() > 0);
            let mut batches = batches.peekable();
            if batches.peek().is_some() {
                let pieces = batches.flat_map(in_pieces).map(|piece| live.check().map(|()| piece));
                let to = placement(plan, output, &destination, shard);
                write.append(&output.table, to, pieces)?;
                placed.push(Placed { output: place, instance, to });
            }
        }
    }
    for model in made.iter().flat_map(|rows| &rows.models) {
        let table = plan.outputs.iter().find(|output| output.name == model.output);
        write.put_model(ModelRecord {
            id: model.id.clone(),
            table: table.map_or_else(|| model.output.clone(), |output| output.table.clone()),
            name: model.name.clone(),
            sha256: model.sha256.clone(),
            size_bytes: model.size_bytes,
            created_us: now_us(),
            run: Some(live.id),
        });
    }
    Ok((write, placed))
}

/// The rows of a batch, few enough at a time for a kill to be seen in between.
fn in_pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let pieces = batch.get_array_memory_size().div_ceil(PIECE_BYTES).max(1);
    let rows = batch.num_rows().div_ceil(pieces).max(1);
    (0..batch.num_rows()).step_by(rows).map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
}

/// Whether all rows that an instance makes for an output go to one shard, as far as
/// that is known before the commit.
pub(super) fn goes_to_one_shard(plan: &RunPlan, output: &Output, instance: u32) -> bool {
    let shards = match &output.destination {
        Destination::Existing(table) => table.shards,
        Destination::New { shards, .. } => *shards,
    };
    shards == 1 || matches!(placement(plan, output, &output.destination, instance), AppendTo::Shard(_))
}

/// Where an instance's rows go. Rows of a distributed proc stay in its shard
/// where the table is divided alike; storage refuses keys that belong elsewhere.
fn placement(plan: &RunPlan, output: &Output, destination: &Destination, shard: u32) -> AppendTo {
    let (sharding, shards) = match destination {
        Destination::Existing(table) => (&table.sharding, table.shards),
        Destination::New { sharding, shards } => (sharding, *shards),
    };
    match sharding {
        // Model files are large and never kept in the catalog, so they go to files.
        Sharding::Replicated => AppendTo::Shard(0),
        Sharding::Random if output.models => AppendTo::Shard(0),
        _ if plan.mode == ExecutionMode::Distributed && shards == plan.instances => AppendTo::Shard(shard),
        _ => AppendTo::Deal,
    }
}
