//! Errors as the user sees them: one line with its causes, then what may help.

use super::context::Context;
use super::interrupt;
use super::output::Paint;
use crate::base::Error;
use crate::server::Failure;

/// Why a command ends that did what it was asked to do: to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Says what went wrong and returns the exit code.
pub(crate) fn failed(context: &Context, error: &anyhow::Error) -> u8 {
    if closed_by_reader(error) {
        return 0;
    }
    if error.is::<Interrupted>() {
        return interrupt::exit_code();
    }
    eprint!("{}", describe(error, context.err));
    1
}

/// `error: …` and `hint: …` lines.
pub(crate) fn describe(error: &anyhow::Error, paint: Paint) -> String {
    let mut text = format!("{} {}\n", paint.red("error:"), chain(error));
    let hint = match error.downcast_ref::<Failure>() {
        Some(failure) => failure.hint.clone(),
        None => error.downcast_ref::<Error>().and_then(|error| Failure::from(error).hint),
    };
    for line in hint.iter().flat_map(|hint| hint.lines()) {
        text.push_str(&format!("{} {line}\n", paint.cyan("hint:")));
    }
    text
}

/// The error and its causes; on one line, unless a compiler speaks.
fn chain(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let part = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !parts.last().is_some_and(|last| last.ends_with(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

/// Whether the reader of our output went away, as `head` does.
fn closed_by_reader(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
}
