//! `quern run result`: one result of a run, as it is.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use super::show::visible;
use crate::base::RunId;
use crate::cli::args::parse_run;
use crate::cli::context::Context;

use crate::server::{Event, Request, ResultQuery};

const EXAMPLES: &str = "\
Examples:
  quern run result 7 loss                       merged by the proc's reducer
  quern run result 7 picture --instance 0 -o picture.png";

/// Write one result of a run, text or bytes, to the terminal or a file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunResult {
    /// The run
    #[arg(value_name = "RUN", value_parser = parse_run)]
    run: RunId,
    /// The result's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Of this instance; without it, merged over all, or that of the only one
    #[arg(long, value_name = "N")]
    instance: Option<u32>,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl RunResult {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let mut bytes = Vec::new();
        let query = ResultQuery { run: self.run, name: self.name, shard: self.instance };
        context.asking_connection()?.call(Request::Result(query), Vec::new(), &mut |event| {
            if let Event::Bytes(piece) = event {
                bytes.extend(piece);
            }
            Ok(())
        })?;
        match self.output {
            Some(path) => std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display())),
            None if std::io::stdout().is_terminal() => {
                let size = bytes.len();
                let text = String::from_utf8(bytes).map_err(|_| {
                    anyhow!("the result is {size} bytes and no text; write it to a file with --output FILE")
                })?;
                Ok(context.print(&format!("{}\n", visible(&text, &['\n', '\t'])))?)
            }
            None => Ok(std::io::stdout().lock().write_all(&bytes)?),
        }
    }
}
