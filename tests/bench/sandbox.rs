//! The sandbox: what it costs, and how soon it lets go.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use quern::base::Limits;
use quern::catalog::ProcSpec;
use quern::proc::{Component, Engine};
use quern::run::RunRequest;

use super::rows::Folder;
use super::support::instance::Trial;
use super::support::latency::{End, Waits, wait_of_many, waits};
use super::{best, line, seconds};

#[path = "guest/src/work.rs"]
mod work;

/// Runs that are ended, of each kind.
const TRIES: u32 = 200;

/// Turns of work that is compared; the best one counts.
const TURNS: usize = 5;

/// Starts of an instance.
const STARTS: usize = 200;

pub(super) fn sandbox() {
    let folder = Folder::new(2);
    let bytes = folder.create("bench", "tests/bench/guest");
    let mut starts: Vec<Duration> = (0..STARTS).map(|_| folder.execute(RunRequest::new("empty")).start).collect();
    starts.sort();
    let remark = format!("of {STARTS}; the best {}", seconds(starts[0]));
    line("start of an instance, median", seconds(starts[STARTS / 2]), &remark);
    overhead(bytes, "arithmetic", 100_000_000, work::collatz);
    overhead(bytes, "memory", 10_000_000, |count| work::primes(usize::try_from(count).unwrap()) as u64);
}

/// The same work natively, in WebAssembly without limits, and in the sandbox.
fn overhead(bytes: &[u8], proc: &str, count: u64, native: fn(u64) -> u64) {
    let natively = best(TURNS, || {
        black_box(native(black_box(count)));
    });
    let spec = Trial::new(bytes, proc).spec;
    let inside = |engine: &'static Engine| {
        let component = engine.compile(bytes, &Limits::default(), None).unwrap();
        (0..TURNS).map(|_| guest_time(&component, &spec, count)).min().unwrap()
    };
    let (unguarded, guarded) = (inside(Engine::unguarded().unwrap()), inside(Engine::get().unwrap()));
    let times = |time: Duration| format!("{:.2} × native", time.as_secs_f64() / natively.as_secs_f64());
    line(&format!("{proc}, native"), seconds(natively), "");
    line(&format!("{proc}, WebAssembly without limits"), seconds(unguarded), &times(unguarded));
    line(&format!("{proc}, in the sandbox"), seconds(guarded), &times(guarded));
}

/// Time inside the guest, of one instance without tables.
fn guest_time(component: &Arc<Component>, spec: &ProcSpec, count: u64) -> Duration {
    let outcome = Trial::of(component.clone(), spec.clone()).param("count", &count.to_string()).run();
    outcome.result.unwrap();
    Duration::from_secs_f64(outcome.receipt.guest_ms / 1e3)
}

pub(super) fn kills() {
    let folder = Folder::new(2);
    folder.create("evil", "tests/evil/hostile");
    for (what, request) in [
        ("guest code", RunRequest::new("loops_forever")),
        ("calls of the host", RunRequest::new("calls_forever")),
        ("products of 4096 × 4096", RunRequest::new("computes_forever").param("size", "4096")),
    ] {
        show(&format!("kill during {what}"), &waits(&folder.database, &request, TRIES, End::Kill));
        show(&format!("deadline during {what}"), &waits(&folder.database, &request, TRIES, End::Deadline));
    }
    let many = (0..5).map(|_| wait_of_many(&folder.database, &RunRequest::new("loops_forever"), 64)).max().unwrap();
    line("kill of 64 runs, until the last has ended", seconds(many), "the longest of 5");
}

fn show(what: &str, waits: &Waits) {
    let remark = format!("p99 of {TRIES}; median {}, longest {}", seconds(waits.median()), seconds(waits.longest()));
    line(what, seconds(waits.p99()), &remark);
}
