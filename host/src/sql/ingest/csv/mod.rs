//! CSV: text with a delimiter, read a block of records at a time.
//!
//! The first block decides the types of columns that the caller does not give:
//! bool, int64, uint64, float64, date, time, timestamp or uuid when every value
//! is one, else text. A later value that does not fit is an error with its line
//! and column, never a guess. Blank lines are skipped, except where a file has
//! only one column; there they are missing values.

mod records;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::SchemaRef;

use super::file::{Content, corrupt};
use super::{BATCH_ROWS, ColumnOverride, Options, Source, names_do_not_fit};
use crate::base::{Column, ColumnType, DType, Error, Result, Schema};
use crate::sql::convert;
use records::{Block, Records};

/// Rows that types are inferred from.
const SAMPLE_ROWS: usize = 20_000;

/// How to read CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Whether the first line names the columns; by default it does unless one of
    /// its fields begins as a number does, or all are empty. A column without a
    /// name is `column_1`, ….
    pub header: Option<bool>,
    /// The delimiter; by default the one of `,` `;` tab `|` that the first line
    /// has most of.
    pub delimiter: Option<u8>,
    /// Unquoted spellings of a missing value.
    pub nulls: Vec<String>,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { header: None, delimiter: None, nulls: vec![String::new()] }
    }
}

/// The rows of the files in the order given; all must have the same columns.
pub(super) fn open(contents: Vec<Content>, options: &Options) -> Result<Source> {
    let mut files = contents.into_iter();
    let first = files.next().ok_or_else(|| Error::Invalid("no file to read".into()))?;
    let mut reader = Reader::open(first, options)?;
    let sample = reader.take_block(SAMPLE_ROWS)?.unwrap_or_default();
    let (columns, inferred) = columns(&reader, &sample, options)?;
    let schema = Schema::new(columns).map_err(|e| corrupt(reader.records.path(), e.to_string()))?;
    let shape = Shape { arrow: schema.to_arrow(), schema: schema.clone(), inferred, nulls: options.csv.nulls.clone() };
    let options = options.clone();
    let mut pending = VecDeque::from([sample]);
    let mut failed = false;
    let batches = std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = next_batch(&mut reader, &mut pending, &mut files, &shape, &options).transpose();
        failed = matches!(batch, None | Some(Err(_)));
        batch
    });
    Ok(Source::new(schema, None, batches))
}

/// The next rows of this file, or of the next one.
fn next_batch(
    reader: &mut Reader,
    pending: &mut VecDeque<Block>,
    files: &mut impl Iterator<Item = Content>,
    shape: &Shape,
    options: &Options,
) -> Result<Option<RecordBatch>> {
    loop {
        let block = match pending.pop_front() {
            Some(block) => Some(block),
            None => reader.take_block(BATCH_ROWS)?,
        };
        match block {
            Some(block) if block.rows() == 0 => {}
            Some(block) => return shape.batch(reader, &block).map(Some),
            None => match files.next() {
                Some(content) => *reader = Reader::open_like(content, options, reader)?,
                None => return Ok(None),
            },
        }
    }
}

/// One file behind its header line.
struct Reader {
    records: Records,
    names: Vec<String>,
}

impl Reader {
    /// Reads the names in the first line, or counts its fields.
    fn open(mut content: Content, options: &Options) -> Result<Self> {
        let path = content.path().to_owned();
        let delimiter = match options.csv.delimiter {
            Some(delimiter) => delimiter,
            None => sniff(content.peek()?),
        };
        let mut records = Records::new(content, delimiter)?;
        let first = records.first()?.ok_or_else(|| corrupt(&path, "the file has no line"))?;
        let is_header = options.csv.header.unwrap_or_else(|| {
            first.iter().any(|field| !field.trim().is_empty()) && !first.iter().any(|field| is_value(field))
        });
        if is_header {
            records.skip_first();
        }
        let name = |(i, field): (usize, &String)| named(i, if is_header { field.trim() } else { "" });
        let names: Vec<String> = first.iter().enumerate().map(name).collect();
        records.set_width(names.len());
        match &options.names {
            Some(given) if given.len() != names.len() => Err(corrupt(&path, names_do_not_fit(given.len(), &names))),
            Some(given) => Ok(Self { records, names: given.clone() }),
            None => Ok(Self { records, names }),
        }
    }

    /// Opens a further file, which must have the columns of `first`.
    fn open_like(content: Content, options: &Options, first: &Self) -> Result<Self> {
        let path = content.path().to_owned();
        let reader = Self::open(content, options)?;
        if reader.names != first.names {
            let reason = format!(
                "its columns are {}, those of the file before are {}",
                reader.names.join(", "),
                first.names.join(", ")
            );
            return Err(corrupt(&path, reason));
        }
        Ok(reader)
    }

    /// Up to `rows` records; `None` at the end.
    fn take_block(&mut self, rows: usize) -> Result<Option<Block>> {
        self.records.take_block(rows, &self.names)
    }

    /// An error at a line of this file.
    fn at(&self, line: u64, column: &str, reason: &str) -> Error {
        corrupt(self.records.path(), format!("line {line}, column `{column}`: {reason}"))
    }
}

/// Whether a field of a first line is rather a value than a name.
fn is_value(field: &str) -> bool {
    let field = field.trim();
    field.parse::<f64>().is_ok() || field.starts_with(|c: char| c.is_ascii_digit())
}

/// The name of column `i`.
fn named(i: usize, name: &str) -> String {
    if name.is_empty() { format!("column_{}", i + 1) } else { name.to_owned() }
}

/// The most frequent usual delimiter outside quotes in the first line.
fn sniff(head: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut quoted = false;
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            other => {
                if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| delimiter == other) {
                    *count += 1;
                }
            }
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
    counts.iter().find(|(_, count)| *count == most).map_or(b',', |(delimiter, _)| *delimiter)
}

/// The columns, and for each whether its type was inferred.
fn columns(reader: &Reader, sample: &Block, options: &Options) -> Result<(Vec<Column>, Vec<bool>)> {
    for ColumnOverride { name, .. } in &options.columns {
        if !reader.names.contains(name) {
            let within = Some(reader.records.path().display().to_string());
            return Err(Error::not_found("column", name, within, &reader.names));
        }
    }
    let columns = reader.names.iter().enumerate().map(|(i, name)| match options.wanted(name) {
        Some(wanted) => {
            (Column { name: name.clone(), column_type: wanted.column_type, nullable: wanted.nullable }, false)
        }
        None => {
            let column_type = infer(&text_column(sample, i, &options.csv.nulls));
            (Column { name: name.clone(), column_type, nullable: true }, true)
        }
    });
    Ok(columns.unzip())
}

/// The narrowest type that every value of a text column has.
fn infer(texts: &ArrayRef) -> ColumnType {
    use arrow::array::AsArray;
    let values = || texts.as_string::<i32>().iter().flatten();
    if values().next().is_none() {
        return ColumnType::Utf8;
    }
    if values().all(|text| text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")) {
        return ColumnType::Number(DType::Bool);
    }
    let has_digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    let candidates: &[ColumnType] = match values().all(|text| has_digit(text) || is_no_number(text)) {
        true if !values().all(has_digit) && values().any(has_digit) => &[ColumnType::Number(DType::F64)],
        true if values().any(has_digit) => &[
            ColumnType::Number(DType::I64),
            ColumnType::Number(DType::U64),
            ColumnType::Number(DType::F64),
            ColumnType::Date,
            ColumnType::Time,
            ColumnType::Timestamp,
            ColumnType::Uuid,
        ],
        _ => &[],
    };
    let digits_only = values().any(|text| text.len() > 18 && text.bytes().all(|byte| byte.is_ascii_digit()));
    candidates
        .iter()
        // An integer too long for 64 bits would lose digits as a float.
        .filter(|candidate| !(digits_only && **candidate == ColumnType::Number(DType::F64)))
        .find(|candidate| convert::to_column(texts, None, candidate).is_ok())
        .cloned()
        .unwrap_or(ColumnType::Utf8)
}

/// What floats are beside numbers.
fn is_no_number(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|name| text.eq_ignore_ascii_case(name))
}

/// One column of a block as text, null where it has a spelling of null.
fn text_column(block: &Block, column: usize, nulls: &[String]) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(block.rows(), block.text_bytes());
    for row in 0..block.rows() {
        let (text, quoted) = block.field(row, column);
        match !quoted && nulls.iter().any(|null| null == text) {
            true => texts.append_null(),
            false => texts.append_value(text),
        }
    }
    Arc::new(texts.finish())
}

/// What blocks become.
struct Shape {
    schema: Schema,
    arrow: SchemaRef,
    inferred: Vec<bool>,
    nulls: Vec<String>,
}

impl Shape {
    /// A block as typed columns.
    fn batch(&self, reader: &Reader, block: &Block) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.inferred.len());
        for (i, (column, inferred)) in self.schema.columns().iter().zip(&self.inferred).enumerate() {
            let texts = text_column(block, i, &self.nulls);
            if !column.nullable
                && let Some(row) = (0..texts.len()).find(|row| texts.is_null(*row))
            {
                return Err(reader.at(block.line(row), &column.name, "no value, but the column is not null"));
            }
            let typed = convert::to_column(&texts, None, &column.column_type).map_err(|m| {
                let hint = match inferred {
                    true => {
                        format!("; the type was inferred from the first rows, another is given as {}=utf8", column.name)
                    }
                    false => String::new(),
                };
                reader.at(block.line(m.row), &column.name, &(m.reason + &hint))
            })?;
            columns.push(typed);
        }
        RecordBatch::try_new(self.arrow.clone(), columns).map_err(|e| Error::Internal(e.to_string()))
    }
}
