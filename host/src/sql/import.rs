//! Files into a table, in one commit.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::answer::Done;
use super::change::{counted, default_sharding};
use super::ingest::{self, Format, Options, Source};
use super::provider::View;
use super::statement;
use crate::base::{DEFAULT_SHARDS, Error, Result, Sharding};
use crate::catalog::{Object, Privilege, Rights};
use crate::storage::{AppendTo, Storage};

/// What an import does with a table that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// Refuses.
    #[default]
    Create,
    /// Adds rows to its columns, by name; creates the table where there is none.
    Append,
    /// Drops it first, in the same commit.
    Replace,
}

/// Files to read into a table.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The table.
    pub table: String,
    /// The files, of one format.
    pub files: Vec<PathBuf>,
    /// What to do with a table that exists.
    pub mode: ImportMode,
    /// How to read the files.
    pub options: Options,
    /// How the rows of a new table are divided; replicated for tables of models,
    /// else at random, when absent.
    pub sharding: Option<Sharding>,
    /// Shards of a new table.
    pub shards: Option<u32>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows written.
    pub rows: u64,
    /// Rows in all, when the files say so.
    pub total: Option<u64>,
}

/// Reads the files and commits their rows. Nothing is left when a file is bad.
/// `progress` is told after every batch; an error from it ends the import. Who
/// has `rights` owns a new table. Beside the answer come the table's columns that the
/// files lack, which are null in the new rows.
pub fn import(
    storage: &Storage,
    rights: &Rights,
    import: &Import,
    progress: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<(Done, Vec<String>)> {
    let name = &import.table;
    let table = storage.snapshot()?.table(name);
    let existing = match (&table, import.mode) {
        (Ok(table), ImportMode::Append) => Some(table.schema.clone()),
        _ => None,
    };
    if let Ok(table) = &table {
        let needed = if import.mode == ImportMode::Replace { Privilege::Owner } else { Privilege::Insert };
        // Read after the table, which the commit expects to be the same.
        rights.fresh(storage)?.table(needed, &table.name)?;
    }
    // A pipe lies in no folder.
    import.files.iter().filter(|file| !is_pipe(file)).try_for_each(|file| rights.read_file(storage, file))?;
    let source = ingest::open(&import.files, &Options { table: existing, ..import.options.clone() })?;
    let mut write = storage.begin();
    let mut created = true;
    let mut absent = Vec::new();
    let source = match (table, import.mode) {
        (Ok(_), ImportMode::Create) => {
            return Err(Error::Invalid(format!("table `{name}` exists already; append to it or replace it")));
        }
        (Ok(table), ImportMode::Append) => {
            created = false;
            write.expect_table(&table);
            absent = source.absent(&table.schema);
            source.conform(name, &table.schema)?
        }
        (Ok(table), ImportMode::Replace) => {
            write.expect_table(&table);
            write.drop_table(name)?;
            source
        }
        (Err(Error::NotFound { .. }), _) => source,
        (Err(e), _) => return Err(e),
    };
    if created {
        let schema = source.schema();
        let sharding = import.sharding.clone().unwrap_or_else(|| default_sharding(schema));
        write.create_table(name, schema, sharding, import.shards.unwrap_or(DEFAULT_SHARDS))?;
        rights.own(&mut write, &Object::Table(name.clone()));
    }
    let n_rows = write.append(name, AppendTo::Deal, watched(source, progress))?;
    if created || n_rows > 0 {
        write.commit()?;
    }
    let verb = if created { "created table" } else { "added to table" };
    let mut message = format!("{verb} `{name}`: {} from {}", counted(n_rows), files(&import.files));
    if !absent.is_empty() {
        message.push_str(&format!("; NULL in {}, which the file lacks", absent.join(", ")));
    }
    Ok((Done::rows(message, n_rows), absent))
}

/// The source, telling how far it is.
fn watched<'a>(
    source: Source,
    progress: &'a mut dyn FnMut(Progress) -> Result<()>,
) -> impl Iterator<Item = Result<arrow::array::RecordBatch>> + 'a {
    let total = source.rows();
    let mut rows = 0;
    source.map(move |batch| {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        progress(Progress { rows, total })?;
        Ok(batch)
    })
}

/// One file by its name, several by their number.
fn files(files: &[PathBuf]) -> String {
    match files {
        [one] => one.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        several => format!("{} files", several.len()),
    }
}

/// `IMPORT … INTO t`: adds to the table or creates it.
pub(super) fn statement(view: &View, statement: &statement::Import) -> Result<Done> {
    let table = super::change::writable(&statement.table)?.to_owned();
    // Errors shall say where a relative path was looked for.
    let absolute = |file: &String| std::path::absolute(file).map_err(|e| Error::io("find", file, e));
    let files = statement.files.iter().map(absolute).collect::<Result<Vec<PathBuf>>>()?;
    let mut planned = Import { table, files, mode: ImportMode::Append, ..Import::default() };
    for (name, value) in &statement.options {
        option(&mut planned, name, value)?;
    }
    planned.options.watch = view.caller.watch.clone();
    // A statement has no pipes of its own: those of other processes, and of this one,
    // may carry rows that were not granted.
    planned.files.iter().try_for_each(|file| view.caller.rights.read_file(&view.storage, file))?;
    import(&view.storage, &view.caller.rights, &planned, &mut |_| view.caller.watch.check()).map(|(done, _)| done)
}

fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

/// Options of `WITH (…)`.
const OPTIONS: [&str; 10] =
    ["format", "header", "delimiter", "nulls", "names", "columns", "ids", "one_hot", "shards", "replicated"];

/// Applies one option; several columns or spellings are separated by commas.
fn option(import: &mut Import, name: &str, value: &str) -> Result<()> {
    let options = &mut import.options;
    match name {
        "format" => options.format = Some(value.parse()?),
        "header" => options.csv.header = Some(flag(name, value)?),
        "delimiter" => options.csv.delimiter = Some(delimiter(value)?),
        "nulls" | "null" => options.csv.nulls = value.split(',').map(str::to_owned).collect(),
        "names" => options.names = Some(value.split(',').map(|name| name.trim().to_owned()).collect()),
        "columns" => options.columns = ingest::overrides(value)?,
        "ids" => options.idx.ids = flag(name, value)?,
        "one_hot" => options.idx.one_hot_classes = Some(number(name, value)?),
        "shards" => import.shards = Some(number(name, value)?),
        "replicated" => import.sharding = flag(name, value)?.then_some(Sharding::Replicated),
        _ => return Err(Error::not_found("option", name, Some("IMPORT … WITH".to_owned()), OPTIONS)),
    }
    Ok(())
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value.to_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Error::Invalid(format!("option {name}: `{value}` is not true or false"))),
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| Error::Invalid(format!("option {name}: `{value}` is not a whole number")))
}

/// One character of one byte; `\t` and `tab` are a tab.
pub fn delimiter(text: &str) -> Result<u8> {
    match text.as_bytes() {
        b"\\t" | b"tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err(Error::Invalid(format!("delimiter `{text}` is not one character; write , ; | or \\t"))),
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "idx" => Ok(Self::Idx),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            "arrow" | "ipc" => Ok(Self::Ipc),
            _ => Err(Error::not_found("file format", text, None, ["idx", "csv", "parquet", "arrow"])),
        }
    }
}
