//! Statements about procs and runs.

use std::time::Duration;

use super::alter;
use super::answer::{Answer, Awaited, Done};
use super::change::{self, counted};
use super::inputs;
use super::parse;
use super::provider::View;
use super::session::Session;
use super::statement::{Absent, CreateFunction, Execute, ExecuteInput, Kill, Show, TableName};
use super::system;
use crate::base::{Error, Limits, Result, RunId};
use crate::catalog::Privilege;
use crate::proc::{CodeCache, ComponentRequest};
use crate::run::{
    InputRef, KillTarget, Killed, OnFailure, RunRequest, RunStatus, Submission, check_request, check_startup,
};
use crate::storage::RunState;

/// Options of `EXECUTE FUNCTION` beside the limits.
const OPTIONS: [&str; 8] = ["run_tag", "seed", "user", "wait", "resume", "keep_going", "retries", "execute_at_startup"];
/// How often to look whether somebody still waits for a run.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Who kills, in the run's record.
const KILLED_BY: &str = "KILL RUN";

/// `CREATE FUNCTION`.
pub(super) fn create(view: &View, create: &CreateFunction) -> Result<Done> {
    let [file] = create.files.as_slice() else {
        return Err(Error::Invalid("a component is one file".into()));
    };
    let bytes = component_bytes(view, file)?;
    let catalog = &view.system.catalog;
    let rights = &view.caller.rights;
    rights.create_component(catalog, &create.name)?;
    if !create.or_replace && catalog.versions()?.iter().any(|kept| kept.name == create.name) {
        return Err(Error::Exists { kind: "component", name: create.name.clone() });
    }
    let cache = CodeCache::of_user();
    let mut bound = None;
    for (name, value) in &create.options {
        match alter::MAX_CONCURRENCY.contains(&name.as_str()) {
            true => bound = alter::number_or_none(name, value)?,
            false => {
                return Err(Error::not_found("option", name, Some("CREATE FUNCTION".into()), alter::MAX_CONCURRENCY));
            }
        }
    }
    let request = ComponentRequest { max_concurrency_of_others: bound, ..ComponentRequest::new(&create.name) };
    let done = request.create((catalog, rights), &bytes, &view.system.limits, cache.as_ref())?;
    let procs: Vec<&str> = done.inspection.procs.iter().map(|proc| proc.name.as_str()).collect();
    let (sentence, capabilities) = (done.sentence(), &done.inspection.capabilities);
    Ok(Done::message(format!("{sentence} with {}: it can use {capabilities}", procs.join(", "))))
}

/// A file's bytes, or those of a version that was created: `sha256:…`.
fn component_bytes(view: &View, file: &str) -> Result<Vec<u8>> {
    if let Some(sha256) = file.strip_prefix(alter::STORED) {
        may_copy(view, sha256)?;
        return view.storage.component_bytes(sha256);
    }
    // Errors shall say where a relative path was looked for.
    let path = std::path::absolute(file).map_err(|e| Error::io("find", file, e))?;
    view.caller.rights.read_file(&view.storage, &path)?;
    std::fs::read(&path).map_err(|e| Error::io("read", &path, e))
}

/// Whether the caller may make a component of bytes that are stored: it
/// administers one that has them.
fn may_copy(view: &View, sha256: &str) -> Result<()> {
    let rights = &view.caller.rights;
    if rights.user().is_none() {
        return Ok(());
    }
    let mut refused = Error::not_found("component", sha256, None, [""; 0]);
    for kept in view.system.catalog.versions()?.iter().filter(|kept| kept.sha256 == sha256) {
        match rights.function(Privilege::Admin, &kept.name, None) {
            Ok(()) => return Ok(()),
            Err(e) => refused = e,
        }
    }
    Err(refused)
}

/// `DROP FUNCTION`.
pub(super) fn drop(view: &View, name: &str, absent: Absent) -> Result<Done> {
    let catalog = &view.system.catalog;
    match catalog.component(name) {
        Ok(component) => {
            view.system.runs.drop_component(&view.caller.rights, &component.name)?;
            Ok(Done::message(format!("dropped component `{name}`")))
        }
        Err(Error::NotFound { .. }) if absent == Absent::Ignore => {
            Ok(Done::message(format!("no component `{name}` to drop")))
        }
        Err(missing) => match catalog.resolve(name) {
            Ok(found) => Err(Error::Invalid(format!(
                "proc `{}` is part of component `{1}`; DROP FUNCTION \"{1}\" drops all of it",
                found.proc.name, found.component.name
            ))),
            Err(_) => Err(missing),
        },
    }
}

/// `SHOW` and `DESCRIBE`, as queries of the system tables.
pub(super) fn show(session: &Session, view: &View, show: &Show) -> Result<Answer> {
    let text = match show {
        Show::Tables => "SELECT table_name, rows, columns, sharding, shards, file_bytes FROM quern.tables \
                         ORDER BY table_name"
            .to_owned(),
        Show::SystemTables => return system::list().map(Answer::Rows),
        Show::Columns(table) => return describe_table(session, view, table),
        Show::Functions(name) => format!(
            "SELECT component || '.' || proc AS function_name, mode, doc, ddl FROM quern.procs{} ORDER BY 1",
            of_function(view, name.as_deref())?
        ),
        Show::Function(name) => format!(
            "SELECT component || '.' || proc AS function_name, mode, inputs, outputs, params, doc, version, \
             max_concurrency FROM quern.procs{} \
             ORDER BY 1",
            of_function(view, name.as_deref())?
        ),
        Show::Grants(of) => {
            let condition = of.as_ref().map(|name| format!(" WHERE grantee = {}", literal(name))).unwrap_or_default();
            format!("SELECT grantee, privilege, kind, object, grantable, grantor FROM quern.grants{condition}")
        }
        Show::FunctionStatus { verbose, run } => {
            if let Some(run) = run {
                view.system.runs.status(RunId(*run))?;
            }
            let more = match verbose {
                true => ", tag, submitted, wall_ms, instances, params, inputs, outputs, error",
                false => "",
            };
            let condition = run.map(|run| format!(" WHERE run = {run}")).unwrap_or_default();
            format!(
                "SELECT component || '.' || proc AS function_name, run AS run_id, state AS overall_status{more} \
                 FROM quern.runs{condition} ORDER BY run"
            )
        }
    };
    session.query(view, &parse::query(&text)?).map(Answer::Rows)
}

/// The columns of any table.
fn describe_table(session: &Session, view: &View, table: &TableName) -> Result<Answer> {
    if table.schema == system::SCHEMA {
        let schema = system::Table::named(&table.name)?.schema();
        return super::provider::describe(&schema).map(Answer::Rows);
    }
    let table = change::existing(view, table)?;
    let text = format!(
        "SELECT column_name, type, nullable FROM quern.columns WHERE table_name = {} ORDER BY position",
        literal(&table.name)
    );
    session.query(view, &parse::query(&text)?).map(Answer::Rows)
}

/// A condition for one component or proc that must exist.
fn of_function(view: &View, name: Option<&str>) -> Result<String> {
    let Some(name) = name else { return Ok(String::new()) };
    if view.system.catalog.component(name).is_ok() {
        return Ok(format!(" WHERE component = {}", literal(name)));
    }
    let found = view.system.catalog.resolve(name)?;
    Ok(format!(" WHERE component = {} AND proc = {}", literal(&found.component.name), literal(&found.proc.name)))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `EXECUTE FUNCTION`: queues the run and waits for its end, unless `wait` is false.
pub(super) fn execute(session: &Session, view: &View, execute: &Execute) -> Result<Answer> {
    let Asked { request, wait, at_startup } = request(view, execute)?;
    if at_startup {
        let system = &view.system;
        let mut submission = Submission::from(request);
        check_request(&view.caller.rights, &system.catalog, &system.runs, &view.snapshot, &mut submission)?;
        let id = system.runs.add_startup(submission.request, &view.caller.rights)?;
        let message = format!("stored as {id}; it is executed whenever `quern serve` opens the folder");
        return Ok(Answer::Done(Done::message(message)));
    }
    let run = inputs::submit(session, view, request.into())?;
    let view = view.clone();
    Ok(match wait {
        true => Answer::Run(Awaited::new(run, move || finish(&view, run))),
        false => Answer::Done(started(run)),
    })
}

/// What `EXECUTE FUNCTION` asks for.
pub(super) struct Asked {
    pub(super) request: RunRequest,
    wait: bool,
    at_startup: bool,
}

/// The request of a statement.
pub(super) fn request(view: &View, execute: &Execute) -> Result<Asked> {
    let mut request = RunRequest::new(&execute.proc);
    request.outputs.clone_from(&execute.outputs);
    request.params.clone_from(&execute.params);
    request.binary_params.clone_from(&execute.binary_params);
    let (mut wait, mut at_startup) = (true, false);
    for (name, value) in &execute.options {
        if name == "execute_at_startup" {
            at_startup = value.parse().map_err(|_| not_a(name, value, "true or false"))?;
        } else if name == "wait" {
            wait = value.parse().map_err(|_| not_a(name, value, "true or false"))?;
        } else {
            option(&mut request, name, value)?;
        }
    }
    for input in &execute.inputs {
        request.inputs.push(match input {
            ExecuteInput::Table(table, columns) => match view.calls.iter().find(|call| call.name == table.name) {
                Some(call) => inputs::of_call(call, columns.as_deref()),
                None => InputRef { columns: columns.clone(), ..InputRef::table(&change::existing(view, table)?.name) },
            },
            ExecuteInput::Query(query) => inputs::of_query(query, &view.calls),
        });
    }
    Ok(Asked { request, wait, at_startup })
}

/// Applies one option.
fn option(request: &mut RunRequest, name: &str, value: &str) -> Result<()> {
    match name {
        "run_tag" => request.tag = Some(value.to_owned()),
        "keep_going" => {
            let keep_going = value.parse().map_err(|_| not_a(name, value, "true or false"))?;
            request.on_failure = if keep_going { OnFailure::KeepGoing } else { OnFailure::Stop };
        }
        "retries" => request.retries = value.parse().map_err(|_| not_a(name, value, "a whole number"))?,
        "user" => request.user = Some(value.to_owned()),
        "resume" => request.resume = Some(RunId(value.parse().map_err(|_| not_a(name, value, "the number of a run"))?)),
        "seed" => request.seed = Some(value.parse().map_err(|_| not_a(name, value, "a whole number"))?),
        limit => {
            let known = Limits::default().entries();
            if !known.iter().any(|(known, _)| known == limit) {
                let names = OPTIONS.into_iter().chain(known.iter().map(|(known, _)| known.as_str()));
                return Err(Error::not_found("option", limit, Some("EXECUTE FUNCTION".to_owned()), names));
            }
            request.limits.set(limit, value.parse().map_err(|_| not_a(limit, value, "a whole number"))?)?;
        }
    }
    Ok(())
}

fn not_a(name: &str, value: &str, wanted: &str) -> Error {
    Error::Invalid(format!("option {name}: `{value}` is not {wanted}"))
}

fn started(run: RunId) -> Done {
    Done::run(format!("run {run} is queued; SHOW FUNCTION STATUS FOR {run} shows it"), run)
}

/// Waits for the end of a run; one that did not complete is an error.
fn finish(view: &View, run: RunId) -> Result<Done> {
    let RunStatus { run: record, instances } = loop {
        let status = view.system.runs.wait(run, Some(LOOK_EVERY))?;
        if status.run.state.is_final() {
            break status;
        }
        // The run goes on; nobody waits for it any more.
        view.caller.watch.check()?;
    };
    let error = record.error.as_deref().unwrap_or("no reason is recorded");
    match record.state {
        RunState::Complete => {}
        RunState::Killed => return Err(Error::Invalid(format!("run {run} was killed: {error}"))),
        _ => return Err(Error::Invalid(format!("run {run} failed: {error}"))),
    }
    let receipts = instances.iter().filter_map(|i| serde_json::from_str::<crate::proc::Receipt>(&i.receipt).ok());
    let rows_out: u64 = receipts.map(|receipt| receipt.rows_out).sum();
    let seconds = match (record.started_us, record.finished_us) {
        (Some(started), Some(finished)) => (finished - started) as f64 / 1e6,
        _ => 0.0,
    };
    let (component, proc) = (&record.component, &record.proc);
    let text = format!("run {run} of {component}.{proc} complete: {} out in {seconds:.2} s", counted(rows_out));
    Ok(Done::run(text, run))
}

/// Waits for the end of a run whose rows only the caller wants.
pub(super) fn finish_or_kill(view: &View, run: RunId) -> Result<()> {
    let ended = finish(view, run);
    if ended.is_err() {
        // One that has ended by itself cannot be killed, which is as good.
        let _ = view.system.runs.kill(&KillTarget::Run(run), Some("the end of its query"));
    }
    ended.map(|_| ())
}

/// `KILL`.
pub(super) fn kill(view: &View, kill: &Kill) -> Result<Done> {
    let (target, whose) = match kill {
        Kill::Run(run) => (KillTarget::Run(RunId(*run)), String::new()),
        Kill::Tag(tag) => (KillTarget::Tag(tag.clone()), format!(" with tag `{tag}`")),
        Kill::All => (KillTarget::All, String::new()),
        Kill::Startup(id) => {
            check_startup(&view.caller.rights, &view.system.runs, *id)?;
            view.system.runs.remove_startup(*id)?;
            return Ok(Done::message(format!("cancelled {id} for start-up")));
        }
    };
    let killed = view.system.runs.kill_and_wait(&view.caller.rights, &target, Some(KILLED_BY))?;
    match killed.as_slice() {
        [] => Ok(Done::message(format!("no run{whose} to kill"))),
        [one] => Ok(Done::run(told(&killed), one.run)),
        _ => Ok(Done::message(told(&killed))),
    }
}

/// `killed runs 1, 3; run 4 is being killed`.
fn told(killed: &[Killed]) -> String {
    let (ended, ending): (Vec<Killed>, Vec<Killed>) = killed.iter().partition(|killed| killed.has_ended);
    let list = |runs: &[Killed]| {
        let numbers: Vec<String> = runs.iter().map(|killed| killed.run.to_string()).collect();
        format!("run{} {}", if runs.len() == 1 { "" } else { "s" }, numbers.join(", "))
    };
    let ended = (!ended.is_empty()).then(|| format!("killed {}", list(&ended)));
    let are = if ending.len() == 1 { "is" } else { "are" };
    let ending = (!ending.is_empty()).then(|| format!("{} {are} being killed", list(&ending)));
    ended.into_iter().chain(ending).collect::<Vec<_>>().join("; ")
}
