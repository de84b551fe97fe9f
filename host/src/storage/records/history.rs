//! What runs said while they ran: log lines, metric points, results.

use rusqlite::params;

use crate::base::{Result, RunId};
use crate::storage::connections::{U, sql};
use crate::storage::{Storage, Write};

/// A line of a run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The run.
    pub run: RunId,
    /// The instance's shard.
    pub shard: u32,
    /// Counted from 1 over the whole run; the caller counts.
    pub seq: u64,
    /// When it was said, microseconds since 1970.
    pub time_us: i64,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What was said.
    pub text: String,
}

/// A point of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// The run.
    pub run: RunId,
    /// The instance's shard.
    pub shard: u32,
    /// Counted from 1 over the whole run; the caller counts.
    pub seq: u64,
    /// When it was reported, microseconds since 1970.
    pub time_us: i64,
    /// Its name, for example `loss`.
    pub name: String,
    /// The step it belongs to.
    pub step: u64,
    /// Its value.
    pub value: f64,
}

/// A named result of an instance: text, or bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRecord {
    /// The run.
    pub run: RunId,
    /// The instance's shard.
    pub shard: u32,
    /// Its name, unique in the instance.
    pub name: String,
    /// The text, when it is one.
    pub text: Option<String>,
    /// The bytes, when it is those.
    pub bytes: Option<Vec<u8>>,
}

impl Write {
    /// Adds log lines.
    pub fn put_logs(&mut self, lines: Vec<LogLine>) {
        self.record(move |connection| {
            let mut statement = sql(connection.prepare(
                "INSERT OR REPLACE INTO quern_log (run_id, seq, shard, time_us, level, text) VALUES (?1, ?2, \
                ?3, ?4, ?5, ?6)",
            ))?;
            for line in &lines {
                sql(statement.execute(params![
                    U(line.run.0),
                    U(line.seq),
                    line.shard,
                    line.time_us,
                    line.level,
                    line.text
                ]))?;
            }
            Ok(())
        });
    }

    /// Adds metric points.
    pub fn put_metrics(&mut self, points: Vec<MetricPoint>) {
        self.record(move |connection| {
            let mut statement = sql(connection.prepare(
                "INSERT OR REPLACE INTO quern_metric (run_id, seq, shard, time_us, name, step, value) VALUES \
                (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            ))?;
            for point in &points {
                let step = point.step.cast_signed();
                // SQLite has no NaN, it would store NULL; text keeps the value as it was.
                let value = point.value.to_string();
                let (run, seq) = (U(point.run.0), U(point.seq));
                sql(statement.execute(params![run, seq, point.shard, point.time_us, point.name, step, value]))?;
            }
            Ok(())
        });
    }

    /// Adds results; one of the same name in the same instance is replaced.
    pub fn put_results(&mut self, results: Vec<ResultRecord>) {
        self.record(move |connection| {
            let mut statement = sql(connection.prepare(
                "INSERT OR REPLACE INTO quern_result (run_id, shard, name, text, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
            ))?;
            for result in &results {
                sql(statement.execute(params![U(result.run.0), result.shard, result.name, result.text, result.bytes]))?;
            }
            Ok(())
        });
    }
}

impl Storage {
    /// The log lines of a run whose `seq` is greater than `after`, at most `limit`.
    pub fn logs(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<LogLine>> {
        self.read_records(|connection| {
            let mut statement = sql(connection.prepare(
                "SELECT run_id, shard, seq, time_us, level, text FROM quern_log WHERE run_id = ?1 AND seq > ?2 \
                ORDER BY seq LIMIT ?3",
            ))?;
            let rows = sql(statement.query_map(params![U(run.0), U(after), limit], |row| {
                Ok(LogLine {
                    run: RunId(row.get::<_, U>(0)?.0),
                    shard: row.get(1)?,
                    seq: row.get::<_, U>(2)?.0,
                    time_us: row.get(3)?,
                    level: row.get(4)?,
                    text: row.get(5)?,
                })
            }))?;
            sql(rows.collect())
        })
    }

    /// The metric points of a run whose `seq` is greater than `after`, at most `limit`.
    pub fn metrics(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<MetricPoint>> {
        self.read_records(|connection| {
            let mut statement = sql(connection.prepare(
                "SELECT run_id, shard, seq, time_us, name, step, value FROM quern_metric WHERE run_id = ?1 AND \
                seq > ?2 ORDER BY seq LIMIT ?3",
            ))?;
            let rows = sql(statement.query_map(params![U(run.0), U(after), limit], |row| {
                Ok(MetricPoint {
                    run: RunId(row.get::<_, U>(0)?.0),
                    shard: row.get(1)?,
                    seq: row.get::<_, U>(2)?.0,
                    time_us: row.get(3)?,
                    name: row.get(4)?,
                    step: row.get::<_, i64>(5)?.cast_unsigned(),
                    value: row.get::<_, String>(6)?.parse().unwrap_or(f64::NAN),
                })
            }))?;
            sql(rows.collect())
        })
    }

    /// The results of a run, by instance and name.
    pub fn results(&self, run: RunId) -> Result<Vec<ResultRecord>> {
        self.read_records(|connection| {
            let mut statement = sql(connection.prepare(
                "SELECT run_id, shard, name, text, bytes FROM quern_result WHERE run_id = ?1 ORDER BY shard, name",
            ))?;
            let rows = sql(statement.query_map([U(run.0)], |row| {
                Ok(ResultRecord {
                    run: RunId(row.get::<_, U>(0)?.0),
                    shard: row.get(1)?,
                    name: row.get(2)?,
                    text: row.get(3)?,
                    bytes: row.get(4)?,
                })
            }))?;
            sql(rows.collect())
        })
    }
}
