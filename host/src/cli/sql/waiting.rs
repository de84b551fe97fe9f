//! What is shown while an answer is awaited: a bar after a second, with the
//! progress of the run where the statements execute a proc.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::context::Context;
use crate::cli::output::{Paint, Progress};
use crate::server::{Connection, Reply, Request, RunQuery};

/// How often to ask how a run stands.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Waiting for the next event of an answer.
pub(crate) struct Waiting {
    connection: Arc<Connection>,
    visible: bool,
    paint: Paint,
    executes: bool,
    bar: Option<Progress>,
    asked: Instant,
}

impl Waiting {
    /// For the answers to `text`.
    pub(crate) fn new(context: &Context, connection: Arc<Connection>, text: &str) -> Self {
        Self {
            connection,
            visible: context.err_terminal && !context.quiet,
            paint: context.err,
            executes: text.to_ascii_lowercase().contains("execute function"),
            bar: None,
            asked: Instant::now(),
        }
    }

    /// Nothing has come yet.
    pub(crate) fn goes_on(&mut self) {
        if !self.visible {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| Progress::new(true, self.paint, "executing"));
        let (mut fraction, mut message) = (None, String::new());
        if self.executes && self.asked.elapsed() > ASK_EVERY {
            self.asked = Instant::now();
            let query = RunQuery { state: Some("running".to_owned()), limit: Some(1), ..RunQuery::default() };
            let Ok(Reply::Runs(runs)) = self.connection.call(Request::Runs(query), Vec::new(), &mut |_| Ok(())) else {
                return;
            };
            let Some(run) = runs.first() else { return };
            fraction = run.fraction();
            message = format!("run {}: {}", run.id, run.status());
        } else if self.executes {
            return;
        }
        bar.set(fraction, &message);
    }

    /// Something has come.
    pub(crate) fn is_over(&mut self) {
        self.bar = None;
    }
}
