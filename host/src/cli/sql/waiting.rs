//! What is shown while an answer is awaited: a bar after a second, with the
//! progress of the run that a statement waits for; and what becomes of that run
//! after Ctrl-C.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::RunId;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::output::{Paint, Progress};
use crate::cli::run::{goes_on, kill};
use crate::run::KillTarget;
use crate::server::{Connection, Event, Reply, Request};

/// How often to ask how a run stands.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Waiting for the next event of an answer.
pub(crate) struct Waiting {
    connection: Arc<Connection>,
    visible: bool,
    quiet: bool,
    paint: Paint,
    /// What the statement waits for.
    run: Option<RunId>,
    bar: Option<Progress>,
    asked: Instant,
}

impl Waiting {
    /// For the answers to a request.
    pub(crate) fn new(context: &Context, connection: Arc<Connection>) -> Self {
        Self {
            connection,
            visible: context.err_terminal && !context.quiet,
            quiet: context.quiet,
            paint: context.err,
            run: None,
            bar: None,
            asked: Instant::now(),
        }
    }

    /// Nothing has come yet.
    pub(crate) fn goes_on(&mut self) {
        if !self.visible {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| Progress::new(self.paint, "executing"));
        let Some(run) = self.run else { return bar.set(None, "") };
        if self.asked.elapsed() < ASK_EVERY {
            return;
        }
        self.asked = Instant::now();
        if let Ok(Reply::Run(view)) = self.connection.ask(Request::Run { run }) {
            bar.set(view.fraction(), &format!("run {run}: {}", view.status()));
        }
    }

    /// Something has come.
    pub(crate) fn is_over(&mut self) {
        self.bar = None;
    }

    /// What has come.
    pub(crate) fn came(&mut self, event: &Event) {
        self.run = match event {
            Event::Started(run) => Some(*run),
            _ => None,
        };
    }

    /// Nobody waits any more. A run of this process ends; one of a server goes on.
    pub(crate) fn is_given_up(&mut self) {
        let Some(run) = self.run.take() else { return };
        if !self.connection.is_served() {
            // A run that ended meanwhile cannot be killed, which is as good.
            let _ = kill(&self.connection, KillTarget::Run(run), interrupt::name().to_owned());
        } else if !self.quiet {
            eprintln!("{}", self.paint.dim(&goes_on(&KillTarget::Run(run))));
        }
    }
}
