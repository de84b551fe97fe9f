//! `quern serve`: holds the folder for others until it is told to stop.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use super::args::parse_duration;
use super::context::Context;
use super::interrupt;
use crate::server::{Role, SOCKET_FILE};

const EXAMPLES: &str = "\
Examples:
  quern serve
  quern --data /srv/quern serve &

Other quern commands on the folder find the server by themselves.";

/// How often to look whether it is time to leave.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Hold the folder and serve other terminals until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// Leave after nobody has used the folder for this long
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle_exit: Option<Duration>,
}

impl Serve {
    /// Serves.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        interrupt::listen();
        let connection = context.creating_connection(Role::Server)?;
        if let Some(holder) = connection.remote_holder() {
            bail!(
                "folder {} is held by process {} already; other commands find it by themselves",
                connection.folder().display(),
                holder.pid
            );
        }
        let socket = connection.folder().join(SOCKET_FILE);
        let pid = std::process::id();
        match context.json {
            true => context.print_json(&serde_json::json!({ "pid": pid, "socket": socket }))?,
            false => {
                if !context.quiet {
                    context.print(&format!("serving {} (process {pid})\n", connection.folder().display()))?;
                    context.print(&format!("listening on {}; Ctrl-C stops\n", socket.display()))?;
                }
            }
        }
        while !interrupt::asked() {
            std::thread::sleep(LOOK_EVERY);
            let idle = connection.local_holder().map(|holder| holder.idle_for());
            if let (Some(limit), Some(idle)) = (self.idle_exit, idle)
                && idle >= limit
            {
                break;
            }
        }
        if interrupt::asked() {
            context.note("stopping");
        }
        Ok(())
    }
}
