//! Runs and their instances.

use rusqlite::{OptionalExtension, Row, ToSql, params};

use crate::base::{Error, Result, RunId, SnapshotId};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, Write};

/// Where a run or an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Waiting for a place.
    Queued,
    /// Executing.
    Running,
    /// Outputs are committed.
    Complete,
    /// Ended by an error; nothing was committed.
    Error,
    /// Ended by a kill or a limit of time; nothing was committed.
    Killed,
}

impl RunState {
    /// Every state, in the order a run goes through them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Complete, Self::Error, Self::Killed];

    /// The word stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Killed => "killed",
        }
    }

    /// Whether nothing changes any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Error | Self::Killed)
    }
}

impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for RunState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| Error::not_found("run state", text, None, Self::ALL.map(Self::name)))
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Its number; [`Storage::next_run`] gives it.
    pub id: RunId,
    /// The proc.
    pub proc: String,
    /// The component that offers it.
    pub component: String,
    /// The component's bytes.
    pub sha256: String,
    /// Who owned the component then: a user, or `owner`, the folder's.
    pub component_owner: String,
    /// What the caller called the run.
    pub tag: Option<String>,
    /// Who asked for it.
    pub user: String,
    /// Where it stands.
    pub state: RunState,
    /// Parameters as JSON text.
    pub params: String,
    /// Inputs as JSON text.
    pub inputs: String,
    /// Outputs as JSON text.
    pub outputs: String,
    /// What it reads; none while queued.
    pub snapshot: Option<SnapshotId>,
    /// Seed of its random numbers.
    pub seed: u64,
    /// When it was asked for, microseconds since 1970.
    pub submitted_us: i64,
    /// When it left the queue.
    pub started_us: Option<i64>,
    /// When all its instances had completed and their rows began to be written.
    pub committing_us: Option<i64>,
    /// When it ended.
    pub finished_us: Option<i64>,
    /// Why it ended without completing.
    pub error: Option<String>,
    /// Number of instances; 0 until it is known.
    pub instances: u32,
    /// The run whose checkpoints it was handed.
    pub resume: Option<RunId>,
    /// What the host has to say about it that did not end it.
    pub warning: Option<String>,
}

/// One instance of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceRecord {
    /// The run.
    pub run: RunId,
    /// The shard it sees; 0 for a nondistributed proc.
    pub shard: u32,
    /// Where it stands.
    pub state: RunState,
    /// Its last status line.
    pub status: String,
    /// Progress, 0 to 1.
    pub fraction: Option<f64>,
    /// Its closing message, or why it failed.
    pub message: Option<String>,
    /// Results as JSON text.
    pub results: String,
    /// What it used, as JSON text.
    pub receipt: String,
}

/// Which runs to list; the newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only in this state.
    pub state: Option<RunState>,
    /// Only of this proc.
    pub proc: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// At most so many.
    pub limit: Option<u32>,
}

const COLUMNS: &str = "run_id, proc, component, sha256, tag, user, state, params, inputs, outputs, snapshot_id, \
seed, submitted_us, started_us, finished_us, error, instances, committing_us, component_owner, resume, warning";

fn run_from_row(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    let state: String = row.get(6)?;
    Ok(RunRecord {
        id: RunId(row.get::<_, U>(0)?.0),
        proc: row.get(1)?,
        component: row.get(2)?,
        sha256: row.get(3)?,
        tag: row.get(4)?,
        user: row.get(5)?,
        state: state.parse().unwrap_or(RunState::Error),
        params: row.get(7)?,
        inputs: row.get(8)?,
        outputs: row.get(9)?,
        snapshot: row.get::<_, Option<U>>(10)?.map(|id| SnapshotId(id.0)),
        // SQLite integers are signed: the seed keeps its bits.
        seed: row.get::<_, i64>(11)?.cast_unsigned(),
        submitted_us: row.get(12)?,
        started_us: row.get(13)?,
        finished_us: row.get(14)?,
        error: row.get(15)?,
        instances: row.get(16)?,
        committing_us: row.get(17)?,
        component_owner: row.get(18)?,
        resume: row.get::<_, Option<U>>(19)?.map(|id| RunId(id.0)),
        warning: row.get(20)?,
    })
}

fn instance_from_row(row: &Row<'_>) -> rusqlite::Result<InstanceRecord> {
    let state: String = row.get(2)?;
    Ok(InstanceRecord {
        run: RunId(row.get::<_, U>(0)?.0),
        shard: row.get(1)?,
        state: state.parse().unwrap_or(RunState::Error),
        status: row.get(3)?,
        fraction: row.get(4)?,
        message: row.get(5)?,
        results: row.get(6)?,
        receipt: row.get(7)?,
    })
}

impl Write {
    /// Writes the record of a new run, whose number is from [`Storage::next_run`].
    pub fn create_run(&mut self, run: RunRecord) {
        let id = run.id;
        self.record(move |connection| {
            let text = "UPDATE quern_counter SET value = max(value, ?1) WHERE name = 'run'";
            sql(connection.execute(text, [U(id.0)])).map(drop)
        });
        self.put_run(run);
    }

    /// Notes when a run ended, once that is known.
    pub fn set_finished(&mut self, run: RunId, finished_us: i64) {
        self.record(move |connection| {
            let text = "UPDATE quern_run SET finished_us = ?2 WHERE run_id = ?1";
            sql(connection.execute(text, params![U(run.0), finished_us])).map(drop)
        });
    }

    /// Writes a run's record over the one of the same number, whose component's owner
    /// stays as it is: [`Write::drop_user`] may have changed it meanwhile.
    pub fn put_run(&mut self, run: RunRecord) {
        self.record(move |connection| {
            let (id, snapshot) = (U(run.id.0), run.snapshot.map(|s| U(s.0)));
            let (seed, resume) = (run.seed.cast_signed(), run.resume.map(|id| U(id.0)));
            let values: [&dyn ToSql; 21] = [
                &id,
                &run.proc,
                &run.component,
                &run.sha256,
                &run.tag,
                &run.user,
                &run.state.name(),
                &run.params,
                &run.inputs,
                &run.outputs,
                &snapshot,
                &seed,
                &run.submitted_us,
                &run.started_us,
                &run.finished_us,
                &run.error,
                &run.instances,
                &run.committing_us,
                &run.component_owner,
                &resume,
                &run.warning,
            ];
            let changed = COLUMNS.split(", ").filter(|column| !["run_id", "component_owner"].contains(column));
            let changed: Vec<String> = changed.map(|column| format!("{column} = excluded.{column}")).collect();
            let text = format!(
                "INSERT INTO quern_run ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
                 ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21) ON CONFLICT (run_id) DO UPDATE SET {}",
                changed.join(", ")
            );
            sql(connection.execute(&text, &values[..])).map(drop)
        });
    }

    /// Writes an instance's record over the one of the same run and shard.
    pub fn put_instance(&mut self, instance: InstanceRecord) {
        self.record(move |connection| {
            sql(connection.execute(
                "INSERT OR REPLACE INTO quern_instance (run_id, shard, state, status, fraction, message, \
                results, receipt) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    U(instance.run.0),
                    instance.shard,
                    instance.state.name(),
                    instance.status,
                    instance.fraction,
                    instance.message,
                    instance.results,
                    instance.receipt
                ],
            ))
            .map(drop)
        });
    }

    /// Forgets a run that has ended, with its instances, logs, metrics and results.
    pub fn delete_run(&mut self, run: RunId) {
        self.record(move |connection| {
            for table in
                ["quern_run", "quern_instance", "quern_log", "quern_metric", "quern_result", "quern_checkpoint"]
            {
                sql(connection.execute(&format!("DELETE FROM {table} WHERE run_id = ?1"), [U(run.0)]))?;
            }
            Ok(())
        });
    }
}

impl Storage {
    /// A number for a new run. One process at a time may ask: the one that holds
    /// the folder. With [`Write::create_run`] it is never given again.
    pub fn next_run(&self) -> RunId {
        self.0.queue.next_run()
    }

    /// One run.
    pub fn run(&self, id: RunId) -> Result<RunRecord> {
        self.read_records(|connection| {
            let text = format!("SELECT {COLUMNS} FROM quern_run WHERE run_id = ?1");
            let found = sql(connection.query_row(&text, [U(id.0)], run_from_row).optional())?;
            found.ok_or_else(|| Error::not_found("run", &id.to_string(), None, [""; 0]))
        })
    }

    /// Runs, newest first.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        let state = filter.state.map(RunState::name);
        let mut text = format!("SELECT {COLUMNS} FROM quern_run");
        let mut values: Vec<&dyn ToSql> = Vec::new();
        if let Some(state) = &state {
            text.push_str(" WHERE state = ?");
            values.push(state);
        }
        for (column, value) in [("proc", &filter.proc), ("tag", &filter.tag)] {
            if let Some(value) = value {
                text.push_str(if values.is_empty() { " WHERE " } else { " AND " });
                text.push_str(&format!("{column} = ?"));
                values.push(value);
            }
        }
        text.push_str(" ORDER BY run_id DESC LIMIT ?");
        let limit = filter.limit.map_or(-1, i64::from);
        values.push(&limit);
        self.read_records(|connection| {
            let mut statement = sql(connection.prepare(&text))?;
            let rows = sql(statement.query_map(&values[..], run_from_row))?;
            sql(rows.collect())
        })
    }

    /// The instances of a run, by shard.
    pub fn instances(&self, run: RunId) -> Result<Vec<InstanceRecord>> {
        self.read_records(|connection| {
            let mut statement = sql(connection.prepare(
                "SELECT run_id, shard, state, status, fraction, message, results, receipt FROM quern_instance \
                WHERE run_id = ?1 ORDER BY shard",
            ))?;
            let rows = sql(statement.query_map([U(run.0)], instance_from_row))?;
            sql(rows.collect())
        })
    }
}
