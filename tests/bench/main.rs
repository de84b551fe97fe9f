//! `make bench`: how fast the parts are, in one run, so that ratios mean
//! something on a noisy machine. Every figure is the best of several tries that
//! take turns; PyTorch and JAX take part where they are installed.
//!
//! `make bench BENCH=training` runs only the sections whose name matches.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench that cannot measure ends")]

mod baselines;
mod boundary;
mod rows;
mod sandbox;
#[allow(dead_code, reason = "the rest of it is for the tests")]
#[path = "../support/mod.rs"]
mod support;
mod training;

use std::time::{Duration, Instant};

use quern::base::Limits;
use quern::device::{Device, KillSwitch, Quota};
use quern::tensor::{Executor, Mode, Session, Settings, Teller};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let sections: [(&str, fn()); 6] = [
        ("training", training::training),
        ("replay", training::replay),
        ("rows", rows::rows),
        ("boundary", boundary::boundary),
        ("sandbox", sandbox::sandbox),
        ("kills", sandbox::kills),
    ];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            println!("\n{name}");
            section();
        }
    }
}

/// A line of the table: what, its figure, and a remark.
fn line(what: &str, figure: impl std::fmt::Display, remark: &str) {
    println!("  {what:<44} {figure:>14}  {remark}");
}

/// The shortest of `tries` executions.
fn best(tries: usize, mut work: impl FnMut()) -> Duration {
    let time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..tries).map(time).min().unwrap()
}

fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    match s {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.1} µs", s * 1e6),
        s => format!("{:.0} ns", s * 1e9),
    }
}

/// A session of its own device with `cores` threads.
fn session(cores: usize, mode: Mode) -> Session {
    let limits = Limits::default();
    let settings = Settings {
        quota: Quota::new(limits.device_bytes),
        kill: KillSwitch::new(),
        limits,
        seed: 1,
        stream: 0,
        mode,
        teller: Teller::default(),
    };
    Session::new(&Executor::new(Device::cpu(cores, 4 << 30)), settings)
}
