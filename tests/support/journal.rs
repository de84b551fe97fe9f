//! What an instance said, kept for the test to look at.

use std::sync::Mutex;

use quern::base::Result;
use quern::proc::{Checkpoints, LogLevel, Observer};

/// An observer that keeps all it is told.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) status: Mutex<(String, Option<f32>)>,
    pub(crate) lines: Mutex<Vec<(LogLevel, String)>>,
    pub(crate) metrics: Mutex<Vec<(String, u64, f64)>>,
    /// Results that are text, in the order they were first set.
    pub(crate) results: Mutex<Vec<(String, String)>>,
    pub(crate) binary_results: Mutex<Vec<(String, Vec<u8>)>>,
    /// Checkpoints by name, oldest first; those of the run that is resumed are looked up here too.
    pub(crate) checkpoints: Mutex<Vec<(String, Vec<u8>, String)>>,
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
        let mut results = self.results.lock().unwrap();
        match results.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => results.push((name.to_owned(), value.to_owned())),
        }
    }

    fn binary_result(&self, name: &str, value: &[u8]) {
        self.binary_results.lock().unwrap().push((name.to_owned(), value.to_owned()));
    }
}

impl Checkpoints for Journal {
    fn keep(&self, name: &str, file: &[u8], sha256: &str) -> Result<()> {
        self.checkpoints.lock().unwrap().push((name.to_owned(), file.to_owned(), sha256.to_owned()));
        Ok(())
    }

    fn resumed(&self, name: &str) -> Result<Option<(Vec<u8>, String)>> {
        let kept = self.checkpoints.lock().unwrap();
        Ok(kept.iter().rev().find(|(known, ..)| known == name).map(|(_, file, sha256)| (file.clone(), sha256.clone())))
    }
}
