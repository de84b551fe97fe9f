//! `quern proc alter`: what is set for a proc, whatever version of it answers.

use anyhow::Result;
use clap::Args;

use crate::catalog::ProcChange;
use crate::cli::args::LimitArg;
use crate::cli::context::Context;
use crate::server::Request;

const EXAMPLES: &str = "\
Examples:
  quern proc alter mnist.train --max-concurrency 2
  quern proc alter mnist.train --max-concurrency none
  quern proc alter mnist.train --limit device_bytes=8GiB --limit handles=none";

/// Change what is set for a proc
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Alter {
    /// `proc` or `component.proc`
    #[arg(value_name = "PROC")]
    proc: String,
    /// Let only N instances of it run at the same time, over all its runs; `none` lifts the bound
    #[arg(long, value_name = "N", required_unless_present = "limits")]
    max_concurrency: Option<Bound>,
    /// Another limit for its runs; `none` takes it back; repeatable
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<LimitChange>,
}

/// `name=value` of a limit, or `name=none`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LimitChange(String, Option<u64>);

impl std::str::FromStr for LimitChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, "none")) => Ok(Self(name.trim().to_owned(), None)),
            _ => text.parse().map(|LimitArg { name, value }| Self(name, Some(value))),
        }
    }
}

/// A number of instances, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound(Option<u64>);

impl Bound {
    /// The number, where there is a bound.
    pub(crate) fn instances(self) -> Option<u64> {
        self.0
    }
}

impl std::str::FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => match text.parse::<u32>() {
                Ok(instances) if instances > 0 => Ok(Self(Some(instances.into()))),
                _ => Err(format!("`{text}` is not a number of instances, 1 or more, or `none`")),
            },
        }
    }
}

impl Alter {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let bound = self.max_concurrency.map(|bound| ProcChange::MaxConcurrency(bound.instances()));
        let limits = self.limits.into_iter().map(|LimitChange(name, value)| ProcChange::Limit(name, value));
        let changes: Vec<ProcChange> = bound.into_iter().chain(limits).collect();
        let request = Request::AlterProc { proc: self.proc, changes: changes.clone() };
        let proc = context.connection()?.ask(request)?.proc()?;
        context.show(&json(&proc, &changes), || {
            let text: String = changes.iter().map(|change| format!("{proc}: {}\n", in_words(change))).collect();
            text
        })
    }
}

/// What was changed, by name.
fn json(proc: &str, changes: &[ProcChange]) -> serde_json::Value {
    let mut done = serde_json::json!({ "proc": proc });
    for change in changes {
        match change {
            ProcChange::MaxConcurrency(instances) => done["max_concurrency"] = (*instances).into(),
            ProcChange::Limit(name, value) => done["limits"][name] = (*value).into(),
        }
    }
    done
}

fn in_words(change: &ProcChange) -> String {
    match change {
        ProcChange::MaxConcurrency(Some(1)) => "1 instance at a time".to_owned(),
        ProcChange::MaxConcurrency(Some(instances)) => format!("{instances} instances at a time"),
        ProcChange::MaxConcurrency(None) => "as many instances at a time as there are places".to_owned(),
        ProcChange::Limit(name, Some(value)) => format!("limit {name} {value}"),
        ProcChange::Limit(name, None) => format!("limit {name} as in the folder"),
    }
}
