//! What the instances of a run say while it runs, bounded: status lines, the
//! last log lines of each, metric points and results, numbered over the run.

use std::collections::VecDeque;

use super::results::Value;
use crate::base::{Limits, RunId, now_us};
use crate::proc::LogLevel;
use crate::storage::{LogLine, MetricPoint, ResultRecord};

/// What was said so far.
pub(super) struct History {
    run: RunId,
    limits: Limits,
    instances: Vec<InstanceHistory>,
    last_log: u64,
    last_metric: u64,
    metrics: Vec<MetricPoint>,
    /// Whether the log says how many lines are missing from it.
    noted_dropped: bool,
}

/// What one instance said.
#[derive(Default)]
struct InstanceHistory {
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
            instances: vec![InstanceHistory::default()],
            last_log: 0,
            last_metric: 0,
            metrics: Vec::new(),
            noted_dropped: false,
        }
    }

    /// Makes room for so many instances.
    pub(super) fn has_instances(&mut self, instances: u32) {
        self.instances.resize_with((instances as usize).max(1), InstanceHistory::default);
    }

    pub(super) fn status(&mut self, shard: u32, message: &str, fraction: Option<f32>) {
        if let Some(history) = self.of(shard) {
            message.clone_into(&mut history.status);
            history.fraction = fraction.map(f64::from).or(history.fraction);
        }
    }

    pub(super) fn log(&mut self, shard: u32, level: LogLevel, message: &str) {
        let (run, seq) = (self.run, self.last_log + 1);
        let (kept, kept_bytes) = (self.limits.log_lines, self.limits.log_bytes);
        let Some(history) = self.of(shard) else { return };
        let (level, text) = (level.as_str().to_owned(), message.to_owned());
        history.lines.push_back(LogLine { run, shard, seq, time_us: now_us(), level, text });
        history.line_bytes += message.len() as u64;
        while history.lines.len() as u64 > kept || history.line_bytes > kept_bytes {
            let Some(dropped) = history.lines.pop_front() else { break };
            history.line_bytes -= dropped.text.len() as u64;
            history.dropped_lines += 1;
        }
        self.last_log = seq;
    }

    pub(super) fn metric(&mut self, shard: u32, name: &str, step: u64, value: f64) {
        let (run, seq) = (self.run, self.last_metric + 1);
        self.last_metric = seq;
        self.metrics.push(MetricPoint { run, shard, seq, time_us: now_us(), name: name.to_owned(), step, value });
    }

    pub(super) fn result(&mut self, shard: u32, name: &str, value: Value) {
        let Some(history) = self.of(shard) else { return };
        match history.results.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => history.results.push((name.to_owned(), value)),
        }
    }

    /// Status line and progress of an instance.
    pub(super) fn status_of(&self, shard: u32) -> (String, Option<f64>) {
        self.instances.get(shard as usize).map(|history| (history.status.clone(), history.fraction)).unwrap_or_default()
    }

    /// Results of an instance in the order they were first set.
    pub(super) fn results_of(&self, shard: u32) -> &[(String, Value)] {
        self.instances.get(shard as usize).map_or(&[], |history| &history.results)
    }

    /// All results, as records.
    pub(super) fn results(&self) -> Vec<ResultRecord> {
        let of_instance = |(shard, history): (u32, &InstanceHistory)| {
            let record = move |(name, value): &(String, Value)| ResultRecord {
                run: self.run,
                shard,
                name: name.clone(),
                text: value.text().map(str::to_owned),
                bytes: value.bytes().map(<[u8]>::to_vec),
            };
            history.results.iter().map(record).collect::<Vec<_>>()
        };
        (0..).zip(&self.instances).flat_map(of_instance).collect()
    }

    /// Lines with a `seq` greater than `after`, in order, at most `limit`.
    pub(super) fn logs(&self, after: u64, limit: u32) -> Vec<LogLine> {
        let newer = self.instances.iter().flat_map(|history| {
            let from = history.lines.partition_point(|line| line.seq <= after);
            history.lines.range(from..).take(limit as usize)
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
        if let Some(history) = self.of(shard) {
            let lines = std::mem::take(&mut history.lines);
            *history = InstanceHistory {
                lines,
                line_bytes: history.line_bytes,
                dropped_lines: history.dropped_lines,
                ..InstanceHistory::default()
            };
        }
        self.metrics.retain(|point| point.shard != shard);
    }

    /// Says in the log how many lines are missing from it, once.
    pub(super) fn note_dropped(&mut self) {
        if std::mem::replace(&mut self.noted_dropped, true) {
            return;
        }
        let dropped: Vec<_> =
            (0..).zip(&self.instances).map(|(shard, history)| (shard, history.dropped_lines)).collect();
        for (shard, lines) in dropped.into_iter().filter(|(_, lines)| *lines > 0) {
            let text = format!("{lines} earlier lines were dropped (limit log_lines {})", self.limits.log_lines);
            self.log(shard, LogLevel::Warn, &text);
        }
    }

    fn of(&mut self, shard: u32) -> Option<&mut InstanceHistory> {
        self.instances.get_mut(shard as usize)
    }
}
