//! The shell's own commands, which begin with `\`.

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::RowFormat;

/// What `\?` shows.
pub(crate) const HELP: &str = r"\d            tables                    \df           procs
\d NAME       columns of a table        \dr           runs
\ds           tables of schema quern    \dm           models
\f FORMAT     table, lines, csv, json   \i FILE       execute a file
\x            lines, or table again     \q            leave (or Ctrl-D)

A statement ends with `;` and may take several lines. Tab completes keywords,
tables and columns; Ctrl-R searches the history; Ctrl-C stops a statement.
";

/// What a helper command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    /// Show the help.
    Help,
    /// Leave.
    Quit,
    /// Execute a statement.
    Statement(String),
    /// Execute a file.
    File(String),
    /// Write each column on a line of its own, or no longer so.
    Turn,
    /// Write rows in another format.
    Format(RowFormat),
}

/// The helper of a line, which begins with `\` or is one of a few words.
pub(crate) fn parse(line: &str) -> Result<Helper> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (command, argument) = match line.split_once(char::is_whitespace) {
        Some((command, argument)) => (command, argument.trim()),
        None => (line, ""),
    };
    Ok(match (command.to_ascii_lowercase().as_str(), argument) {
        ("\\?" | "\\h" | "\\help" | "help", _) => Helper::Help,
        ("\\q" | "\\quit" | "exit" | "quit", _) => Helper::Quit,
        ("\\d" | "\\dt", "") => Helper::Statement("SHOW TABLES".to_owned()),
        ("\\ds", _) => Helper::Statement("SHOW SYSTEM TABLES".to_owned()),
        ("\\x", _) => Helper::Turn,
        ("\\d", table) => Helper::Statement(format!("DESCRIBE {table}")),
        ("\\df", _) => Helper::Statement("SHOW FUNCTIONS".to_owned()),
        ("\\dr", _) => Helper::Statement(
            "SELECT run, component, proc, state, started, wall_ms, error FROM quern.runs ORDER BY run DESC LIMIT 20"
                .to_owned(),
        ),
        ("\\dm", _) => Helper::Statement("SELECT * FROM quern.models".to_owned()),
        ("\\i", "") => bail!("\\i needs a file; write \\i FILE"),
        ("\\i", file) => Helper::File(file.to_owned()),
        ("\\f", name) => match RowFormat::from_str(name, true) {
            Ok(RowFormat::Arrow) => bail!("an Arrow stream is not for a terminal"),
            Ok(format) => Helper::Format(format),
            Err(_) => bail!("no format `{name}`; there are table, lines, csv, json and jsonl"),
        },
        _ => bail!("no command `{command}`; \\? lists them"),
    })
}
