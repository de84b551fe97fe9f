//! `quern proc test`: a crate's tests, in the executor that its procs will run in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::args::parse_duration;
use crate::cli::context::Context;
use crate::cli::output::{duration, duration_ms};
use crate::run::{Suite, SuiteReport, TestReport};

const EXAMPLES: &str = "\
Examples:
  quern proc test                          the project in this folder
  quern proc test udfs/mnist --filter learns

The tests stand in `tests!` of quern-udf. Each makes tables, executes procs and looks
at the tables they leave; nothing of it reaches a data folder. Plain functions of the
crate are tested by `cargo test`.";

/// Test a proc's project: build it with its tests and execute them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Test {
    /// The project's folder
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Only tests whose name contains this; repeatable
    #[arg(long = "filter", short, value_name = "TEXT")]
    filters: Vec<String>,
    /// Wall time of one test
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    deadline: Duration,
}

impl Test {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let mut progress = context.progress(&format!("building {}", self.folder.display()));
        let built = crate::proc::build::build_tests(&self.folder, &mut |line| progress.set(None, line))?;
        progress.finish();
        let suite = Suite {
            name: built.name,
            filters: self.filters,
            deadline: self.deadline,
            device: context.device(),
            cores: context.cores(),
        };
        let show = !context.json;
        if show {
            context.note(&format!("built the tests of {} in {}", suite.name, duration(built.elapsed)));
        }
        let mut told = Ok(());
        let done = suite.run(&built.bytes, &mut |_| {}, &mut |test| {
            if show && told.is_ok() {
                told = context.print(&line(test, context));
            }
        })?;
        told?;
        context.show(&json(&done), || summary(&done, context))?;
        match done.failed() {
            0 => Ok(()),
            1 => bail!("1 test failed"),
            failed => bail!("{failed} tests failed"),
        }
    }
}

/// `test fits_a_line ... ok (12 ms)`.
fn line(test: &TestReport, context: &Context) -> String {
    let time = duration_ms(test.elapsed_ms);
    let outcome = if test.failure.is_some() { context.out.red("FAILED") } else { context.out.green("ok") };
    format!("test {} ... {outcome} {}\n", test.name, context.out.dim(&format!("({time})")))
}

/// What the tests that failed said, and how many did.
fn summary(done: &SuiteReport, context: &Context) -> String {
    let mut text = String::new();
    for test in &done.tests {
        let Some(failure) = &test.failure else { continue };
        text.push_str(&format!("\n---- {} ----\n", test.name));
        // The text of a panic was logged with its lines; it is the failure.
        let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_failure = |line: &str| on_one_line(line) == on_one_line(failure);
        for (level, line) in test.log.iter().filter(|(_, line)| !is_failure(line)) {
            text.push_str(&format!("{} {line}\n", context.out.dim(level.as_str())));
        }
        let full = test.log.iter().map(|(_, line)| line).find(|line| is_failure(line)).unwrap_or(failure);
        text.push_str(&format!("{full}\n"));
    }
    let failed = done.failed();
    let outcome = if failed == 0 { context.out.green("ok") } else { context.out.red("FAILED") };
    text.push_str(&format!(
        "\ntest result: {outcome}. {} passed; {failed} failed; {} filtered out; finished in {}\n",
        done.tests.len() - failed,
        done.filtered,
        duration_ms(done.elapsed_ms)
    ));
    text
}

fn json(done: &SuiteReport) -> serde_json::Value {
    let test = |test: &TestReport| {
        let log = test.log.iter().map(|(level, text)| serde_json::json!({ "level": level.as_str(), "text": text }));
        serde_json::json!({
            "name": test.name,
            "state": if test.failure.is_some() { "failed" } else { "ok" },
            "failure": test.failure,
            "elapsed_ms": test.elapsed_ms,
            "log": log.collect::<Vec<_>>(),
        })
    };
    serde_json::json!({
        "tests": done.tests.iter().map(test).collect::<Vec<_>>(),
        "passed": done.tests.len() - done.failed(),
        "failed": done.failed(),
        "filtered": done.filtered,
        "elapsed_ms": done.elapsed_ms,
    })
}
