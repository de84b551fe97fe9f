//! How the demo's results are drawn.

use crate::cli::output::{Align, Grid, Paint, bytes, count, duration};
use crate::server::RunView;
use std::time::Duration;

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

/// The receipts of runs, all instances of each together.
pub(crate) fn receipts(runs: &[&RunView], paint: Paint) -> String {
    let right = |name: &'static str| (name, Align::Right);
    let mut grid = Grid::new([
        right("run"),
        ("proc", Align::Left),
        right("instances"),
        right("wall"),
        right("guest"),
        right("device"),
        right("rows in"),
        right("rows out"),
        right("moved in"),
        right("moved out"),
        right("guest memory"),
        right("device memory"),
    ]);
    for run in runs {
        let receipts = || run.instances.iter().filter_map(|instance| instance.receipt.as_ref());
        let ms = |ms: f64| duration(Duration::from_secs_f64(ms.max(0.0) / 1e3));
        let wall = match (run.started_us, run.finished_us) {
            (Some(start), Some(end)) => Duration::from_micros(u64::try_from(end - start).unwrap_or(0)),
            _ => Duration::ZERO,
        };
        grid.row([
            run.id.to_string(),
            format!("{}.{}", run.component, run.proc),
            run.instances.len().to_string(),
            duration(wall),
            ms(receipts().map(|r| r.guest_ms).sum()),
            ms(receipts().map(|r| r.device_ms).sum()),
            count(receipts().map(|r| r.rows_in).sum()),
            count(receipts().map(|r| r.rows_out).sum()),
            bytes(receipts().map(|r| r.moved.inputs_bytes + r.moved.parameters_bytes).sum()),
            bytes(receipts().map(|r| r.moved.reads_bytes + r.moved.outputs_bytes).sum()),
            bytes(receipts().map(|r| r.peak_guest_bytes).sum()),
            bytes(receipts().map(|r| r.peak_device_bytes).max().unwrap_or(0)),
        ]);
    }
    grid.render(paint)
}
