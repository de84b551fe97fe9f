//! Lines of the run's log. Lines beyond the limit `log_lines` are dropped,
//! oldest first, and counted.

use std::fmt::Display;

use crate::bindings::quern::udf::job::{Level, log};

/// Details of no interest unless something is searched for.
pub fn trace(message: impl Display) {
    log(Level::Trace, &message.to_string());
}

/// For the proc's author.
pub fn debug(message: impl Display) {
    log(Level::Debug, &message.to_string());
}

/// For whoever runs the proc.
pub fn info(message: impl Display) {
    log(Level::Info, &message.to_string());
}

/// Something that may make the result wrong.
pub fn warn(message: impl Display) {
    log(Level::Warn, &message.to_string());
}

/// Why the run is about to fail.
pub fn error(message: impl Display) {
    log(Level::Error, &message.to_string());
}
