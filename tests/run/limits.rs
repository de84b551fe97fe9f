//! Limits of a run: the folder's, other ones for a proc, other ones for a run.

use std::sync::{Arc, Mutex};

use quern::base::{Limits, Result};
use quern::catalog::ProcChange;
use quern::run::{Made, RunRequest};

use super::fixture::Folder;

#[test]
fn the_proc_s_limits_go_before_the_folder_s_and_the_run_s_before_both() {
    let folder = Folder::with_limits(&Limits { handles: 10, results: 11, log_lines: 12, ..Limits::default() });
    let seen: Arc<Mutex<Vec<[u64; 3]>>> = Arc::default();
    let kept = seen.clone();
    let declare = |d: &mut quern::catalog::Declarations| d.proc("look", "nondistributed", "").unwrap();
    folder.proc("looks", declare, move |instance| -> Result<Made> {
        let limits = &instance.descriptor.task.limits;
        kept.lock().unwrap().push([limits.handles, limits.results, limits.log_lines]);
        Ok(Made::default())
    });
    let run = |request: RunRequest| folder.wait(folder.runs.execute(request).unwrap());
    let set = |limit: &str, value| {
        folder.catalog.alter_proc("looks", "look", &[ProcChange::Limit(limit.to_owned(), value)]).unwrap();
    };
    run(RunRequest::new("look"));
    set("handles", Some(20));
    set("results", Some(21));
    run(RunRequest::new("look"));
    run(RunRequest::new("look").limit("handles", 30).unwrap());
    folder.catalog.set_max_concurrency("looks", "look", Some(1)).unwrap();
    set("results", None);
    run(RunRequest::new("look"));
    assert_eq!(*seen.lock().unwrap(), [[10, 11, 12], [20, 21, 12], [30, 21, 12], [20, 11, 12]]);
    assert_eq!(folder.catalog.max_concurrency("looks", "look").unwrap(), Some(1));
}

#[test]
fn limits_of_procs_are_checked_by_name() {
    let folder = Folder::new();
    folder.proc("looks", |d| d.proc("look", "nondistributed", "").unwrap(), |_| Ok(Made::default()));
    let refused = |component: &str, proc: &str, limit: &str| {
        let change = ProcChange::Limit(limit.to_owned(), Some(1));
        folder.catalog.alter_proc(component, proc, &[change]).unwrap_err().to_string()
    };
    assert_eq!(refused("looks", "look", "handle"), "no limit `handle`; did you mean `handles`?");
    assert_eq!(
        refused("looks", "look", "running_instances"),
        "limit `running_instances` holds for the whole folder; no run can change it, \
         --folder-limit does where the folder is opened"
    );
    assert_eq!(refused("looks", "loot", "handles"), "no proc `loot` in component `looks`; did you mean `look`?");
    assert_eq!(refused("books", "look", "handles"), "no component `books`; did you mean `looks`?");
}
