//! The boundary between guest and host: calls, instances, runs.

use quern::run::RunRequest;

use super::rows::Folder;
use super::{best, line, seconds};

/// Calls in a loop.
const CALLS: u32 = 5_000_000;

/// Runs one after the other.
const RUNS: u32 = 50;

pub(super) fn boundary() {
    let folder = Folder::new(2);
    folder.create("bench", "tests/bench/guest");
    let loops = |proc: &str| {
        let run = || folder.execute(RunRequest::new(proc).param("count", CALLS.to_string())).guest;
        (0..5).map(|_| run()).min().unwrap() / CALLS
    };
    line("call of the host", seconds(loops("calls")), "");
    line("call of the host with a handle", seconds(loops("handle_calls")), "");
    let empty = || {
        folder.execute(RunRequest::new("empty"));
    };
    let start = best(10, empty);
    line("run of an empty proc, the best", seconds(start), "start, instance, durable end");
    let many = best(3, || (0..RUNS).for_each(|_| empty()));
    line("run of an empty proc, the mean of 50", seconds(many / RUNS), "");
}
