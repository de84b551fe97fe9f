//! `quern import`: files become rows of a table.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{ArgGroup, Args, ValueEnum};

use super::context::Context;
use super::interrupt;
use super::output::{bytes, count, duration};
use super::report::Interrupted;
use crate::base::Error;
use crate::database::{ImportDone, ImportMode, ImportRequest};
use crate::server::{Event, Request, Role};
use crate::sql::Watch;

/// Where standard input is found by a path.
const STANDARD_INPUT: &str = "/dev/stdin";

const EXAMPLES: &str = "\
Examples:
  quern import flights.csv --table flights
  quern import 2026-*.parquet --table trips --shard-by vendor_id --shards 8
  quern import train-images.gz train-labels.gz --table digits --names data,label
  quern import more.csv --table flights --append --column delay=float32
  quern import codes.csv --table codes --column 'code=utf8 not null'";

/// Read files into a table: IDX, CSV, Parquet or Arrow IPC
///
/// The format, the columns and their types are taken from the files. IDX files
/// given together are the columns of one table; files of other formats are read
/// one after the other. A name that ends in .gz is unpacked. An import is one
/// commit: all rows, or, where a file is bad, none.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("mode").args(["append", "replace"]))]
pub(crate) struct Import {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The table; it is created
    #[arg(long, short, value_name = "TABLE")]
    table: String,
    /// Add the rows to the table, if there is one
    #[arg(long)]
    append: bool,
    /// Drop the table first, if there is one
    #[arg(long)]
    replace: bool,
    /// The files' format [default: seen from their first bytes]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FileFormat>,
    /// Names of all columns, in order
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    names: Option<Vec<String>>,
    /// Type of a column, where the inferred one does not suit; repeatable
    #[arg(long = "column", value_name = "NAME=TYPE")]
    columns: Vec<String>,
    /// Shards of a new table [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    shards: Option<u32>,
    /// Every instance of a proc sees all rows of the new table
    #[arg(long, conflicts_with_all = ["shards", "shard_by"])]
    replicated: bool,
    /// Columns whose hash decides a row's shard
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    shard_by: Vec<String>,
    /// CSV: the character between fields [default: seen from the first line]
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<String>,
    /// CSV: whether the first line holds the names [default: seen from its text]
    #[arg(long, value_name = "BOOL")]
    header: Option<bool>,
    /// IDX: put a column `id` of row numbers in front
    #[arg(long)]
    ids: bool,
    /// IDX: of labels of N classes make the columns onehot_label and readable_label
    #[arg(long, value_name = "N")]
    one_hot: Option<u32>,
}

/// Formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Idx,
    Csv,
    Parquet,
    Arrow,
}

impl Import {
    /// Imports and says what came of it.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = self.request()?;
        interrupt::listen();
        let done = import(context, request)?;
        context.show(&done, || summary(&done))
    }

    fn request(self) -> Result<ImportRequest> {
        let absolute = |file: &PathBuf| {
            if file.as_os_str() == "-" {
                return Ok(STANDARD_INPUT.into());
            }
            std::path::absolute(file).with_context(|| format!("cannot find the folder of {}", file.display()))
        };
        Ok(ImportRequest {
            files: self.files.iter().map(absolute).collect::<Result<_>>()?,
            table: self.table,
            mode: match (self.append, self.replace) {
                (true, _) => ImportMode::Append,
                (_, true) => ImportMode::Replace,
                _ => ImportMode::Create,
            },
            format: self.format.and_then(|f| f.to_possible_value()).map(|f| f.get_name().to_owned()),
            names: self.names,
            columns: self.columns,
            shards: self.shards,
            replicated: self.replicated,
            shard_by: self.shard_by,
            delimiter: self.delimiter,
            header: self.header,
            ids: self.ids,
            one_hot_classes: self.one_hot,
        })
    }
}

/// The path by which the process that holds the folder opens a file that this one
/// has already: its standard input, or a shell's `<(…)`. Others are theirs as well.
fn shared_path(file: PathBuf, holder: u32) -> Result<PathBuf> {
    let Some(descriptor) = descriptor(&file) else { return Ok(file) };
    let shown = file.display();
    let kind = file.metadata().with_context(|| format!("cannot read {shown}"))?.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        bail!(
            "{shown} is neither a file nor a pipe, and process {holder}, which holds the folder, cannot open it; \
             write the rows into a file first"
        );
    }
    Ok(format!("/proc/{}/fd/{descriptor}", std::process::id()).into())
}

/// The descriptor of this process that a path names.
fn descriptor(file: &Path) -> Option<u32> {
    if file == Path::new(STANDARD_INPUT) {
        return Some(0);
    }
    let name = ["/dev/fd", "/proc/self/fd"].iter().find_map(|folder| file.strip_prefix(folder).ok())?;
    name.to_str()?.parse().ok()
}

/// Sends an import and draws its progress.
pub(crate) fn import(context: &Context, mut request: ImportRequest) -> Result<ImportDone> {
    let connection = context.creating_connection(Role::Command)?;
    if let Some(holder) = connection.remote_holder() {
        let files = request.files.into_iter().map(|file| shared_path(file, holder.pid));
        request.files = files.collect::<Result<_>>()?;
    }
    let mut progress = context.progress(&format!("importing {}", request.table));
    let watch = Watch::new(|| if interrupt::asked() { Err(Error::Killed { by: None }) } else { Ok(()) });
    let reply = connection.call_watched(Request::Import(request), Vec::new(), &watch, &mut |event| {
        watch.check()?;
        if let Event::Rows { rows, total } = event {
            let fraction = total.map(|total| rows as f64 / total.max(1) as f64);
            progress.set(fraction, &format!("{} rows", count(rows)));
        }
        Ok(())
    });
    progress.finish();
    if reply.is_err() && interrupt::asked() {
        return Err(Interrupted.into());
    }
    Ok(reply?.imported()?)
}

/// `60,000 rows into table digits from 9.5 MiB in 0.19 s, 315,789 rows/s`, its
/// columns and how it is sharded on a second line, and on a third one which columns
/// the files lack.
fn summary(done: &ImportDone) -> String {
    let time = Duration::from_secs_f64(done.seconds.max(1e-6));
    // Of few rows the time is that of the commit, which says nothing about the rate.
    let rate = match done.rows {
        0..10_000 => String::new(),
        rows => format!(", {} rows/s", count((rows as f64 / time.as_secs_f64()) as u64)),
    };
    // A pipe does not say how long it was.
    let from = match done.file_bytes {
        0 => String::new(),
        size => format!(" from {}", bytes(size)),
    };
    let absent = match done.absent.as_slice() {
        [] => String::new(),
        names => format!("NULL in {}, which the files lack\n", names.join(", ")),
    };
    format!(
        "{} row{} into table {}{from} in {}{rate}\n{} · {}\n{absent}",
        count(done.rows),
        if done.rows == 1 { "" } else { "s" },
        done.table,
        duration(time),
        done.columns.join(", "),
        done.sharding,
    )
}
