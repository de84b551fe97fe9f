//! `quern run logs`.

use anyhow::Result;
use clap::Args;

use crate::base::Error;
use crate::base::RunId;
use crate::cli::args::parse_run;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::{Paint, timestamp};
use crate::cli::report::Interrupted;
use crate::server::{Event, LogView, Request};

const EXAMPLES: &str = "\
Examples:
  quern run logs 7
  quern run logs 7 -f         until the run ends; Ctrl-C stops looking, not the run
  quern run logs 7 --json     one object per line";

/// Show what a run has logged
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// The run
    #[arg(value_name = "RUN", value_parser = parse_run)]
    run: RunId,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
}

impl Logs {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let run = self.run;
        let connection = context.asking_connection()?;
        let request = match self.follow {
            true => Request::Follow { run, logs: true },
            false => Request::Logs { run },
        };
        // Where this process holds the folder, Ctrl-C must not end what others run in it.
        interrupt::listen();
        let mut failed = None;
        let reply = connection.call(request, Vec::new(), &mut |event| {
            if interrupt::asked() {
                return Err(Error::Killed { by: None });
            }
            let Event::Logs(lines) = event else { return Ok(()) };
            for line in &lines {
                let printed = context.show(line, || log_line(context.out, line));
                if let Err(error) = printed {
                    failed = Some(error);
                    return Err(Error::Killed { by: None });
                }
            }
            Ok(())
        });
        match failed {
            Some(error) => Err(error),
            None if interrupt::asked() => Err(Interrupted.into()),
            None => reply.map(drop).map_err(Into::into),
        }
    }
}

/// `10:15:07  info  instance 2  text`
pub(crate) fn log_line(paint: Paint, line: &LogView) -> String {
    let time = timestamp(line.time_us);
    let time = time.split(' ').next_back().unwrap_or_default();
    let level = format!("{:<5}", line.level);
    let level = match line.level.as_str() {
        "error" => paint.red(&level),
        "warn" => paint.yellow(&level),
        "info" => level,
        _ => paint.dim(&level),
    };
    // What a proc wrote over several lines cannot pass for lines of the log.
    let text = line.text.replace('\n', "\n          ");
    format!("{}  {level}  {}  {text}\n", paint.dim(time), paint.dim(&format!("instance {}", line.shard)))
}
