//! How the demo's results are drawn.

use std::time::Duration;

use crate::cli::output::{Align, Grid, Paint, bytes, count, duration, duration_ms};
use crate::proc::Receipt;
use crate::server::RunView;

/// Digits there are.
pub(crate) const DIGITS: usize = 10;

/// `matrix[label][predict]`: test images.
pub(crate) type Confusion = [[u64; DIGITS]; DIGITS];

/// Errors of one kind from which on they are many.
const MANY: u64 = 8;

/// Images whose predicted digit is their label.
pub(crate) fn correct(matrix: &Confusion) -> u64 {
    matrix.iter().enumerate().filter_map(|(digit, row)| row.get(digit)).sum()
}

/// All images.
pub(crate) fn total(matrix: &Confusion) -> u64 {
    matrix.iter().flatten().sum()
}

/// Actual digits down, predicted ones across.
pub(crate) fn confusion(matrix: &Confusion, paint: Paint) -> String {
    const CELL: usize = 6;
    let mut text = format!("{}{}\n", " ".repeat(9), paint.dim("predicted"));
    let heads: String = (0..DIGITS).map(|digit| format!("{digit:>CELL$}")).collect();
    text.push_str(&format!("{}{}\n", paint.dim("actual "), paint.bold(&heads)));
    for (label, row) in matrix.iter().enumerate() {
        text.push_str(&paint.bold(&format!("{label:>6} ")));
        for (predicted, images) in row.iter().enumerate() {
            let shown = if *images == 0 { "·".to_owned() } else { images.to_string() };
            let cell = format!("{shown:>CELL$}");
            text.push_str(&match images {
                _ if predicted == label => paint.green(&cell),
                0 => paint.dim(&cell),
                n if *n >= MANY => paint.red(&cell),
                _ => paint.yellow(&cell),
            });
        }
        text.push('\n');
    }
    text
}

/// The receipts of runs side by side, all instances of each together.
pub(crate) fn receipts(runs: &[&RunView], paint: Paint) -> String {
    let mut grid = Grid::new(std::iter::once(("", Align::Left)).chain(runs.iter().map(|_| ("", Align::Right))));
    let mut line = |name: &str, value: &dyn Fn(&RunView) -> String| {
        grid.row(std::iter::once(paint.dim(name)).chain(runs.iter().map(|run| value(run))));
    };
    line("proc", &|run| format!("{}.{}", run.component, run.proc));
    line("run", &|run| run.id.to_string());
    line("instances", &|run| run.instances.len().to_string());
    line("wall time", &|run| duration(wall(run)));
    line("guest time", &|run| duration_ms(sum(run, |r| r.guest_ms)));
    line("device time", &|run| duration_ms(sum(run, |r| r.device_ms)));
    line("rows in", &|run| count(total_of(run, |r| r.rows_in)));
    line("rows out", &|run| count(total_of(run, |r| r.rows_out)));
    line("moved to device", &|run| bytes(total_of(run, |r| r.moved.to_device_bytes())));
    line("moved from device", &|run| bytes(total_of(run, |r| r.moved.from_device_bytes())));
    line("guest memory", &|run| bytes(total_of(run, |r| r.peak_guest_bytes)));
    line("device memory", &|run| bytes(each(run).map(|r| r.peak_device_bytes).max().unwrap_or(0)));
    line("programs", &|run| count(total_of(run, |r| r.programs)));
    line("replays", &|run| count(total_of(run, |r| r.replays)));
    grid.body(&grid.widths())
}

fn each(run: &RunView) -> impl Iterator<Item = &Receipt> {
    run.instances.iter().filter_map(|instance| instance.receipt.as_ref())
}

fn sum(run: &RunView, field: impl Fn(&Receipt) -> f64) -> f64 {
    each(run).map(field).sum()
}

fn total_of(run: &RunView, field: impl Fn(&Receipt) -> u64) -> u64 {
    each(run).map(field).sum()
}

/// From the moment a run left the queue to its commit.
fn wall(run: &RunView) -> Duration {
    let us = run.finished_us.zip(run.started_us).and_then(|(end, start)| u64::try_from(end - start).ok());
    Duration::from_micros(us.unwrap_or(0))
}
