//! Files into a table, in one commit.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Database;
use crate::base::{DEFAULT_SHARDS, Error, Result, Sharding};
use crate::sql::ingest::{self, CsvOptions, Format, IdxOptions};
use crate::storage::{AppendTo, Snapshot, TableState};

/// Files to read into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Import {
    /// The files, absolute.
    pub files: Vec<PathBuf>,
    /// The table.
    pub table: String,
    /// What happens where the table exists.
    pub mode: ImportMode,
    /// `idx`, `csv`, `parquet` or `arrow`; seen from the content where absent.
    pub format: Option<String>,
    /// New names of all columns, in order.
    pub names: Option<Vec<String>>,
    /// `name=type` for columns that shall not be inferred.
    pub columns: Vec<String>,
    /// Shards of a new table.
    pub shards: Option<u32>,
    /// Whether a new table is replicated.
    pub replicated: bool,
    /// Columns whose hash decides the shard of a new table's rows.
    pub shard_by: Vec<String>,
    /// CSV: the character between fields.
    pub delimiter: Option<char>,
    /// CSV: whether the first line is a row already.
    pub no_header: bool,
    /// IDX: puts a column `id` of row numbers in front.
    pub ids: bool,
    /// IDX: makes `onehot_label` and `readable_label` of labels of so many classes.
    pub one_hot_classes: Option<u32>,
}

/// What an import does with a table that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportMode {
    /// Refuses.
    #[default]
    Create,
    /// Adds rows, and creates the table where there is none.
    Append,
    /// Drops it first, in the same commit.
    Replace,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportDone {
    /// The table.
    pub table: String,
    /// Rows added.
    pub rows: u64,
    /// Columns of the table as `name type`.
    pub columns: Vec<String>,
    /// `4 shards, random`, …
    pub sharding: String,
    /// Time from the first byte read to the commit, seconds.
    pub seconds: f64,
    /// Bytes of the files.
    pub file_bytes: u64,
}

impl Database {
    /// Reads files into a table. `progress` gets the rows read so far and, where
    /// the files say so, how many there are.
    pub fn import(
        &self,
        import: &Import,
        progress: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Result<ImportDone> {
        let started = Instant::now();
        let source = ingest::open(&import.files, &options(import)?)?;
        let snapshot = self.storage.snapshot()?;
        let there = existing(&snapshot, import)?;
        let mut write = self.storage.begin();
        let source = match &there {
            Some(table) => source.conform(&table.name, &table.schema)?,
            None => source,
        };
        let schema = source.schema().clone();
        let (sharding, shards) = match &there {
            Some(table) => (table.sharding.clone(), table.shards),
            None => {
                if import.mode == ImportMode::Replace && snapshot.table(&import.table).is_ok() {
                    write.drop_table(&import.table)?;
                }
                let (sharding, shards) = division(import);
                write.create_table(&import.table, &schema, sharding.clone(), shards)?;
                (sharding, shards)
            }
        };
        let total = source.rows();
        let mut read = 0;
        let counted = source.map(|batch| {
            let batch = batch?;
            read += batch.num_rows() as u64;
            progress(read, total)?;
            Ok(batch)
        });
        let rows = write.append(&import.table, AppendTo::Deal, counted)?;
        write.commit()?;
        Ok(ImportDone {
            table: import.table.clone(),
            rows,
            columns: schema.columns().iter().map(|c| format!("{} {}", c.name, c.column_type)).collect(),
            sharding: describe(&sharding, shards),
            seconds: started.elapsed().as_secs_f64(),
            file_bytes: import.files.iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum(),
        })
    }
}

/// The table that rows are added to; none where a new one is made.
fn existing(snapshot: &Snapshot, import: &Import) -> Result<Option<std::sync::Arc<TableState>>> {
    let found = match snapshot.table(&import.table) {
        Ok(table) => table,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    match import.mode {
        ImportMode::Replace => Ok(None),
        ImportMode::Create => Err(Error::Invalid(format!(
            "table `{}` exists already; --append adds the rows to it, --replace drops it first",
            import.table
        ))),
        ImportMode::Append if import.shards.is_some() || import.replicated || !import.shard_by.is_empty() => {
            Err(Error::Invalid(format!(
                "table `{}` exists already and keeps its {}; leave out --shards, --shard-by and --replicated",
                import.table,
                describe(&found.sharding, found.shards)
            )))
        }
        ImportMode::Append => Ok(Some(found)),
    }
}

fn options(import: &Import) -> Result<ingest::Options> {
    let format = match import.format.as_deref() {
        None => None,
        Some("idx") => Some(Format::Idx),
        Some("csv") => Some(Format::Csv),
        Some("parquet") => Some(Format::Parquet),
        Some("arrow") => Some(Format::Ipc),
        Some(other) => return Err(Error::not_found("file format", other, None, ["idx", "csv", "parquet", "arrow"])),
    };
    let delimiter = match import.delimiter.map(u8::try_from) {
        None => None,
        Some(Ok(byte)) if byte.is_ascii() => Some(byte),
        Some(_) => return Err(Error::Invalid("the delimiter must be one ASCII character".into())),
    };
    Ok(ingest::Options {
        format,
        names: import.names.clone(),
        columns: import.columns.iter().map(|text| text.parse()).collect::<Result<_>>()?,
        csv: CsvOptions { delimiter, header: !import.no_header, ..CsvOptions::default() },
        idx: IdxOptions {
            ids: import.ids,
            one_hot_classes: import.one_hot_classes.and_then(|classes| usize::try_from(classes).ok()),
        },
    })
}

/// How a new table is divided.
fn division(import: &Import) -> (Sharding, u32) {
    let shards = import.shards.unwrap_or(DEFAULT_SHARDS);
    if import.replicated {
        (Sharding::Replicated, 1)
    } else if import.shard_by.is_empty() {
        (Sharding::Random, shards)
    } else {
        (Sharding::Key(import.shard_by.clone()), shards)
    }
}

/// A division in words.
fn describe(sharding: &Sharding, shards: u32) -> String {
    let of = format!("{shards} shard{}", if shards == 1 { "" } else { "s" });
    match sharding {
        Sharding::Random => format!("{of}, random"),
        Sharding::Key(columns) => format!("{of} by {}", columns.join(", ")),
        Sharding::Replicated => "replicated".to_owned(),
    }
}
