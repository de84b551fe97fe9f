//! Rows as lines of a name and a value, for rows that are wider than a terminal.

use std::io::Write;

use super::table::escaped;
use super::value::{ColumnText, Detail};
use super::{Rows, failed, width};
use crate::base::Result;

/// Writes every row under a line with its number, and how many there were.
pub(super) fn write(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let schema = rows.schema().clone();
    let widest = schema.fields().iter().map(|field| width(field.name())).max().unwrap_or(0);
    let mut n_rows = 0;
    for batch in rows {
        let batch = batch?;
        let columns = ColumnText::of_batch(&schema, &batch, Detail::Preview)?;
        for row in 0..batch.num_rows() {
            n_rows += 1;
            writeln!(out, "── row {n_rows} ──").map_err(failed)?;
            for (field, column) in schema.fields().iter().zip(&columns) {
                let mut value = String::new();
                if !column.push(row, &mut value)? {
                    value.push_str("NULL");
                }
                let padding = " ".repeat(widest.saturating_sub(width(field.name())));
                writeln!(out, "{}{padding}  {}", field.name(), escaped(&value)).map_err(failed)?;
            }
        }
    }
    let plural = if n_rows == 1 { "" } else { "s" };
    writeln!(out, "{n_rows} row{plural}").map_err(failed)?;
    Ok(n_rows)
}
