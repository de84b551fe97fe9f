//! Runs of a test: a proc executed on tables, and what came of it.

use std::fmt::Display;
use std::str::FromStr;

use super::bindings::quern::udf::testing;
use crate::{Error, ErrorCode, Result};

/// A run in the making, from [`run`].
#[must_use = "`execute` or `fails` executes it"]
pub struct Run {
    proc: String,
    inputs: Vec<(String, Vec<String>)>,
    outputs: Vec<String>,
    params: Vec<(String, String)>,
    options: Vec<(String, String)>,
}

/// A run that has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    run: u64,
}

/// Begins a run of a proc of this crate.
pub fn run(proc: &str) -> Run {
    Run { proc: proc.to_owned(), inputs: Vec::new(), outputs: Vec::new(), params: Vec::new(), options: Vec::new() }
}

impl Run {
    /// The next table to read, all columns of it.
    pub fn input(mut self, table: &str) -> Self {
        self.inputs.push((table.to_owned(), Vec::new()));
        self
    }

    /// The next table to read, of which the proc sees only these columns.
    pub fn input_columns(mut self, table: &str, columns: &[&str]) -> Self {
        self.inputs.push((table.to_owned(), columns.iter().map(|column| (*column).to_owned()).collect()));
        self
    }

    /// The next table to append to, made from what the proc declares where it is missing.
    pub fn output(mut self, table: &str) -> Self {
        self.outputs.push(table.to_owned());
        self
    }

    /// A parameter.
    pub fn param(mut self, name: &str, value: impl Display) -> Self {
        self.params.push((name.to_owned(), value.to_string()));
        self
    }

    /// The seed of random numbers.
    pub fn seed(self, seed: u64) -> Self {
        self.option("seed", seed)
    }

    /// Another value for a limit of the run, for example `guest_memory_bytes`.
    pub fn limit(self, name: &str, value: u64) -> Self {
        self.option(name, value)
    }

    fn option(mut self, name: &str, value: u64) -> Self {
        self.options.push((name.to_owned(), value.to_string()));
        self
    }

    /// Executes the proc until it has ended; an error where it did not complete.
    pub fn execute(self) -> Result<Execution> {
        let run = self.start()?;
        match testing::failure(run)? {
            None => Ok(Execution { run }),
            Some(reason) => Err(Error::new(ErrorCode::Internal, reason)),
        }
    }

    /// Executes the proc, which must not complete: the text of its error. An error
    /// where it does complete.
    pub fn fails(self) -> Result<String> {
        let proc = self.proc.clone();
        let run = match self.start() {
            Ok(run) => run,
            Err(refused) => return Ok(refused.message),
        };
        testing::failure(run)?.ok_or_else(|| Error::invalid(format!("`{proc}` completed, it should have failed")))
    }

    fn start(self) -> Result<u64> {
        Ok(testing::execute(&self.proc, &self.inputs, &self.outputs, &self.params, &self.options)?)
    }
}

impl Execution {
    /// A result: merged by the proc's reducers, or the only instance's.
    pub fn result<T: FromStr>(&self, name: &str) -> Result<T> {
        let results = testing::results(self.run)?;
        let Some((_, text)) = results.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = results.iter().map(|(known, _)| known.as_str()).collect();
            let message = format!("the run has no result `{name}`; it has {}", names.join(", "));
            return Err(Error::new(ErrorCode::NotFound, message));
        };
        text.parse().map_err(|_| Error::invalid(format!("result `{name}` is `{text}`, not what it was read as")))
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
}
