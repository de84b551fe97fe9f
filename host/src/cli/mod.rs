//! The command line, one file per subcommand. Each subcommand is a struct of
//! parsed arguments whose `run` turns them into a request, sends it over the
//! [`crate::server::Connection`] and shows what comes back.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 128 and its number after a signal
//! (Ctrl-C: 130).

mod args;
mod compile;
mod context;
mod demo;
mod devices;
mod import;
mod interrupt;
mod model;
mod output;
mod proc;
mod report;
mod run;
mod serve;
mod sql;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::{Context, Global};

use crate::device::cuda::Cuda;

/// Examples below the help of `quern`.
const EXAMPLES: &str = "\
Examples:
  quern import digits.csv --table digits       a file becomes a table
  quern sql \"select count(*) from digits\"      one statement
  quern sql                                    a shell with history and completion
  quern proc new my-proc                       a proc to start from
  quern demo mnist                             the whole story on real data

The folder is --data DIR, else $QUERN_DATA, else ./quern-data.";

/// A database that keeps tables on devices and runs your WebAssembly procs
/// right there.
#[derive(Debug, Parser)]
#[command(name = "quern", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Import),
    Sql(sql::SqlCommand),
    #[command(subcommand)]
    Proc(proc::ProcCommand),
    #[command(subcommand)]
    Run(run::RunCommand),
    #[command(subcommand)]
    Model(model::ModelCommand),
    Serve(serve::Serve),
    Devices(devices::Devices),
    #[command(subcommand)]
    Demo(demo::DemoCommand),
    #[command(name = crate::proc::SUBCOMMAND, hide = true)]
    Compile(compile::Compile),
}

impl Command {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Import(command) => command.run(context),
            Self::Sql(command) => command.run(context),
            Self::Proc(command) => command.run(context),
            Self::Run(command) => command.run(context),
            Self::Model(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::Devices(command) => command.run(context),
            Self::Demo(command) => command.run(context),
            Self::Compile(command) => command.run(),
        }
    }
}

/// Parses the arguments, does what they say, reports an error.
pub fn main() -> ExitCode {
    let Cli { mut global, command } = Cli::parse();
    crate::proc::compile_with_this_program();
    if let Command::Demo(_) = command {
        // A demo leaves the user's own folder alone.
        global.data = global.data.or_else(|| Some(demo::FOLDER.into()));
    }
    let context = Context::new(global);
    let done = command.run(&context);
    let closed = context.close();
    let code = match done.and(closed) {
        Ok(()) => 0,
        Err(error) => report::failed(&context, &error),
    };
    leave(code)
}

/// Ends the process. Libraries of a GPU take themselves down when a program returns,
/// which must not meet a device that is still being closed, or a compiler at work.
fn leave(code: u8) -> ExitCode {
    if Cuda::have_closed() && !crate::tensor::is_compiling() {
        return ExitCode::from(code);
    }
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process at once; all that is to last was committed.
    unsafe { libc::_exit(i32::from(code)) }
}
