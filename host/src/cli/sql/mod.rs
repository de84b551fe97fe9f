//! `quern sql`: statements from an argument, a file or a pipe, or a shell.

mod answers;
mod complete;
mod helpers;
mod lex;
mod shell;
mod waiting;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::context::Context;
use super::interrupt;
use crate::base::Error;
use crate::sql::Done;
use crate::sql::format::{Output, write_rows};
use answers::{Answers, Item};

pub(crate) use answers::query;

const EXAMPLES: &str = "\
Examples:
  quern sql \"select label, count(*) from digits group by label\"
  quern sql -f report.sql --format csv > report.csv
  echo 'show tables' | quern sql
  quern sql                     a shell; \\? lists its commands

Rows go to standard output, everything else to standard error.";

/// Execute SQL statements, or open a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SqlCommand {
    /// The statements, separated by `;`; a shell where there are none
    #[arg(value_name = "STATEMENT", conflicts_with = "file")]
    statement: Option<String>,
    /// Take the statements from a file (- is standard input)
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How rows are written [default: table; json with --json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<RowFormat>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// Aligned columns
    Table,
    /// A header, then one line per row
    Csv,
    /// One array of objects
    Json,
    /// One object per line
    Jsonl,
    /// An Arrow IPC stream
    Arrow,
}

impl RowFormat {
    /// As the layer `sql` has it.
    fn output(self) -> Output {
        match self {
            Self::Table => Output::Table,
            Self::Csv => Output::Csv,
            Self::Json => Output::Json,
            Self::Jsonl => Output::JsonLines,
            Self::Arrow => Output::Arrow,
        }
    }
}

impl SqlCommand {
    /// Executes the statements, or opens the shell.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let format = self.format.unwrap_or(if context.json { RowFormat::Json } else { RowFormat::Table });
        if format == RowFormat::Arrow && context.out_terminal {
            bail!("an Arrow stream is not for a terminal; redirect it to a file, or use another --format");
        }
        let text = match (self.statement, self.file) {
            (Some(statement), _) => statement,
            (None, Some(file)) if file.as_os_str() != "-" => {
                std::fs::read_to_string(&file).map_err(|e| Error::io("read", &file, e))?
            }
            (None, None) if std::io::stdin().is_terminal() => return shell::open(context, format),
            (None, _) => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|e| Error::io("read", "standard input", e))?;
                text
            }
        };
        interrupt::listen();
        execute(context, &text, format)
    }
}

/// Executes statements and shows what they answer, one after the other.
fn execute(context: &Context, text: &str, format: RowFormat) -> Result<()> {
    let answers = Answers::of(context, text)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while let Some(item) = answers.next()? {
        match item {
            Item::Rows(rows) => {
                write_rows(rows, format.output(), &mut out).map_err(|error| answers.cause(error))?;
            }
            Item::Done(done) => show_done(context, format, &done, &mut out)?,
        }
        out.flush()?;
    }
    Ok(())
}

/// What a statement without rows did: data for scripts, a line for people.
fn show_done(context: &Context, format: RowFormat, done: &Done, out: &mut impl Write) -> Result<()> {
    match format {
        RowFormat::Json | RowFormat::Jsonl => writeln!(out, "{}", serde_json::to_string(done)?)?,
        RowFormat::Table => writeln!(out, "{}", done.message)?,
        // Nothing but rows belongs into these.
        RowFormat::Csv | RowFormat::Arrow => context.note(&done.message),
    }
    Ok(())
}
