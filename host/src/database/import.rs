//! An import as it is asked for from outside, in words and numbers.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Database;
use crate::base::{Error, Result, Sharding, check_table_name};
use crate::sql::ingest::{CsvOptions, IdxOptions, Options};
use crate::sql::{self, Caller, Progress, Watch};

/// Files to read into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportRequest {
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
    pub delimiter: Option<String>,
    /// CSV: whether the first line holds names; seen from its text where absent.
    pub header: Option<bool>,
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
    /// Columns of the table that the files lack: null in the new rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Time from the first byte read to the commit, seconds.
    pub seconds: f64,
    /// Bytes of the files.
    pub file_bytes: u64,
}

impl Database {
    /// Reads files into a table, for as long as the caller wants that; `progress` is
    /// told of the rows read.
    pub fn import(
        &self,
        import: &ImportRequest,
        caller: &Caller,
        progress: &mut dyn FnMut(Progress) -> Result<()>,
    ) -> Result<ImportDone> {
        let started = Instant::now();
        check_table_name(&import.table)?;
        let there = self.storage.snapshot()?.table(&import.table).ok();
        if let Some(table) = &there {
            refuse(import, &describe(&table.sharding, table.shards))?;
        }
        let planned = planned(import, &caller.watch)?;
        let (done, absent) = sql::import(&self.storage, &caller.rights, &planned, progress)?;
        let seconds = started.elapsed().as_secs_f64();
        let table = self.storage.snapshot()?.table(&import.table)?;
        if let Some(replaced) = there.filter(|there| there.id != table.id) {
            self.tables.forget(replaced.id);
        }
        Ok(ImportDone {
            table: table.name.clone(),
            rows: done.rows.unwrap_or(0),
            columns: table.schema.columns().iter().map(|c| format!("{} {}", c.name, c.column_type)).collect(),
            sharding: describe(&table.sharding, table.shards),
            absent,
            seconds,
            file_bytes: import.files.iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum(),
        })
    }
}

/// Refuses what cannot be done with a table that exists, in words that help.
fn refuse(import: &ImportRequest, sharding: &str) -> Result<()> {
    let table = &import.table;
    let divides = import.shards.is_some() || import.replicated || !import.shard_by.is_empty();
    match import.mode {
        ImportMode::Create => Err(Error::Invalid(format!(
            "table `{table}` exists already; --append adds the rows to it, --replace drops it first"
        ))),
        ImportMode::Append if divides => Err(Error::Invalid(format!(
            "table `{table}` exists already ({sharding}); --shards, --shard-by and --replicated are for new tables"
        ))),
        _ => Ok(()),
    }
}

fn planned(import: &ImportRequest, watch: &Watch) -> Result<sql::Import> {
    let classes = import.one_hot_classes.map(usize::try_from).transpose();
    Ok(sql::Import {
        table: import.table.clone(),
        files: import.files.clone(),
        mode: match import.mode {
            ImportMode::Create => sql::ImportMode::Create,
            ImportMode::Append => sql::ImportMode::Append,
            ImportMode::Replace => sql::ImportMode::Replace,
        },
        options: Options {
            format: import.format.as_deref().map(str::parse).transpose()?,
            names: import.names.clone(),
            columns: import.columns.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            table: None,
            watch: watch.clone(),
            csv: CsvOptions {
                delimiter: import.delimiter.as_deref().map(sql::delimiter).transpose()?,
                header: import.header,
                ..CsvOptions::default()
            },
            idx: IdxOptions {
                ids: import.ids,
                one_hot_classes: classes.map_err(|_| Error::OutOfRange("too many classes".into()))?,
            },
        },
        sharding: match (import.replicated, import.shard_by.is_empty()) {
            (true, _) => Some(Sharding::Replicated),
            (false, false) => Some(Sharding::Key(import.shard_by.clone())),
            (false, true) => None,
        },
        shards: import.shards,
    })
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
