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
use crate::server::Role;
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

Rows go to standard output, everything else to standard error. Of several
statements, table, lines, csv and jsonl write one answer after the other; json writes one
array with the answer of each (one statement: its answer itself); arrow takes one
query. JSON has no NaN and no infinity: they are the strings \"NaN\", \"Infinity\"
and \"-Infinity\".

Ctrl-C stops a statement, and kills the run that EXECUTE FUNCTION waits for; where
`quern serve` holds the folder, that run goes on.";

/// Execute SQL statements, or open a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SqlCommand {
    /// The statements, separated by `;`; a shell where there are none
    #[arg(value_name = "STATEMENT", conflicts_with = "file", allow_hyphen_values = true)]
    #[arg(value_parser = parse_statement)]
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
    /// Each column on a line of its own, for rows that are wide
    Lines,
    /// A header, then one line per row
    Csv,
    /// One array of objects; of several statements, an array of these
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
            Self::Lines => Output::Lines,
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

/// A statement may begin with the comment `--`; a mistyped option is none.
fn parse_statement(text: &str) -> Result<String, String> {
    match text.starts_with('-') && !text.contains(char::is_whitespace) {
        true => Err("it is neither an option of this command nor a statement".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Executes statements and shows what they answer, one after the other.
fn execute(context: &Context, text: &str, format: RowFormat) -> Result<()> {
    // What cannot be read is refused where it would be executed.
    let statements = crate::sql::parse(text).unwrap_or_default();
    if format == RowFormat::Arrow && statements.iter().filter(|statement| statement.is_query()).count() > 1 {
        bail!("an Arrow stream holds the rows of one query; execute the statements one by one, or use --format json");
    }
    let only_asks = statements.iter().all(|statement| statement.only_asks());
    match statements.iter().any(|statement| !statement.is_query()) {
        true => context.creating_connection(Role::Brief)?,
        false if only_asks => context.asking_connection()?,
        false => context.connection()?,
    };
    let answers = Answers::of(context, text)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let brackets = format == RowFormat::Json && statements.len() > 1;
    if !brackets {
        return answers.each(|item| show(context, format, &answers, item, &mut out));
    }
    let mut before = "[\n";
    let shown = answers.each(|item| {
        out.write_all(before.as_bytes())?;
        before = ",\n";
        show(context, format, &answers, item, &mut out)
    });
    // Also of statements before one that failed a reader can make something.
    writeln!(out, "{}", if before == "[\n" { "[]" } else { "]" })?;
    out.flush()?;
    shown
}

/// Shows one answer.
fn show(context: &Context, format: RowFormat, answers: &Answers, item: Item, out: &mut impl Write) -> Result<()> {
    match item {
        Item::Rows(rows) => {
            write_rows(rows, format.output(), out).map_err(|error| answers.cause(error))?;
        }
        Item::Done(done) => show_done(context, format, &done, out)?,
    }
    Ok(out.flush()?)
}

/// What a statement without rows did: data for scripts, a line for people.
fn show_done(context: &Context, format: RowFormat, done: &Done, out: &mut impl Write) -> Result<()> {
    match format {
        RowFormat::Json | RowFormat::Jsonl => writeln!(out, "{}", serde_json::to_string(done)?)?,
        RowFormat::Table | RowFormat::Lines => writeln!(out, "{}", done.message)?,
        // Nothing but rows belongs into these.
        RowFormat::Csv | RowFormat::Arrow => context.note(&done.message),
    }
    Ok(())
}
