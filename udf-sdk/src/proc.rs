//! The run as a proc sees it: tables, parameters, results, progress.

use std::fmt::Display;

use crate::bindings::quern::udf::{job, tables};
use crate::{Error, ErrorCode, Result, Table};

/// One instance of a run.
pub struct Proc {
    /// The inputs in declared order.
    pub inputs: Vec<Table>,
    /// The outputs in declared order.
    pub outputs: Vec<Table>,
}

impl Proc {
    #[doc(hidden)]
    pub fn open() -> Self {
        let own = |raw: Vec<tables::Table>| raw.into_iter().map(Table::own).collect();
        Self { inputs: own(tables::inputs()), outputs: own(tables::outputs()) }
    }

    /// The input declared under that name.
    pub fn input(&self, name: &str) -> Result<&Table> {
        find(&self.inputs, "input", name)
    }

    /// The output declared under that name.
    pub fn output(&self, name: &str) -> Result<&Table> {
        find(&self.outputs, "output", name)
    }

    /// A parameter's value, given by the caller or defaulted.
    pub fn param<T: Param>(&self, name: &str) -> Result<T> {
        match job::param(name) {
            Some(text) => read_param(name, &text),
            None => Err(Error::new(ErrorCode::NotFound, format!("parameter `{name}` was not given"))),
        }
    }

    /// As [`param`](Self::param); none if it was neither given nor has a default.
    pub fn param_or_none<T: Param>(&self, name: &str) -> Result<Option<T>> {
        job::param(name).map(|text| read_param(name, &text)).transpose()
    }

    /// The run's id, as in `quern.runs`.
    pub fn run_id(&self) -> u64 {
        job::run_id()
    }

    /// This instance's place in a distributed run: `0 ≤ shard < shards`.
    pub fn shard(&self) -> u32 {
        job::shard()
    }

    /// Number of instances of the run.
    pub fn shards(&self) -> u32 {
        job::shards()
    }

    /// The run's seed. Random tensors follow from it without further ado.
    pub fn seed(&self) -> u64 {
        job::seed()
    }

    /// Replaces the status line; `fraction` in 0..1 drives the progress bar. An
    /// error of kind `cancelled` once the run was killed, so that `?` ends it.
    pub fn status(&self, message: impl Display, fraction: f64) -> Result {
        job::set_status(&message.to_string(), Some(fraction as f32));
        if job::cancelled() { Err(Error::new(ErrorCode::Cancelled, "the run was killed")) } else { Ok(()) }
    }

    /// Appends one point of a series, for example a loss curve, to
    /// `quern.metrics`.
    pub fn metric(&self, name: &str, step: u64, value: f64) {
        job::metric(name, step, value);
    }

    /// Sets a result of this instance, which the caller sees.
    pub fn result(&self, name: &str, value: impl Display) -> Result {
        Ok(job::set_result(name, &value.to_string())?)
    }
}

fn find<'a>(tables: &'a [Table], kind: &str, name: &str) -> Result<&'a Table> {
    tables
        .iter()
        .find(|table| table.name() == name)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("the proc declares no {kind} `{name}`")))
}

/// Types of parameters: `int`, `float`, `bool` and `string` as Rust has them.
pub trait Param: Sized {
    /// From the text the caller gave; none when it is not one.
    fn parse(text: &str) -> Option<Self>;

    /// What is expected, for the error: `a whole number ≥ 0`.
    const EXPECTED: &'static str;
}

macro_rules! params {
    ($($rust:ty: $expected:literal;)*) => {$(
        impl Param for $rust {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        }
    )*};
}

params! {
    u32: "a whole number from 0 to 4294967295";
    u64: "a whole number, 0 or more";
    usize: "a whole number, 0 or more";
    i32: "a whole number of 32 bits";
    i64: "a whole number";
    f32: "a number";
    f64: "a number";
    bool: "true or false";
}

impl Param for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

fn read_param<T: Param>(name: &str, text: &str) -> Result<T> {
    T::parse(text).ok_or_else(|| Error::invalid(format!("parameter `{name}` is `{text}`, it must be {}", T::EXPECTED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_does_not_parse_names_itself_and_what_is_expected() {
        assert_eq!(read_param::<u32>("epochs", " 5 "), Ok(5));
        let error = read_param::<u32>("epochs", "-1").err();
        let expected = "parameter `epochs` is `-1`, it must be a whole number from 0 to 4294967295";
        assert_eq!(error, Some(Error::invalid(expected)));
    }
}
