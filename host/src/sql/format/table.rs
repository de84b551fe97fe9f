//! Rows as an aligned table. Widths come from the first rows, so that an answer
//! of any size is written as it is made. Plans of `EXPLAIN` are written as text.

use std::io::Write;

use arrow::record_batch::RecordBatch;

use super::value::{ColumnText, Detail};
use super::{Rows, failed, width};
use crate::base::Result;

/// Rows that decide the widths.
const MEASURED_ROWS: usize = 1000;
/// Characters of one cell; longer text ends in `…`.
const CELL_CHARS: usize = 60;
/// The columns of `EXPLAIN`.
const PLAN: [&str; 2] = ["plan_type", "plan"];

/// Writes a header, the rows and a line with their number.
pub(super) fn write(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let schema = rows.schema().clone();
    if schema.fields().iter().map(|field| field.name().as_str()).eq(PLAN) {
        return write_plans(rows, out);
    }
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut frame = Frame {
        widths: schema.fields().iter().map(|field| width(field.name())).collect(),
        numbers: vec![false; schema.fields().len()],
    };
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let (mut n_rows, mut headed) = (0, false);
    for batch in rows {
        let batch = batch?;
        n_rows += batch.num_rows() as u64;
        frame.render(&schema, &batch, &mut cells)?;
        if headed || cells.len() >= MEASURED_ROWS {
            if !headed {
                frame.head(&names, &cells, out)?;
                headed = true;
            }
            frame.body(&cells, out)?;
            cells.clear();
        }
    }
    if !headed {
        frame.head(&names, &cells, out)?;
    }
    frame.body(&cells, out)?;
    let plural = if n_rows == 1 { "" } else { "s" };
    writeln!(out, "{n_rows} row{plural}").map_err(failed)?;
    Ok(n_rows)
}

/// Writes each plan as the lines that it has, under its name.
fn write_plans(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let schema = rows.schema().clone();
    let mut n_rows = 0;
    for batch in rows {
        let batch = batch?;
        let columns = ColumnText::of_batch(&schema, &batch, Detail::Full)?;
        for row in 0..batch.num_rows() {
            let mut cells = [String::new(), String::new()];
            for (column, cell) in columns.iter().zip(&mut cells) {
                column.push(row, cell)?;
            }
            let [kind, plan] = cells;
            writeln!(out, "{kind}").map_err(failed)?;
            plan.lines().try_for_each(|line| writeln!(out, "  {line}")).map_err(failed)?;
            n_rows += 1;
        }
    }
    Ok(n_rows)
}

/// Widths and alignments of the columns.
struct Frame {
    widths: Vec<usize>,
    numbers: Vec<bool>,
}

impl Frame {
    /// Appends the rows of `batch` as cells.
    fn render(
        &mut self,
        schema: &arrow::datatypes::Schema,
        batch: &RecordBatch,
        cells: &mut Vec<Vec<String>>,
    ) -> Result<()> {
        let columns = ColumnText::of_batch(schema, batch, Detail::Preview)?;
        for (number, column) in self.numbers.iter_mut().zip(&columns) {
            *number = column.is_number();
        }
        for row in 0..batch.num_rows() {
            let mut line = Vec::with_capacity(columns.len());
            for column in &columns {
                let mut cell = String::new();
                if !column.push(row, &mut cell)? {
                    cell.push_str("NULL");
                }
                line.push(shorten(&cell));
            }
            cells.push(line);
        }
        Ok(())
    }

    /// Sets the widths by `cells` and writes the header.
    fn head(&mut self, names: &[String], cells: &[Vec<String>], out: &mut dyn Write) -> Result<()> {
        for line in cells {
            for (widest, cell) in self.widths.iter_mut().zip(line) {
                *widest = (*widest).max(width(cell));
            }
        }
        self.line(names, out)?;
        let rule: Vec<String> = self.widths.iter().map(|widest| "─".repeat(*widest)).collect();
        writeln!(out, "{}", rule.join("──")).map_err(failed)
    }

    /// Writes rows.
    fn body(&self, cells: &[Vec<String>], out: &mut dyn Write) -> Result<()> {
        cells.iter().try_for_each(|line| self.line(line, out))
    }

    /// Writes one line of cells.
    fn line(&self, cells: &[String], out: &mut dyn Write) -> Result<()> {
        let mut line = String::new();
        for (i, (cell, widest)) in cells.iter().zip(&self.widths).enumerate() {
            line.push_str(if i == 0 { "" } else { "  " });
            let padding = " ".repeat(widest.saturating_sub(width(cell)));
            match self.numbers.get(i) {
                Some(true) => line.extend([padding.as_str(), cell]),
                _ => line.extend([cell, padding.as_str()]),
            }
        }
        writeln!(out, "{}", line.trim_end()).map_err(failed)
    }
}

/// One line of at most [`CELL_CHARS`] characters.
fn shorten(cell: &str) -> String {
    let text = escaped(cell);
    if text.chars().count() <= CELL_CHARS {
        return text;
    }
    text.chars().take(CELL_CHARS - 1).chain(['…']).collect()
}

/// One line, whose control characters a terminal does not execute.
pub(super) fn escaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
}
