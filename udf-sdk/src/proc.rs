//! The run as a proc sees it: tables, parameters, results, progress.

use std::fmt::Display;

use crate::bindings::quern::udf::{job, models, tables};
use crate::model::texts;
use crate::{Error, ErrorCode, Model, Module, Result, Table};

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
    ///
    /// # Errors
    /// `not-found` where the proc declares none.
    pub fn input(&self, name: &str) -> Result<&Table> {
        find(&self.inputs, "input", name)
    }

    /// The output declared under that name.
    ///
    /// # Errors
    /// `not-found` where the proc declares none.
    pub fn output(&self, name: &str) -> Result<&Table> {
        find(&self.outputs, "output", name)
    }

    /// A parameter's value, given by the caller or defaulted.
    ///
    /// # Errors
    /// `not-found` where it was neither, `invalid-argument` where it is no `T`.
    pub fn param<T: Param>(&self, name: &str) -> Result<T> {
        match job::param(name) {
            Some(text) => read_value("parameter", name, &text),
            None => Err(Error::new(ErrorCode::NotFound, format!("parameter `{name}` was not given"))),
        }
    }

    /// As [`param`](Self::param); none if it was neither given nor has a default.
    pub fn param_or_none<T: Param>(&self, name: &str) -> Result<Option<T>> {
        job::param(name).map(|text| read_value("parameter", name, &text)).transpose()
    }

    /// The bytes of a parameter of type `binary`, given by the caller or defaulted.
    ///
    /// # Errors
    /// `not-found` where it was neither.
    pub fn param_bytes(&self, name: &str) -> Result<Vec<u8>> {
        let missing = || Error::new(ErrorCode::NotFound, format!("binary parameter `{name}` was not given"));
        job::param_binary(name).ok_or_else(missing)
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
    ///
    /// # Errors
    /// `quota-exceeded` beyond the limits `text_bytes` and `results_bytes`.
    pub fn result(&self, name: &str, value: impl Display) -> Result {
        Ok(job::set_result(name, &value.to_string())?)
    }

    /// Sets a result of this instance that is bytes.
    ///
    /// # Errors
    /// `quota-exceeded` beyond the limit `results_bytes`.
    pub fn result_bytes(&self, name: &str, value: &[u8]) -> Result {
        Ok(job::set_binary_result(name, value)?)
    }

    /// Keeps the present [state](Module::state) of all `parts` as the checkpoint
    /// `name`, apart from the outputs: it is durable at once, whatever becomes of
    /// the run, and handed to the run that resumes this one.
    ///
    /// ```no_run
    /// # use quern_udf::prelude::*;
    /// # fn example(p: &Proc, net: &Mlp, adam: &Adam) -> Result {
    /// let first = match p.restore_checkpoint("training", &[net, adam])? {
    ///     Some(model) => model.metadata_of("epoch")?,
    ///     None => 0,
    /// };
    /// for epoch in first..10u32 {
    ///     // … an epoch of steps …
    ///     p.checkpoint("training", &[net, adam], &[("epoch", &(epoch + 1))])?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint(&self, name: &str, parts: &[&dyn Module], metadata: &[(&str, &dyn Display)]) -> Result {
        let states = parts.iter().map(|part| part.state()).collect::<Result<Vec<_>>>()?;
        let raw: Vec<_> = states.iter().flatten().map(|(name, variable)| (name.clone(), variable.raw())).collect();
        Ok(models::checkpoint(name, &raw, &texts(metadata))?)
    }

    /// Where this run resumes another that kept the checkpoint `name`: restores
    /// all `parts` and returns what was kept. Random operations go on
    /// as they would have gone on there, so the result is the same to the bit.
    ///
    /// # Errors
    /// Those of [`Module::restore`], where the checkpoint is of other parts.
    pub fn restore_checkpoint(&self, name: &str, parts: &[&dyn Module]) -> Result<Option<Model>> {
        let Some(raw) = models::restore_checkpoint(name)? else { return Ok(None) };
        let model = Model::own(raw);
        parts.iter().try_for_each(|part| part.restore(&model))?;
        Ok(Some(model))
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

/// The value of what `kind` and `name` call, from the text that was given for it.
pub(crate) fn read_value<T: Param>(kind: &str, name: &str, text: &str) -> Result<T> {
    T::parse(text).ok_or_else(|| Error::invalid(format!("{kind} `{name}` is `{text}`, it must be {}", T::EXPECTED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_does_not_parse_names_itself_and_what_is_expected() {
        assert_eq!(read_value::<u32>("parameter", "epochs", " 5 "), Ok(5));
        let error = read_value::<u32>("parameter", "epochs", "-1").err();
        let expected = "parameter `epochs` is `-1`, it must be a whole number from 0 to 4294967295";
        assert_eq!(error, Some(Error::invalid(expected)));
    }
}
