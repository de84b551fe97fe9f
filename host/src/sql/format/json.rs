//! Rows as JSON: numbers and booleans as such, decimals, times and text as
//! strings, JSON columns in place, numbers that JSON lacks as the strings "NaN",
//! "Infinity" and "-Infinity".

use std::collections::HashSet;
use std::io::Write;

use arrow::datatypes::SchemaRef;

use super::value::{ColumnText, Detail};
use super::{Rows, failed};
use crate::base::{ColumnType, Result};

/// One array of objects, one object per line.
pub(super) fn write_array(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    out.write_all(b"[").map_err(failed)?;
    let n_rows = write_objects(rows, out, |index| if index == 0 { "\n" } else { ",\n" })?;
    out.write_all(if n_rows == 0 { b"]\n" } else { b"\n]\n" }).map_err(failed)?;
    Ok(n_rows)
}

/// One object per line.
pub(super) fn write_lines(rows: Rows, out: &mut dyn Write) -> Result<u64> {
    let n_rows = write_objects(rows, out, |index| if index == 0 { "" } else { "\n" })?;
    if n_rows > 0 {
        out.write_all(b"\n").map_err(failed)?;
    }
    Ok(n_rows)
}

/// All rows as objects, each after what `before` gives for its number.
fn write_objects(rows: Rows, out: &mut dyn Write, before: impl Fn(u64) -> &'static str) -> Result<u64> {
    let schema = rows.schema().clone();
    let keys = keys(&schema);
    let raw: Vec<bool> =
        schema.fields().iter().map(|f| matches!(ColumnType::from_arrow(f), Ok(ColumnType::Json))).collect();
    let mut n_rows = 0;
    let mut line = String::new();
    for batch in rows {
        let batch = batch?;
        let columns = ColumnText::of_batch(&schema, &batch, Detail::Full)?;
        for row in 0..batch.num_rows() {
            line.clear();
            line.push_str(before(n_rows));
            for ((column, key), raw) in columns.iter().zip(&keys).zip(&raw) {
                line.push_str(key);
                match raw {
                    true => push_raw(column, row, &mut line)?,
                    false => push_value(column, row, &mut line)?,
                }
            }
            line.push('}');
            out.write_all(line.as_bytes()).map_err(failed)?;
            n_rows += 1;
        }
    }
    Ok(n_rows)
}

/// The text before each value: brace or comma, and the quoted name. Columns of the
/// same name, as a join has them, get a number, for an object has each key once.
fn keys(schema: &SchemaRef) -> Vec<String> {
    let mut keys = Vec::with_capacity(schema.fields().len());
    let mut taken: HashSet<String> = HashSet::new();
    for (i, field) in schema.fields().iter().enumerate() {
        let numbered = (2..).map(|n| format!("{}_{n}", field.name()));
        let mut names = std::iter::once(field.name().clone()).chain(numbered);
        let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
        let mut key = String::from(if i == 0 { "{" } else { "," });
        push_string(&name, &mut key);
        key.push(':');
        keys.push(key);
        taken.insert(name);
    }
    keys
}

/// Appends a value of a JSON column in place, when it is JSON.
fn push_raw(column: &ColumnText<'_>, row: usize, line: &mut String) -> Result<()> {
    let mut text = String::new();
    if !column.push(row, &mut text)? {
        line.push_str("null");
    } else if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
        line.push_str(&text);
    } else {
        push_string(&text, line);
    }
    Ok(())
}

/// Appends one value.
pub(super) fn push_value(column: &ColumnText<'_>, row: usize, line: &mut String) -> Result<()> {
    let start = line.len();
    if !column.push(row, line)? {
        line.push_str("null");
        return Ok(());
    }
    let text = &line[start..];
    if column.is_json() {
        let named = match text {
            "NaN" => "\"NaN\"",
            "inf" => "\"Infinity\"",
            "-inf" => "\"-Infinity\"",
            _ => return Ok(()),
        };
        line.truncate(start);
        line.push_str(named);
        return Ok(());
    }
    let text = text.to_owned();
    line.truncate(start);
    push_string(&text, line);
    Ok(())
}

/// Appends a JSON string.
fn push_string(text: &str, line: &mut String) {
    match serde_json::to_string(text) {
        Ok(quoted) => line.push_str(&quoted),
        Err(_) => line.push_str("null"),
    }
}
