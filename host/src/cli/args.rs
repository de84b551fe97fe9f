//! Values of arguments: pairs, sizes and times.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::base::{LimitChanges, Limits, RunId};
use crate::database::MAX_CORES;
use crate::storage::RunState;

/// A `name=value` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// What stands before the first `=`.
    pub(crate) name: String,
    /// What stands after it.
    pub(crate) value: String,
}

impl std::str::FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok(Self { name: name.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err("write name=value".to_owned()),
        }
    }
}

/// A `--limit name=value` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitArg {
    /// The limit's name.
    pub(crate) name: String,
    /// Its value in the unit that its name ends with.
    pub(crate) value: u64,
}

impl std::str::FromStr for LimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair: Pair = text.parse()?;
        LimitChanges::new().set(&pair.name, 1).map_err(|e| e.to_string())?;
        Ok(Self { value: limit_value(&pair)?, name: pair.name })
    }
}

/// A limit that may be set while a component is created or a folder is held: there
/// are more of them than a run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreationLimitArg(pub(crate) LimitArg);

impl std::str::FromStr for CreationLimitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair: Pair = text.parse()?;
        Limits::default().set(&pair.name, 1).map_err(|e| e.to_string())?;
        Ok(Self(LimitArg { value: limit_value(&pair)?, name: pair.name }))
    }
}

/// A value that a variable may hold; nothing where that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmptyIsNone<T>(pub(crate) Option<T>);

impl<T> std::str::FromStr for EmptyIsNone<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self(None)),
            text => text.parse().map(|value| Self(Some(value))).map_err(|e: T::Err| e.to_string()),
        }
    }
}

/// A number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores(pub(crate) usize);

impl std::str::FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(cores) if (1..=MAX_CORES).contains(&cores) => Ok(Self(cores)),
            _ => Err(format!("ask for 1 to {MAX_CORES} threads")),
        }
    }
}

/// A value in the unit that its limit's name ends with.
fn limit_value(limit: &Pair) -> Result<u64, String> {
    if limit.name.ends_with("_bytes") {
        parse_bytes(&limit.value)
    } else if limit.name.ends_with("_ms") {
        // The limit's name has the unit of a bare number.
        let with_unit = if limit.value.bytes().all(|byte| byte.is_ascii_digit()) { "ms" } else { "" };
        let time = parse_duration(&format!("{}{with_unit}", limit.value))?;
        u64::try_from(time.as_millis()).map_err(|_| "too long".to_owned())
    } else {
        limit.value.parse().map_err(|_| format!("`{}` is not a whole number", limit.value))
    }
}

impl ValueEnum for RunState {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// The number of a run.
pub(crate) fn parse_run(text: &str) -> Result<RunId, String> {
    text.parse().map(RunId).map_err(|_| "a run has a number; `quern run list` lists the runs".to_owned())
}

/// `1048576`, `512KiB`, `256MiB`, `4GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(not_a_size(text)),
    };
    let number: u64 = number.parse().map_err(|_| not_a_size(text))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is larger than any memory"))
}

fn not_a_size(text: &str) -> String {
    format!("`{text}` is not a size; write for example 1048576, 512MiB or 4GiB")
}

/// `500ms`, `10s`, `2.5min`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let ms = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1.0,
        "s" | "sec" => 1e3,
        "m" | "min" => 60e3,
        "h" => 3600e3,
        _ => return Err(not_a_time(text)),
    };
    match number.parse::<f64>() {
        // 100 years, so that no sum of times overflows.
        Ok(n) if n * ms >= 1.0 && n * ms < 3.2e12 => Ok(Duration::from_millis((n * ms) as u64)),
        _ => Err(not_a_time(text)),
    }
}

fn not_a_time(text: &str) -> String {
    format!("`{text}` is not a time; write for example 500ms, 10s or 5min")
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number.trim(), unit)
}
