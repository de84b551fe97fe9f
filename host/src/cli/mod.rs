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

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

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
    let matches = Cli::command().get_matches();
    refuse_empty_user(&matches);
    let Cli { mut global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    crate::proc::compile_with_this_program();
    if let Command::Demo(_) = command {
        // A demo leaves the user's own folder alone.
        global.data = global.data.or_else(|| Some(demo::FOLDER.into()));
    }
    let context = Context::new(global);
    let done = command.run(&context);
    if done.as_ref().is_err_and(|error| error.is::<report::Interrupted>()) {
        // It ended what this command did, not what others do here.
        interrupt::reset();
    }
    let closed = context.close();
    let code = match done.and(closed) {
        Ok(()) => 0,
        Err(error) => report::failed(&context, &error),
    };
    drop(context);
    leave(code)
}

/// An empty variable is none; but who writes `--user ""` means a user, and would act as
/// the owner.
fn refuse_empty_user(matches: &ArgMatches) {
    let is_empty = matches.get_one::<String>("user").is_some_and(|user| user.trim().is_empty());
    if is_empty && matches.value_source("user") == Some(ValueSource::CommandLine) {
        let told = "a value is required for '--user <NAME>' but none was supplied";
        Cli::command().error(ErrorKind::InvalidValue, told).exit();
    }
}

/// Ends the process. Libraries of a GPU take themselves down when a program returns,
/// which must not meet a device in use or on its way to be closed, or a compiler at work.
fn leave(code: u8) -> ExitCode {
    if Cuda::have_closed() && !crate::tensor::is_compiling() {
        return ExitCode::from(code);
    }
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process at once; all that is to last was committed.
    unsafe { libc::_exit(i32::from(code)) }
}
