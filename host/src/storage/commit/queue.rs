//! Changes that wait to be committed. Whoever gets the writing connection
//! commits for all that wait: one transaction, one sync of the disk, each
//! change in a savepoint of its own, so that one that fails leaves the others.
//!
//! Nobody is left behind: who hands in a change and finds the connection taken
//! may go, because whoever has it, for a commit or for anything else, looks at
//! the queue again after giving it back ([`Turn`]).

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Transaction;

use super::{apply, step};
use crate::base::{Error, Result, RunId, SnapshotId};
use crate::storage::Storage;
use crate::storage::connections::{Connections, Durability, U, Writer, sql};
use crate::storage::write::{Step, Target, Write};

/// Changes of one transaction: it bounds how long the first waits for the last.
const BATCH: usize = 512;

/// Changes that wait, in the order they came.
pub(in crate::storage) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Changes handed in by [`Write::commit_later`] that are not committed yet.
    later: Arc<AtomicUsize>,
    /// The number of the last run.
    last_run: AtomicU64,
}

/// A change that waits.
struct Waiting {
    write: Write,
    durability: Durability,
    answer: Answer,
}

/// Where the outcome goes; one that was never committed is told too.
struct Answer {
    outcome: Outcome,
    /// Of what nobody waits for.
    later: Option<Later>,
}

/// What becomes of a change that nobody waits for.
struct Later {
    count: Arc<AtomicUsize>,
    /// Is told why it was not committed, unless who handed it in was still there.
    lost: Lost,
}

type Lost = Box<dyn FnOnce(Error) + Send>;

type Outcome = Arc<Mutex<Slot>>;

#[derive(Default)]
struct Slot {
    outcome: Option<Result<SnapshotId>>,
    /// Nobody will look into it.
    left: bool,
}

impl Queue {
    /// An empty one.
    pub(in crate::storage) fn open(connections: &Connections) -> Result<Self> {
        let last: U = connections.read(|connection| {
            let text = "SELECT max((SELECT coalesce(max(value), 0) FROM quern_counter WHERE name = 'run'), (SELECT \
            coalesce(max(run_id), 0) FROM quern_run))";
            sql(connection.query_row(text, [], |row| row.get(0)))
        })?;
        Ok(Self { waiting: Mutex::default(), later: Arc::default(), last_run: AtomicU64::new(last.0) })
    }

    /// A number for a new run.
    pub(in crate::storage) fn next_run(&self) -> RunId {
        RunId(self.last_run.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Adds a change; answers where its outcome will be.
    fn push(&self, write: Write, lost: Option<Lost>) -> Outcome {
        let outcome = Outcome::default();
        let durability = if lost.is_some() { Durability::Later } else { Durability::Synced };
        let later = lost.map(|lost| {
            self.later.fetch_add(1, Ordering::AcqRel);
            Later { count: self.later.clone(), lost }
        });
        let answer = Answer { outcome: outcome.clone(), later };
        self.waiting().push_back(Waiting { write, durability, answer });
        outcome
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let some = waiting.len().min(BATCH);
        waiting.drain(..some).collect()
    }

    fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn give(&self, outcome: Result<SnapshotId>) {
        slot(&self.outcome).outcome.get_or_insert(outcome);
    }

    /// Whether no outcome was given yet.
    fn is_open(&self) -> bool {
        slot(&self.outcome).outcome.is_none()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(Err(Error::Internal("a change was dropped before it was committed".into())));
        if let Some(Later { count, lost }) = self.later.take() {
            count.fetch_sub(1, Ordering::AcqRel);
            let mut slot = slot(&self.outcome);
            // Who has not left finds the outcome.
            let outcome = if slot.left { slot.outcome.take() } else { None };
            drop(slot);
            if let Some(Err(error)) = outcome {
                lost(error);
            }
        }
    }
}

/// The writing connection, held. Given back, it is used once more for what was
/// handed in meanwhile.
pub(in crate::storage) struct Turn<'a> {
    /// Given back before `_after` is.
    writer: Writer<'a>,
    _after: After<'a>,
}

struct After<'a>(&'a Storage);

impl<'a> Turn<'a> {
    /// Waits for the connection.
    pub(in crate::storage) fn wait(storage: &'a Storage) -> Self {
        Self { writer: storage.0.connections.writer(), _after: After(storage) }
    }
}

impl<'a> Deref for Turn<'a> {
    type Target = Writer<'a>;

    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}

impl Drop for After<'_> {
    fn drop(&mut self) {
        help(self.0);
    }
}

/// See [`Write::commit`].
pub(in crate::storage) fn commit(mut write: Write) -> Result<SnapshotId> {
    let storage = write.storage.clone();
    write.sync_folders()?;
    let grown = grown(&write);
    let outcome = storage.0.queue.push(write, None);
    let mut writer = storage.writer();
    let answer = loop {
        if let Some(answer) = take(&outcome) {
            break answer;
        }
        commit_waiting(&storage, &mut writer);
    };
    drop(writer);
    if answer.is_ok() {
        storage.tidy_later(grown);
    }
    answer
}

/// See [`Write::commit_later`].
pub(in crate::storage) fn commit_later(mut write: Write, lost: Lost) -> Result<()> {
    let storage = write.storage.clone();
    write.sync_folders()?;
    let outcome = storage.0.queue.push(write, Some(lost));
    help(&storage);
    let mut slot = slot(&outcome);
    slot.left = slot.outcome.is_none();
    slot.outcome.take().unwrap_or(Ok(SnapshotId(0))).map(drop)
}

/// Waits until everything is committed that was handed in to be later.
pub(in crate::storage) fn settle(storage: &Storage) {
    let mut left = storage.0.queue.later.load(Ordering::Acquire);
    while left > 0 {
        let mut writer = storage.writer();
        commit_waiting(storage, &mut writer);
        // One commit takes only so many; of what came in meanwhile nobody waits here.
        left = left.saturating_sub(BATCH).min(storage.0.queue.later.load(Ordering::Acquire));
    }
}

/// Commits what waits, unless somebody does.
fn help(storage: &Storage) {
    while !storage.0.queue.is_empty() {
        let Some(mut writer) = storage.0.connections.try_writer() else { return };
        commit_waiting(storage, &mut writer);
    }
}

fn take(outcome: &Outcome) -> Option<Result<SnapshotId>> {
    slot(outcome).outcome.take()
}

fn slot(outcome: &Outcome) -> MutexGuard<'_, Slot> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Existing tables that a change adds rows to.
fn grown(write: &Write) -> Vec<String> {
    let steps = write.steps.iter();
    let names = steps.filter_map(|step| match step {
        Step::Append { target: Target::Existing(table), .. } => Some(table.name.clone()),
        _ => None,
    });
    names.collect()
}

/// One transaction for those who wait; each gets its answer.
fn commit_waiting(storage: &Storage, writer: &mut Writer<'_>) {
    let mut batch = storage.0.queue.take();
    let Some(durability) = batch.iter().map(|waiting| waiting.durability).max() else { return };
    let committed = commit_batch(storage, &mut batch, (writer, durability));
    for (waiting, outcome) in batch.iter().zip(shared(committed, batch.len())) {
        waiting.answer.give(outcome);
    }
}

/// The snapshot of each change; those that failed by themselves were answered.
fn commit_batch(
    storage: &Storage,
    batch: &mut [Waiting],
    (writer, durability): (&mut Writer<'_>, Durability),
) -> Result<Vec<SnapshotId>> {
    step(storage, "begin")?;
    writer.sync_at_commit(durability)?;
    let mut transaction = writer.begin()?;
    let mut committed = Vec::with_capacity(batch.len());
    let alone = batch.len() == 1;
    for waiting in batch.iter_mut() {
        let applied =
            if alone { apply(&mut waiting.write, &transaction) } else { apply_apart(waiting, &mut transaction) };
        match applied {
            Ok(id) => committed.push(id),
            // Some errors, such as a full disk, end the whole transaction.
            Err(error) if alone || transaction.is_autocommit() => return Err(error),
            Err(error) => {
                waiting.answer.give(Err(error));
                committed.push(SnapshotId(0));
            }
        }
    }
    step(storage, "commit")?;
    for waiting in batch.iter_mut() {
        if waiting.answer.is_open() {
            waiting.write.keep_files();
        }
    }
    sql(transaction.commit())?;
    Ok(committed)
}

/// Applies a change so that it can be undone alone.
fn apply_apart(waiting: &mut Waiting, transaction: &mut Transaction<'_>) -> Result<SnapshotId> {
    let savepoint = sql(transaction.savepoint())?;
    let id = apply(&mut waiting.write, &savepoint)?;
    sql(savepoint.commit())?;
    Ok(id)
}

/// The outcome of a transaction for each of those in it.
fn shared(committed: Result<Vec<SnapshotId>>, n: usize) -> Vec<Result<SnapshotId>> {
    let error = match committed {
        Ok(ids) => return ids.into_iter().map(Ok).collect(),
        Err(error) if n == 1 => return vec![Err(error)],
        Err(error) => error,
    };
    let text = error.chain();
    (0..n)
        .map(|_| match &error {
            Error::Full { what } => Err(Error::Full { what: what.clone() }),
            _ => Err(Error::library("a transaction of several changes failed", text.clone())),
        })
        .collect()
}
