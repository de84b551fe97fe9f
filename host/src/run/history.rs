//! What the instances of a run say while it runs, bounded: status lines, the
//! last log lines of each, metric points and results, numbered over the run.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use super::results::Value;
use crate::base::{Limits, RunId};
use crate::proc::LogLevel;
use crate::storage::{LogLine, MetricPoint, ResultRecord};

/// What was said so far.
pub(super) struct History {
    run: RunId,
    limits: Limits,
    said: Vec<Said>,
    last_log: u64,
    last_metric: u64,
    metrics: Vec<MetricPoint>,
    /// Whether the log says how many lines are missing from it.
    noted_dropped: bool,
}

/// What one instance said.
#[derive(Default)]
struct Said {
    status: String,
    fraction: Option<f64>,
    lines: VecDeque<LogLine>,
    line_bytes: u64,
    dropped_lines: u64,
    results: Vec<(String, Value)>,
}

impl History {
    /// Of a run whose instances are not known yet; what the host has to say before
    /// is told with the first.
    pub(super) fn new(run: RunId, limits: &Limits) -> Self {
        Self {
            run,
            limits: limits.clone(),
            said: vec![Said::default()],
            last_log: 0,
            last_metric: 0,
            metrics: Vec::new(),
            noted_dropped: false,
        }
    }

    /// Makes room for so many instances.
    pub(super) fn has_instances(&mut self, instances: u32) {
        self.said.resize_with((instances as usize).max(1), Said::default);
    }

    pub(super) fn status(&mut self, shard: u32, message: &str, fraction: Option<f32>) {
        if let Some(said) = self.of(shard) {
            message.clone_into(&mut said.status);
            said.fraction = fraction.map(f64::from).or(said.fraction);
        }
    }

    pub(super) fn log(&mut self, shard: u32, level: LogLevel, message: &str) {
        let (run, seq) = (self.run, self.last_log + 1);
        let (kept, kept_bytes) = (self.limits.log_lines, self.limits.log_bytes);
        let Some(said) = self.of(shard) else { return };
        let (level, text) = (level.as_str().to_owned(), message.to_owned());
        said.lines.push_back(LogLine { run, shard, seq, time_us: now_us(), level, text });
        said.line_bytes += message.len() as u64;
        while said.lines.len() as u64 > kept || said.line_bytes > kept_bytes {
            let Some(dropped) = said.lines.pop_front() else { break };
            said.line_bytes -= dropped.text.len() as u64;
            said.dropped_lines += 1;
        }
        self.last_log = seq;
    }

    pub(super) fn metric(&mut self, shard: u32, name: &str, step: u64, value: f64) {
        let (run, seq) = (self.run, self.last_metric + 1);
        self.last_metric = seq;
        self.metrics.push(MetricPoint { run, shard, seq, time_us: now_us(), name: name.to_owned(), step, value });
    }

    pub(super) fn result(&mut self, shard: u32, name: &str, value: Value) {
        let Some(said) = self.of(shard) else { return };
        match said.results.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => said.results.push((name.to_owned(), value)),
        }
    }

    /// Status line and progress of an instance.
    pub(super) fn status_of(&self, shard: u32) -> (String, Option<f64>) {
        self.said.get(shard as usize).map(|said| (said.status.clone(), said.fraction)).unwrap_or_default()
    }

    /// Results of an instance in the order they were first set.
    pub(super) fn results_of(&self, shard: u32) -> &[(String, Value)] {
        self.said.get(shard as usize).map_or(&[], |said| &said.results)
    }

    /// All results, as records.
    pub(super) fn results(&self) -> Vec<ResultRecord> {
        let of_instance = |(shard, said): (u32, &Said)| {
            let record = move |(name, value): &(String, Value)| ResultRecord {
                run: self.run,
                shard,
                name: name.clone(),
                text: value.text().map(str::to_owned),
                bytes: value.bytes().map(<[u8]>::to_vec),
            };
            said.results.iter().map(record).collect::<Vec<_>>()
        };
        (0..).zip(&self.said).flat_map(of_instance).collect()
    }

    /// Lines with a `seq` greater than `after`, in order, at most `limit`.
    pub(super) fn logs(&self, after: u64, limit: u32) -> Vec<LogLine> {
        let newer = self.said.iter().flat_map(|said| {
            let from = said.lines.partition_point(|line| line.seq <= after);
            said.lines.range(from..).take(limit as usize)
        });
        let mut lines: Vec<LogLine> = newer.cloned().collect();
        lines.sort_by_key(|line| line.seq);
        lines.truncate(limit as usize);
        lines
    }

    /// Points with a `seq` greater than `after`, in order, at most `limit`.
    pub(super) fn metrics(&self, after: u64, limit: u32) -> Vec<MetricPoint> {
        let from = self.metrics.partition_point(|point| point.seq <= after);
        self.metrics.iter().skip(from).take(limit as usize).cloned().collect()
    }

    /// Forgets what an instance has set and reported; its log stays.
    pub(super) fn forget(&mut self, shard: u32) {
        if let Some(said) = self.of(shard) {
            let lines = std::mem::take(&mut said.lines);
            *said = Said { lines, line_bytes: said.line_bytes, dropped_lines: said.dropped_lines, ..Said::default() };
        }
        self.metrics.retain(|point| point.shard != shard);
    }

    /// Says in the log how many lines are missing from it, once.
    pub(super) fn note_dropped(&mut self) {
        if std::mem::replace(&mut self.noted_dropped, true) {
            return;
        }
        let dropped: Vec<_> = (0..).zip(&self.said).map(|(shard, said)| (shard, said.dropped_lines)).collect();
        for (shard, lines) in dropped.into_iter().filter(|(_, lines)| *lines > 0) {
            let text = format!("{lines} earlier lines were dropped (limit log_lines {})", self.limits.log_lines);
            self.log(shard, LogLevel::Warn, &text);
        }
    }

    fn of(&mut self, shard: u32) -> Option<&mut Said> {
        self.said.get_mut(shard as usize)
    }
}

/// Microseconds since 1970 by the system's clock.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
