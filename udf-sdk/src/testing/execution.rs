//! What came of a run of a test: results, metrics, log, checkpoints.

use std::str::FromStr;

use super::bindings::quern::udf::testing;
use crate::{Error, ErrorCode, Result};

/// A run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    run: u64,
}

/// A checkpoint that a run kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The instance that kept it.
    pub instance: u32,
    /// Its name.
    pub name: String,
    /// What it takes.
    pub size_bytes: u64,
}

impl Execution {
    pub(super) fn new(run: u64) -> Self {
        Self { run }
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Why the run did not complete; none where it did.
    pub fn failure(&self) -> Result<Option<String>> {
        Ok(testing::failure(self.run)?)
    }

    /// A result: merged by the proc's reducers, or the only instance's.
    ///
    /// # Errors
    /// `not-found` without such a result, `invalid-argument` where it is no `T`.
    pub fn result<T: FromStr>(&self, name: &str) -> Result<T> {
        parse(name, &named(name, testing::results(self.run)?)?)
    }

    /// A result that is bytes: merged by the proc's reducers, or the only
    /// instance's.
    ///
    /// # Errors
    /// `not-found` without such a result.
    pub fn result_bytes(&self, name: &str) -> Result<Vec<u8>> {
        named(name, testing::binary_results(self.run)?)
    }

    /// What each instance set as a result, before it is merged, by the number of
    /// the instance; those that did not set it are left out.
    ///
    /// # Errors
    /// `invalid-argument` where one is no `T`.
    pub fn result_of_each<T: FromStr>(&self, name: &str) -> Result<Vec<(u32, T)>> {
        let each = testing::instance_results(self.run, name)?.into_iter();
        each.map(|(instance, text)| Ok((instance, parse(name, &text)?))).collect()
    }

    /// The points of a metric: step and value.
    pub fn metric(&self, name: &str) -> Result<Vec<(u64, f64)>> {
        let points = testing::metrics(self.run)?.into_iter();
        Ok(points.filter(|(known, ..)| known == name).map(|(_, step, value)| (step, value)).collect())
    }

    /// The lines of the log.
    pub fn log(&self) -> Result<Vec<String>> {
        Ok(testing::logs(self.run)?.into_iter().map(|(_, text)| text).collect())
    }

    /// The lines of the log that have this level: `trace`, `debug`, `info`, `warn`
    /// or `error`.
    pub fn log_at(&self, level: &str) -> Result<Vec<String>> {
        let lines = testing::logs(self.run)?.into_iter();
        Ok(lines.filter(|(of_line, _)| of_line == level).map(|(_, text)| text).collect())
    }

    /// The checkpoints that the run kept, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let kept = testing::checkpoints(self.run)?.into_iter();
        Ok(kept.map(|(instance, name, size_bytes)| Checkpoint { instance, name, size_bytes }).collect())
    }
}

/// The value of that name.
fn named<T>(name: &str, results: Vec<(String, T)>) -> Result<T> {
    let names: Vec<String> = results.iter().map(|(known, _)| known.clone()).collect();
    results.into_iter().find(|(known, _)| known == name).map(|(_, value)| value).ok_or_else(|| {
        let names = if names.is_empty() { "none of this kind".to_owned() } else { names.join(", ") };
        Error::new(ErrorCode::NotFound, format!("the run has no result `{name}`; it has {names}"))
    })
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::invalid(format!("result `{name}` is `{text}`, not what it was read as")))
}
