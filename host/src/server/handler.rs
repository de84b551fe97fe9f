//! Requests to a folder, handled: the same code for this process and for those
//! that ask over the socket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::access;
use super::protocol::{Event, Reply, Request, ResultQuery, RunQuery};
use super::view::{ComponentView, LogView, RunView, StartupView};
use crate::base::{Error, Result, RunId};
use crate::database::{Database, ImportRequest};
use crate::run::{LogBounds, RunResults, RunStatus};
use crate::sql::{Answer, Caller, Watch};
use crate::storage::{ComponentRecord, RunFilter, RunRecord, Versions};

/// Takes the events of a request; an error ends it.
pub type Sink<'a> = &'a mut dyn FnMut(Event) -> Result<()>;

/// A request with what belongs to it.
pub(super) struct Question {
    pub(super) request: Request,
    /// What it brings, where it brings something.
    pub(super) body: Vec<u8>,
    /// Whether somebody still wants the answer.
    pub(super) watch: Watch,
    /// Who asks; the folder's owner where absent.
    pub(super) user: Option<String>,
}

/// How long nothing may happen in a run before it is told of all the same: a
/// client wants to know that we are there, and looks for Ctrl-C then.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The least time between two events of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// Log lines of one event.
const LOG_LINES: u32 = 1000;

/// Bytes of a file in one event.
const PIECE_BYTES: usize = 8 << 20;

/// Handles one request. A panic of a library on data that it did not expect ends
/// the request, not the holder.
pub(super) fn handle(database: &Database, question: Question, sink: Sink<'_>) -> Result<Reply> {
    catch_unwind(AssertUnwindSafe(|| answer(database, question, sink)))
        .unwrap_or_else(|_| Err(Error::Internal("a request ended in a panic, see the text above".into())))
}

fn answer(database: &Database, question: Question, sink: Sink<'_>) -> Result<Reply> {
    let Question { request, body, watch, user } = question;
    let caller = Caller { watch, rights: database.rights(user.as_deref())? };
    access::check(database, &caller.rights, &request)?;
    match request {
        Request::Sql { text } => sql(database, &text, &caller, sink),
        Request::Names => database.names(&caller).map(Reply::Names),
        Request::Import(import) => self::import(database, &import, &caller, sink),
        Request::CreateComponent(request) => {
            let done = database.create(&request, &body, &caller.rights)?;
            Ok(Reply::Created(Box::new(done.into())))
        }
        Request::ActivateComponent { name, version } => components(database, [database.activate(&name, version)?]),
        Request::DropComponent { name, version } => {
            database.drop_component(&name, version, &caller.rights).map(|()| Reply::Done)
        }
        Request::AlterProc { proc, changes } => database.alter_proc(&proc, &changes, &caller.rights).map(Reply::Proc),
        Request::Components { which } => {
            let seen = |component: &ComponentRecord| caller.rights.sees_function(&component.name, None);
            components(database, database.components(which)?.into_iter().filter(seen))
        }
        Request::Component { name } => components(database, [database.component(&name)?]),
        Request::Execute(request) => database.execute_for(request, &caller).map(Reply::Started),
        Request::Sweep(sweep) => database.sweep(sweep, &caller).map(Reply::Sweep),
        Request::FollowSweep { tag, first } => follow_sweep(database, &tag, first, sink),
        Request::AddStartup(request) => {
            database.add_startup(request, &caller.rights)?;
            startups(database, &caller)
        }
        Request::Startups => startups(database, &caller),
        Request::RemoveStartup { id } => database.remove_startup(id).map(|()| Reply::Done),
        Request::Follow { run, logs: true } => follow(database, run, Logs::Told, sink),
        Request::Follow { run, logs: false } => follow(database, run, Logs::Silent, sink),
        Request::Kill { target, by } => database.kill(&target, &by, &caller.rights).map(Reply::Killed),
        Request::Runs(query) => runs(database, &query, &caller),
        Request::Run { run } => run_reply(database, database.run(run)?),
        Request::Result(which) => result(database, &which, sink),
        Request::Logs { run } => {
            pass_logs(database, run, sink)?;
            Ok(Reply::Done)
        }
        Request::Models => database.models(&caller.rights).map(Reply::Models),
        Request::Devices => Ok(Reply::Devices(database.devices())),
        Request::ExportModel(which) => {
            let (model, file) = database.export_model(&which, &caller.rights)?;
            file.chunks(PIECE_BYTES).try_for_each(|piece| sink(Event::Bytes(piece.to_vec())))?;
            Ok(Reply::Models(vec![model]))
        }
        Request::DeleteModel(which) => Ok(Reply::Models(vec![database.delete_model(&which, &caller.rights)?])),
    }
}

fn components(database: &Database, records: impl IntoIterator<Item = ComponentRecord>) -> Result<Reply> {
    let settings = database.proc_settings()?;
    let views = records.into_iter().map(|record| ComponentView::new(record, &settings));
    views.collect::<Result<_>>().map(Reply::Components)
}

fn sql(database: &Database, text: &str, caller: &Caller, sink: Sink<'_>) -> Result<Reply> {
    for answer in database.sql(text, caller)? {
        match answer? {
            Answer::Rows(rows) => {
                sink(Event::Schema(rows.schema().clone()))?;
                for batch in rows {
                    sink(Event::Batch(batch?))?;
                }
            }
            Answer::Done(done) => sink(Event::Done(done))?,
            Answer::Run(awaited) => {
                sink(Event::Started(awaited.run))?;
                sink(Event::Done(awaited.wait()?))?;
            }
        }
    }
    Ok(Reply::Done)
}

fn import(database: &Database, import: &ImportRequest, caller: &Caller, sink: Sink<'_>) -> Result<Reply> {
    let mut told = Instant::now();
    let done = database.import(import, caller, &mut |progress| {
        caller.watch.check()?;
        if told.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        told = Instant::now();
        sink(Event::Rows { rows: progress.rows, total: progress.total })
    })?;
    Ok(Reply::Imported(done))
}

fn startups(database: &Database, caller: &Caller) -> Result<Reply> {
    let stored = database.startups(&caller.rights)?.into_iter().map(StartupView::from);
    Ok(Reply::Startups(stored.collect()))
}

/// Tells of the runs of a sweep until all have ended.
fn follow_sweep(database: &Database, tag: &str, first: RunId, sink: Sink<'_>) -> Result<Reply> {
    loop {
        let status = database.wait_sweep(tag, first, HEARTBEAT)?;
        if status.open == 0 {
            return Ok(Reply::Sweep(status));
        }
        sink(Event::Sweep(status))?;
    }
}

/// Tells of a run until it ends, and of its log. What changes faster than every
/// [`PROGRESS_EVERY`] is told together.
fn follow(database: &Database, run: RunId, logs: Logs, sink: Sink<'_>) -> Result<Reply> {
    let mut log = LogFollower { run, seen: 0, told: LogBounds::default(), most: None, logs };
    let mut seen = 0;
    loop {
        let (now, status) = database.follow(run, seen, HEARTBEAT)?;
        seen = now;
        log.tell(database, sink)?;
        if status.run.state.is_final() {
            return run_reply(database, status);
        }
        sink(Event::Run(Box::new(RunView::new(status.run, status.instances))))?;
        database.wait_end(run, PROGRESS_EVERY);
    }
}

/// Whether a follower wants to know what a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logs {
    Told,
    Silent,
}

/// How far a follower has been told of a log. It is told of no more lines than the
/// run's record keeps.
struct LogFollower {
    run: RunId,
    seen: u64,
    told: LogBounds,
    /// What is kept, as far as that is known: of a run that has not ended.
    most: Option<LogBounds>,
    logs: Logs,
}

impl LogFollower {
    /// Tells of the lines since the last time.
    fn tell(&mut self, database: &Database, sink: Sink<'_>) -> Result<()> {
        self.most = database.log_bounds(self.run).or(self.most);
        while self.logs == Logs::Told {
            let mut lines: Vec<LogView> =
                database.logs(self.run, self.seen, LOG_LINES)?.into_iter().map(LogView::from).collect();
            let Some(last) = lines.last().cloned() else { return Ok(()) };
            self.seen = last.seq;
            let fitting = lines.iter().take_while(|line| self.fits(line)).count();
            if fitting < lines.len() {
                self.logs = Logs::Silent;
                lines.truncate(fitting);
                let text = format!(
                    "more was logged than is kept (limits log_lines and log_bytes); `quern run logs {}` shows the last \
                     lines",
                    self.run
                );
                lines.push(LogView { level: "warn".to_owned(), text, ..last });
            }
            sink(Event::Logs(lines))?;
        }
        Ok(())
    }

    /// Counts a line, if it is one of so many.
    fn fits(&mut self, line: &LogView) -> bool {
        self.told.lines += 1;
        self.told.bytes += line.text.len() as u64;
        self.most.is_none_or(|most| self.told.lines <= most.lines && self.told.bytes <= most.bytes)
    }
}

/// Passes on the log lines that are kept.
fn pass_logs(database: &Database, run: RunId, sink: Sink<'_>) -> Result<()> {
    let mut seen = 0;
    loop {
        let lines: Vec<LogView> = database.logs(run, seen, LOG_LINES)?.into_iter().map(LogView::from).collect();
        let Some(last) = lines.last() else { return Ok(()) };
        seen = last.seq;
        sink(Event::Logs(lines))?;
    }
}

fn runs(database: &Database, query: &RunQuery, caller: &Caller) -> Result<Reply> {
    let filter = RunFilter {
        state: query.state,
        proc: query.proc.clone(),
        tag: query.tag.clone(),
        // Those of others do not count.
        limit: query.limit.filter(|_| caller.rights.user().is_none()),
    };
    let most = query.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut runs = Vec::new();
    let visible = |record: &RunRecord| caller.rights.run(record).is_ok();
    let versions = database.components(Versions::All)?;
    for record in database.runs(&filter)?.into_iter().filter(visible).take(most) {
        let instances = match database.run(record.id) {
            Ok(status) => status.instances,
            // It was forgotten just now.
            Err(Error::NotFound { .. }) => Vec::new(),
            Err(other) => return Err(other),
        };
        runs.push(RunView::new(record, instances).with_version(&versions));
    }
    Ok(Reply::Runs(runs))
}

fn run_reply(database: &Database, status: RunStatus) -> Result<Reply> {
    let results = database.results(status.run.id)?;
    let versions = database.components(Versions::All)?;
    let checkpoints = database.checkpoints(status.run.id)?;
    let view = RunView::new(status.run, status.instances).with_results(&results).with_version(&versions);
    let view = view.with_checkpoints(checkpoints);
    Ok(Reply::Run(Box::new(view)))
}

/// A result that no reducer merged: that of the only instance which has results.
fn only_result(results: &RunResults, which: &ResultQuery) -> Result<Vec<u8>> {
    let named = || results.instances.iter().filter(|result| result.name == which.name);
    let Some(found) = named().next() else {
        let within = Some(format!("run {}", which.run));
        return Err(Error::not_found(
            "result",
            &which.name,
            within,
            results.instances.iter().map(|result| &result.name),
        ));
    };
    if results.instances.iter().any(|result| result.shard != found.shard) {
        let (name, run, shard) = (&which.name, which.run, found.shard);
        return Err(Error::Invalid(format!(
            "result `{name}` of run {run} is not merged, for its proc declares no reducer of it; that of one instance is \
             had with --shard, for example --shard {shard}"
        )));
    }
    Ok(found.bytes.clone().or_else(|| found.text.clone().map(String::into_bytes)).unwrap_or_default())
}

/// Passes on one result in pieces: of an instance, or merged.
fn result(database: &Database, which: &ResultQuery, sink: Sink<'_>) -> Result<Reply> {
    let results = database.results(which.run)?;
    let bytes = match which.shard {
        Some(instance) => {
            let of_instance = || results.instances.iter().filter(|result| result.shard == instance);
            let missing = || {
                let within = Some(format!("instance {instance} of run {}", which.run));
                Error::not_found("result", &which.name, within, of_instance().map(|result| &result.name))
            };
            let found = of_instance().find(|result| result.name == which.name).ok_or_else(missing)?;
            found.bytes.clone().or_else(|| found.text.clone().map(String::into_bytes)).unwrap_or_default()
        }
        None => match results.merged.iter().find(|(name, _)| *name == which.name) {
            Some((_, value)) => value.bytes().or(value.text().map(str::as_bytes)).unwrap_or_default().to_vec(),
            None => only_result(&results, which)?,
        },
    };
    bytes.chunks(PIECE_BYTES).try_for_each(|piece| sink(Event::Bytes(piece.to_vec())))?;
    Ok(Reply::Done)
}
