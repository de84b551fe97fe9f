//! What a user sees beside rows: colours, numbers with units, grids, progress.
//! Standard output carries results; everything said beside them goes to
//! standard error.

mod grid;
mod number;
mod paint;
mod progress;

pub(super) use grid::{Align, Grid};
pub(super) use number::{bytes, count, duration, percent, since, timestamp};
pub(super) use paint::{ColorChoice, Paint};
pub(super) use progress::Progress;
