//! What an instance said, kept for the test to look at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use quern::proc::{LogLevel, Observer};

/// An observer that keeps all it is told.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) status: Mutex<(String, Option<f32>)>,
    pub(super) lines: Mutex<Vec<(LogLevel, String)>>,
    pub(super) metrics: Mutex<Vec<(String, u64, f64)>>,
    pub(super) results: Mutex<Vec<(String, String)>>,
}

impl Observer for Journal {
    fn status(&self, message: &str, fraction: Option<f32>) {
        *self.status.lock().unwrap() = (message.to_owned(), fraction);
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.lines.lock().unwrap().push((level, message.to_owned()));
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        self.metrics.lock().unwrap().push((name.to_owned(), step, value));
    }

    fn result(&self, name: &str, value: &str) {
        self.results.lock().unwrap().push((name.to_owned(), value.to_owned()));
    }
}
