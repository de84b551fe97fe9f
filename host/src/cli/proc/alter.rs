//! `quern proc alter`: what is set for a proc, whatever version of it answers.

use anyhow::Result;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::report::unexpected;
use crate::server::{Reply, Request};

const EXAMPLES: &str = "\
Examples:
  quern proc alter mnist.train --max-concurrency 2
  quern proc alter mnist.train --max-concurrency none";

/// Change what is set for a proc
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Alter {
    /// `proc` or `component.proc`
    #[arg(value_name = "PROC")]
    proc: String,
    /// Let only N runs of it execute at the same time; `none` lifts the bound
    #[arg(long, value_name = "N")]
    max_concurrency: Bound,
}

/// A number of runs, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound(Option<u64>);

impl Bound {
    /// The number, where there is a bound.
    pub(crate) fn runs(self) -> Option<u64> {
        self.0
    }
}

impl std::str::FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => match text.parse::<u32>() {
                Ok(runs) if runs > 0 => Ok(Self(Some(runs.into()))),
                _ => Err(format!("`{text}` is not a number of runs, 1 or more, or `none`")),
            },
        }
    }
}

impl Alter {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let runs = self.max_concurrency.runs();
        let request = Request::AlterProc { proc: self.proc, max_concurrency: runs };
        let proc = match context.connection()?.call(request, Vec::new(), &mut |_| Ok(()))? {
            Reply::Proc(proc) => proc,
            other => return Err(unexpected(&other)),
        };
        if context.json {
            return context.print_json(&serde_json::json!({ "proc": proc, "max_concurrency": runs }));
        }
        let bound = match runs {
            Some(1) => "1 run at a time".to_owned(),
            Some(runs) => format!("{runs} runs at a time"),
            None => "as many runs at a time as there are places".to_owned(),
        };
        Ok(context.print(&format!("{proc}: {bound}\n"))?)
    }
}
