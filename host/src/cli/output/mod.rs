//! What a user sees beside rows: colours, numbers with units, grids, progress.
//! Standard output carries results; everything said beside them goes to
//! standard error.

mod grid;
mod number;
mod paint;
mod progress;

pub(crate) use grid::{Align, Grid};
pub(crate) use number::{bytes, count, duration, duration_ms, percent, readable, since, timestamp};
pub(crate) use paint::{ColorChoice, Paint};
pub(crate) use progress::Progress;
