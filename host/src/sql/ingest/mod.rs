//! Files to rows: IDX, CSV, Parquet and Arrow IPC, each read as batches of
//! about [`BATCH_ROWS`] rows in bounded memory.
//!
//! [`open`] finds the format by the first bytes (`.gz` is taken off first),
//! infers the schema, applies what the caller overrides, and checks as it reads:
//! whatever is wrong with a file is one [`Error`] that names the file, the line
//! or the bytes. Nothing here writes.

mod csv;
mod file;
mod idx;
mod ipc;
mod parquet;

use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;

use super::{Watch, convert};
use crate::base::{Column, ColumnType, Error, Result, Schema};
use file::Content;

pub use csv::CsvOptions;
pub use idx::IdxOptions;

/// Rows of one batch, more or less.
pub const BATCH_ROWS: usize = 8192;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The MNIST images' format: one array per file.
    Idx,
    /// Text with a delimiter.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, the file or the stream form.
    Ipc,
}

/// How to read files; the default infers everything.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format, when the first bytes shall not decide.
    pub format: Option<Format>,
    /// New names of all columns, in order.
    pub names: Option<Vec<String>>,
    /// Types of columns (by their new names) that shall not be inferred.
    pub columns: Vec<ColumnOverride>,
    /// The table that the rows go into: its columns have its types, where
    /// `columns` says nothing else.
    pub table: Option<Schema>,
    /// For CSV.
    pub csv: CsvOptions,
    /// For IDX.
    pub idx: IdxOptions,
    /// Whether the rows of a pipe are still wanted.
    pub watch: Watch,
}

impl Options {
    /// Refuses options that files of another format have.
    fn check(&self, format: Format, path: &Path) -> Result<()> {
        let refuse = |options: &str, of: &str| {
            Err(Error::Invalid(format!("{options} are for {of} files; {} is not one", path.display())))
        };
        match format {
            Format::Idx => {}
            _ if self.idx != IdxOptions::default() => return refuse("ids and one-hot labels", "IDX"),
            _ => {}
        }
        match format {
            Format::Csv => Ok(()),
            _ if self.csv != CsvOptions::default() => refuse("header, delimiter and null", "CSV"),
            _ => Ok(()),
        }
    }

    /// The type that a column is to have, where something says so.
    fn wanted(&self, name: &str) -> Option<ColumnOverride> {
        let given = self.columns.iter().find(|column| column.name == name).cloned();
        let of_table = || self.table.as_ref()?.columns().iter().find(|column| column.name.eq_ignore_ascii_case(name));
        given.or_else(|| of_table().map(ColumnOverride::from))
    }
}

impl From<&Column> for ColumnOverride {
    fn from(column: &Column) -> Self {
        Self { name: column.name.clone(), column_type: column.column_type.clone(), nullable: column.nullable }
    }
}

/// The type of one column, said by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOverride {
    /// The column.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether rows may lack a value.
    pub nullable: bool,
}

impl std::str::FromStr for ColumnOverride {
    type Err = Error;

    /// Reads `name=type` or `name=type not null`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, spelling) = text.split_once('=').ok_or_else(|| {
            Error::Invalid(format!("column `{text}` has no type; write name=type, for example label=int32"))
        })?;
        let spelling = spelling.trim();
        let bare = spelling.len().checked_sub("not null".len()).and_then(|at| {
            let (head, tail) = (spelling.get(..at)?, spelling.get(at..)?);
            tail.eq_ignore_ascii_case("not null").then_some(head)
        });
        Ok(Self {
            name: name.trim().to_owned(),
            column_type: super::types::parse(bare.unwrap_or(spelling))?,
            nullable: bare.is_none(),
        })
    }
}

/// The rows of one or several files.
pub struct Source {
    schema: Schema,
    arrow: SchemaRef,
    rows: Option<u64>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

impl Source {
    /// Rows of `schema` from `batches`, which must have it.
    fn new(
        schema: Schema,
        rows: Option<u64>,
        batches: impl Iterator<Item = Result<RecordBatch>> + Send + 'static,
    ) -> Self {
        Self { arrow: schema.to_arrow(), schema, rows, batches: Box::new(batches) }
    }

    /// The columns.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The columns in Arrow's form.
    pub fn arrow_schema(&self) -> &SchemaRef {
        &self.arrow
    }

    /// Rows in all, when the files say so before they are read.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }
}

impl Iterator for Source {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("schema", &self.schema).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// Opens files as one source: the columns of IDX files side by side, the rows of
/// all others one after the other.
pub fn open(paths: &[PathBuf], options: &Options) -> Result<Source> {
    let mut contents = paths.iter().map(|path| Content::open(path, &options.watch)).collect::<Result<Vec<_>>>()?;
    let Some(first) = contents.first_mut() else {
        return Err(Error::Invalid("no file to read".into()));
    };
    let path = first.path().to_owned();
    let format = match options.format {
        Some(format) => format,
        None => first.format()?,
    };
    options.check(format, &path)?;
    match format {
        Format::Csv => csv::open(contents, options),
        Format::Idx => overridden(idx::open(contents, &options.idx)?, options, &path),
        Format::Parquet => overridden(parquet::open(contents, options)?, options, &path),
        Format::Ipc => overridden(ipc::open(contents, options)?, options, &path),
    }
}

impl Source {
    /// Columns of a table that the rows lack.
    pub fn absent(&self, wanted: &Schema) -> Vec<String> {
        let has = |name: &str| self.schema.columns().iter().any(|column| column.name.eq_ignore_ascii_case(name));
        wanted.columns().iter().filter(|column| !has(&column.name)).map(|column| column.name.clone()).collect()
    }

    /// The same rows for a table that exists: its columns by name, whatever the
    /// case of letters, in its order, with its types.
    pub fn conform(self, table: &str, wanted: &Schema) -> Result<Self> {
        let mut positions = Vec::with_capacity(wanted.columns().len());
        let within = || Some("the file".to_owned());
        let names = || self.schema.columns().iter().map(|c| c.name.as_str());
        for column in wanted.columns() {
            match names().position(|name| name.eq_ignore_ascii_case(&column.name)) {
                Some(position) => positions.push(Some(position)),
                None if column.nullable => positions.push(None),
                None => return Err(Error::not_found("column", &column.name, within(), names())),
            }
        }
        if let Some(extra) =
            names().find(|name| wanted.columns().iter().all(|column| !column.name.eq_ignore_ascii_case(name)))
        {
            let columns = wanted.columns().iter().map(|c| c.name.as_str());
            return Err(Error::not_found("column", extra, Some(format!("table `{table}`")), columns));
        }
        let (rows, from, to) = (self.rows, exact(&self.schema), wanted.clone());
        let place = format!("table `{table}`");
        let batches = self.batches.map(move |batch| convert::columns(&batch?, &from, &positions, &to, &place));
        Ok(Self::new(wanted.clone(), rows, batches))
    }
}

/// Renames and retypes columns as the options say.
fn overridden(source: Source, options: &Options, path: &Path) -> Result<Source> {
    let mut columns = source.schema.columns().to_vec();
    if let Some(names) = &options.names {
        if names.len() != columns.len() {
            let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            return Err(file::corrupt(path, names_do_not_fit(names.len(), &columns)));
        }
        columns.iter_mut().zip(names).for_each(|(column, name)| column.name.clone_from(name));
    }
    for given in &options.columns {
        if !columns.iter().any(|column| column.name == given.name) {
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            return Err(Error::not_found("column", &given.name, Some(path.display().to_string()), names));
        }
    }
    for column in &mut columns {
        if let Some(wanted) = options.wanted(&column.name) {
            (column.column_type, column.nullable) = (wanted.column_type, wanted.nullable);
        }
    }
    let wanted = Schema::new(columns)?;
    if wanted == source.schema {
        return Ok(source);
    }
    let positions: Vec<Option<usize>> = (0..wanted.columns().len()).map(Some).collect();
    let (rows, from, to) = (source.rows, exact(&source.schema), wanted.clone());
    let place = path.display().to_string();
    let batches = source.batches.map(move |batch| convert::columns(&batch?, &from, &positions, &to, &place));
    Ok(Source::new(wanted, rows, batches))
}

/// What is wrong with as many names as were given for `columns`.
fn names_do_not_fit<S: AsRef<str>>(given: usize, columns: &[S]) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let names: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
    format!("{} for {}: {}", count(given, "name"), count(columns.len(), "column"), names.join(", "))
}

/// The types of all columns.
fn exact(schema: &Schema) -> Vec<Option<ColumnType>> {
    schema.columns().iter().map(|column| Some(column.column_type.clone())).collect()
}

/// Reads overrides separated by commas; those inside parentheses belong to types.
pub(super) fn overrides(text: &str) -> Result<Vec<ColumnOverride>> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        depth = match c {
            '(' | '[' => depth + 1,
            ')' | ']' => depth.saturating_sub(1),
            _ => depth,
        };
        match parts.last_mut() {
            Some(part) if c != ',' || depth > 0 => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.iter().map(|part| part.parse()).collect()
}

/// The schema that holds what a file has. Columns without any value and type
/// have the one that the options give.
fn file_schema(path: &Path, arrow: &SchemaRef, options: &Options) -> Result<Schema> {
    let columns = arrow.fields().iter().enumerate().map(|(position, field)| {
        if *field.data_type() != DataType::Null {
            let column_type = ColumnType::from_arrow(field).map_err(|e| file::corrupt(path, e.to_string()))?;
            return Ok(Column { name: field.name().clone(), column_type, nullable: field.is_nullable() });
        }
        let renamed = options.names.as_ref().and_then(|names| names.get(position)).unwrap_or(field.name());
        match options.wanted(renamed) {
            Some(wanted) => Ok(Column { name: field.name().clone(), column_type: wanted.column_type, nullable: true }),
            None => {
                let reason = format!(
                    "column `{renamed}` has no values and no type; give it one, as in --column {renamed}=int64"
                );
                Err(file::corrupt(path, reason))
            }
        }
    });
    Schema::new(columns.collect::<Result<_>>()?).map_err(|e| file::corrupt(path, e.to_string()))
}

/// Refuses a further file with other columns.
fn check_same(path: &Path, first: &Schema, schema: &Schema) -> Result<()> {
    if first == schema {
        return Ok(());
    }
    let list = |schema: &Schema| {
        let columns = schema.columns().iter().map(|c| format!("{} {}", c.name, c.column_type));
        columns.collect::<Vec<_>>().join(", ")
    };
    let reason = format!("its columns are {}, those of the first file are {}", list(schema), list(first));
    Err(file::corrupt(path, reason))
}

/// A batch as it was read, with its columns in the form of `schema`.
fn typed(batch: &RecordBatch, schema: &Schema, place: &str) -> Result<RecordBatch> {
    let positions: Vec<Option<usize>> = (0..schema.columns().len()).map(Some).collect();
    convert::columns(batch, &exact(schema), &positions, schema, place)
}
