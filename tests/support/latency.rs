//! How long a run lives on after it should end: from the kill, or the deadline,
//! to the moment when it has been reported, its record stored. The bench prints
//! it, a test bounds it.

use std::time::{Duration, Instant};

use quern::base::RunId;
use quern::catalog::Rights;
use quern::database::Database;
use quern::run::{KillTarget, RunRequest};
use quern::storage::RunState;

/// What ends a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Kill,
    Deadline,
}

/// Waits, the shortest first.
pub(crate) struct Waits(Vec<Duration>);

impl Waits {
    /// The time that 99 of 100 stay below.
    pub(crate) fn p99(&self) -> Duration {
        self.0[(self.0.len() * 99).div_ceil(100) - 1]
    }

    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    pub(crate) fn longest(&self) -> Duration {
        *self.0.last().unwrap()
    }
}

/// Ends run after run of one proc, each at another moment of its work.
pub(crate) fn waits(database: &Database, request: &RunRequest, tries: u32, end: End) -> Waits {
    let wait = |i: u32| {
        // From 20 ms on, in steps that meet every phase of a 5 ms tick.
        let worked = Duration::from_micros(20_000 + u64::from(i) * 1_370 % 17_000);
        match end {
            End::Kill => {
                let run = database.execute(request.clone()).unwrap();
                running(database, run);
                std::thread::sleep(worked);
                let begun = Instant::now();
                database.kill(&KillTarget::Run(run), "latency", &Rights::owner()).unwrap();
                let end = ended(database, run);
                let waited = begun.elapsed();
                assert_eq!(
                    (end.state, end.error.as_deref()),
                    (RunState::Killed, Some("the run was killed by latency"))
                );
                waited
            }
            End::Deadline => {
                let deadline_ms = u64::try_from(worked.as_millis()).unwrap();
                let run = database.execute(request.clone().limit("deadline_ms", deadline_ms).unwrap()).unwrap();
                running(database, run);
                let status = ended(database, run);
                let error = status.error.as_deref().unwrap_or_default();
                assert!(error.contains(&format!("{deadline_ms} ms allowed")), "{error}");
                let lived_us = status.finished_us.unwrap() - status.started_us.unwrap();
                // To the moment when its record was made; storing it follows.
                let stored = Instant::now();
                database.run(run).unwrap();
                Duration::from_micros(u64::try_from(lived_us).unwrap())
                    .saturating_sub(Duration::from_millis(deadline_ms))
                    + stored.elapsed()
            }
        }
    };
    let mut waits: Vec<Duration> = (0..tries).map(wait).collect();
    waits.sort();
    Waits(waits)
}

/// Kills `count` runs of one proc at once: the wait until the last has ended.
pub(crate) fn wait_of_many(database: &Database, request: &RunRequest, count: u32) -> Duration {
    let runs: Vec<RunId> = (0..count).map(|_| database.execute(request.clone()).unwrap()).collect();
    runs.iter().for_each(|run| running(database, *run));
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    database.kill(&KillTarget::All, "latency", &Rights::owner()).unwrap();
    runs.iter().for_each(|run| drop(ended(database, *run)));
    begun.elapsed()
}

fn running(database: &Database, run: RunId) {
    let runs = |status: &quern::run::RunStatus| status.instances.iter().any(|i| i.state == RunState::Running);
    let mut seen = 0;
    loop {
        let (next, status) = database.follow(run, seen, Duration::from_secs(60)).unwrap();
        if runs(&status) || status.run.state.is_final() {
            return;
        }
        seen = next;
    }
}

/// Waits for the end of a run.
pub(crate) fn ended(database: &Database, run: RunId) -> quern::storage::RunRecord {
    let mut seen = 0;
    loop {
        let (next, status) = database.follow(run, seen, Duration::from_secs(60)).unwrap();
        if status.run.state.is_final() {
            return status.run;
        }
        seen = next;
    }
}
