//! Runs that a test asks for: a proc executed on tables.

use std::fmt::Display;

use super::Execution;
use super::bindings::quern::udf::testing;
use crate::{Error, ErrorCode, Result};

/// A run in the making, from [`run`].
#[must_use = "`execute`, `fails` or `finish` executes it"]
pub struct Run {
    proc: String,
    inputs: Vec<(String, Vec<String>)>,
    outputs: Vec<String>,
    params: Vec<(String, String)>,
    binary_params: Vec<(String, Vec<u8>)>,
    options: Vec<(String, String)>,
}

/// Begins a run of a proc of this crate.
pub fn run(proc: &str) -> Run {
    Run {
        proc: proc.to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        params: Vec::new(),
        binary_params: Vec::new(),
        options: Vec::new(),
    }
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

    /// A parameter of type `binary`.
    pub fn param_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.binary_params.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Goes on from the checkpoints that `stopped` kept, with its seed.
    pub fn resume(self, stopped: &Execution) -> Self {
        self.option("resume", stopped.run())
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
        let done = self.finish()?;
        match done.failure()? {
            None => Ok(done),
            Some(reason) => Err(Error::new(ErrorCode::Internal, reason)),
        }
    }

    /// Executes the proc, which must not complete: the text of its error. An error
    /// where it does complete.
    pub fn fails(self) -> Result<String> {
        let proc = self.proc.clone();
        let done = match self.finish() {
            Ok(done) => done,
            Err(refused) => return Ok(refused.message),
        };
        done.failure()?.ok_or_else(|| Error::invalid(format!("`{proc}` completed, it should have failed")))
    }

    /// Executes the proc until it has ended, in whichever way: what it logged and
    /// kept can be looked at also where it failed, and another run may
    /// [`resume`](Self::resume) it. An error only where it could not begin.
    pub fn finish(self) -> Result<Execution> {
        let Self { proc, inputs, outputs, params, binary_params, options } = self;
        let run = testing::execute_with_bytes(&proc, &inputs, &outputs, &params, &binary_params, &options)?;
        Ok(Execution::new(run))
    }
}
