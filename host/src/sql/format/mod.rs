//! Rows as text or bytes: an aligned table, CSV, JSON or an Arrow stream.
//!
//! Values that no text format has are written the same way everywhere: binary as
//! `\x` and hexadecimal digits, uuid and ipv4 as text, tensors as nested lists
//! (in tables, large ones and long binaries by their type and size only).

mod json;
mod lines;
mod table;
mod value;
mod width;

use std::io::Write;

use arrow::ipc::writer::StreamWriter;

use super::Rows;
use crate::base::{Error, Result, closest};

pub use value::{ColumnText, Detail};
pub use width::width;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Output {
    /// Aligned columns with a frame, for people.
    #[default]
    Table,
    /// Each column of a row on a line of its own, for people.
    Lines,
    /// A header line, then one line per row.
    Csv,
    /// One array of objects.
    Json,
    /// One object per line.
    JsonLines,
    /// An Arrow IPC stream.
    Arrow,
}

impl Output {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("table", Self::Table),
        ("lines", Self::Lines),
        ("csv", Self::Csv),
        ("json", Self::Json),
        ("jsonl", Self::JsonLines),
        ("arrow", Self::Arrow),
    ];
}

impl std::str::FromStr for Output {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, output)| *output).ok_or_else(|| Error::NotFound {
            kind: "output format",
            name: text.to_owned(),
            within: None,
            suggestion: closest(text, Self::ALL.map(|(name, _)| name)),
        })
    }
}

/// Writes all rows and returns how many there were.
pub fn write_rows(rows: Rows, output: Output, out: &mut dyn Write) -> Result<u64> {
    match output {
        Output::Table => table::write(rows, out),
        Output::Lines => lines::write(rows, out),
        Output::Csv => write_csv(rows, out),
        Output::Json => json::write_array(rows, out),
        Output::JsonLines => json::write_lines(rows, out),
        Output::Arrow => write_arrow(rows, out),
    }
}

/// A write to the reader of the answer failed.
fn failed(error: std::io::Error) -> Error {
    Error::io("write", "the output", error)
}

/// Fields are quoted only where they must be; a missing value is an empty
/// field, an empty text is `""`.
fn write_csv(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let schema = rows.schema().clone();
    let mut line = String::new();
    for (i, field) in schema.fields().iter().enumerate() {
        line.push_str(if i == 0 { "" } else { "," });
        push_quoted(&mut line, field.name());
    }
    line.push('\n');
    out.write_all(line.as_bytes()).map_err(failed)?;
    let mut n_rows = 0;
    let mut cell = String::new();
    for batch in rows {
        let batch = batch?;
        let columns = ColumnText::of_batch(&schema, &batch, Detail::Full)?;
        for row in 0..batch.num_rows() {
            line.clear();
            for (i, column) in columns.iter().enumerate() {
                line.push_str(if i == 0 { "" } else { "," });
                cell.clear();
                if column.push(row, &mut cell)? {
                    push_quoted(&mut line, &cell);
                }
            }
            line.push('\n');
            out.write_all(line.as_bytes()).map_err(failed)?;
        }
        n_rows += batch.num_rows() as u64;
    }
    Ok(n_rows)
}

/// Appends one CSV field.
fn push_quoted(line: &mut String, field: &str) {
    if field.is_empty() || field.contains(['"', ',', '\n', '\r']) {
        line.push('"');
        line.push_str(&field.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(field);
    }
}

/// The columns as they are, with the metadata that names their exact types.
fn write_arrow(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let arrow = |e| Error::library("cannot write the Arrow stream", e);
    let mut writer = StreamWriter::try_new(out, rows.schema()).map_err(arrow)?;
    let mut n_rows = 0;
    for batch in rows {
        let batch = batch?;
        n_rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(arrow)?;
    }
    writer.finish().map_err(arrow)?;
    Ok(n_rows)
}
