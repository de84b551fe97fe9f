//! Keeps what an instance says while it runs, bounded, so that others can look:
//! the status line, the last log lines, metric points and results.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{LogLevel, Observer};
use crate::base::Limits;

/// What one instance has said so far.
pub struct Journal {
    log_lines: usize,
    state: Mutex<State>,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counted from 0 in its instance, dropped lines included.
    pub seq: u64,
    /// Microseconds since 1970.
    pub time_us: i64,
    /// How serious it is.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// A point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// The series.
    pub name: String,
    /// The place on the horizontal axis.
    pub step: u64,
    /// The value there.
    pub value: f64,
    /// Microseconds since 1970.
    pub time_us: i64,
}

#[derive(Default)]
struct State {
    message: String,
    fraction: Option<f32>,
    lines: VecDeque<LogLine>,
    next_seq: u64,
    metrics: Vec<MetricPoint>,
    results: Vec<(String, String)>,
}

impl Journal {
    /// An empty one that keeps as many lines as `limits` say.
    pub fn new(limits: &Limits) -> Self {
        Self { log_lines: usize::try_from(limits.log_lines).unwrap_or(usize::MAX), state: Mutex::default() }
    }

    /// The status line and progress in 0..1.
    pub fn status_line(&self) -> (String, Option<f32>) {
        let state = self.state();
        (state.message.clone(), state.fraction)
    }

    /// Kept lines with a `seq` of at least `from`, oldest first.
    pub fn lines_from(&self, from: u64) -> Vec<LogLine> {
        self.state().lines.iter().filter(|line| line.seq >= from).cloned().collect()
    }

    /// Lines that were dropped to keep within the limit.
    pub fn dropped_lines(&self) -> u64 {
        let state = self.state();
        state.next_seq - state.lines.len() as u64
    }

    /// Metric points from position `from` on.
    pub fn metrics_from(&self, from: usize) -> Vec<MetricPoint> {
        self.state().metrics.iter().skip(from).cloned().collect()
    }

    /// Results in the order they were first set.
    pub fn results(&self) -> Vec<(String, String)> {
        self.state().results.clone()
    }

    /// A panic of another thread leaves a journal that is still worth reading.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Journal {
    fn status(&self, message: &str, fraction: Option<f32>) {
        let mut state = self.state();
        message.clone_into(&mut state.message);
        if fraction.is_some() {
            state.fraction = fraction;
        }
    }

    fn log(&self, level: LogLevel, message: &str) {
        let mut state = self.state();
        let line = LogLine { seq: state.next_seq, time_us: now_us(), level, message: message.to_owned() };
        state.next_seq += 1;
        if state.lines.len() >= self.log_lines {
            state.lines.pop_front();
        }
        if self.log_lines > 0 {
            state.lines.push_back(line);
        }
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        self.state().metrics.push(MetricPoint { name: name.to_owned(), step, value, time_us: now_us() });
    }

    fn result(&self, name: &str, value: &str) {
        let mut state = self.state();
        match state.results.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => state.results.push((name.to_owned(), value.to_owned())),
        }
    }
}

/// Microseconds since 1970 by the system's clock.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
