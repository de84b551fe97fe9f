//! Rows in, rows out: ingest of MNIST, a run of the training proc, inference
//! with its commit, over a folder as users have it.

use std::time::{Duration, Instant};

use quern::database::{Database, ImportMode, ImportRequest, Options};
use quern::proc::{ComponentRequest, Receipt};
use quern::run::RunRequest;
use quern::sql::Caller;
use quern::storage::RunState;

use super::support::components::component;
use super::{line, seconds};

/// A temporary folder, open.
pub(super) struct Folder {
    pub(super) database: Database,
    _files: tempfile::TempDir,
}

impl Folder {
    /// An empty one whose device has `cores` threads.
    pub(super) fn new(cores: usize) -> Self {
        let files = tempfile::tempdir().unwrap();
        let database = Database::open(files.path(), &Options { cores: Some(cores), ..Options::default() }).unwrap();
        Self { database, _files: files }
    }

    /// One with the tables and procs of the demo.
    pub(super) fn with_mnist(cores: usize) -> Self {
        let folder = Self::new(cores);
        folder.import("train", "training");
        folder.import("t10k", "inference");
        folder.create("mnist", "udfs/mnist");
        folder
    }

    /// Reads images and labels of one part of MNIST into a table.
    pub(super) fn import(&self, part: &str, table: &str) -> Duration {
        let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist");
        let import = ImportRequest {
            files: ["images-idx3", "labels-idx1"].map(|kind| data.join(format!("{part}-{kind}-ubyte.gz"))).to_vec(),
            table: table.to_owned(),
            mode: ImportMode::Replace,
            ids: true,
            one_hot_classes: Some(10),
            ..ImportRequest::default()
        };
        let started = Instant::now();
        self.database.import(&import, &Caller::default(), &mut |_| Ok(())).unwrap();
        started.elapsed()
    }

    /// Builds the crate in `folder` of the repository and registers its component.
    pub(super) fn create(&self, name: &str, folder: &str) -> &'static [u8] {
        let bytes = component(folder);
        self.database.create(&ComponentRequest::new(name), bytes, &quern::catalog::Rights::owner()).unwrap();
        bytes
    }

    /// Executes a run to its end.
    pub(super) fn execute(&self, request: RunRequest) -> Spent {
        let started = Instant::now();
        let run = self.database.execute(request).unwrap();
        let mut seen = 0;
        loop {
            let (next, status) = self.database.follow(run, seen, Duration::from_secs(60)).unwrap();
            seen = next;
            match status.run.state {
                RunState::Queued | RunState::Running => {}
                RunState::Complete => {
                    let total = started.elapsed();
                    let receipt: Receipt = serde_json::from_str(&status.instances[0].receipt).unwrap();
                    let milliseconds = |ms: f64| Duration::from_secs_f64(ms / 1e3);
                    return Spent {
                        total,
                        wall: milliseconds(receipt.wall_ms),
                        start: milliseconds(receipt.start_ms),
                        guest: milliseconds(receipt.guest_ms),
                    };
                }
                ended => panic!("run {run} is {ended}: {:?}", status.run.error),
            }
        }
    }

    /// Trains on the table `training`, with a checkpoint each epoch.
    pub(super) fn train(&self, epochs: u32) -> Spent {
        self.execute(training(epochs))
    }

    /// Trains and keeps nothing but the model.
    pub(super) fn train_only(&self, epochs: u32) -> Spent {
        self.execute(training(epochs).param("checkpoint_every", "0"))
    }
}

fn training(epochs: u32) -> RunRequest {
    let request = RunRequest::new("train").input("training").output("models").param("epochs", epochs.to_string());
    RunRequest { seed: Some(1), ..request }
}

/// The time of a run.
pub(super) struct Spent {
    /// From the request to the durable end.
    pub(super) total: Duration,
    /// The first instance's life.
    pub(super) wall: Duration,
    /// Making its sandbox.
    pub(super) start: Duration,
    /// Inside its guest.
    pub(super) guest: Duration,
}

pub(super) fn rows() {
    let folder = Folder::with_mnist(2);
    let ingest = (0..5).map(|_| folder.import("train", "training")).min().unwrap();
    line("ingest of 60,000 images from IDX", seconds(ingest), &per_second(60_000, ingest));

    let training = folder.train(5).total;
    line("training, 5 epochs, run and commit", seconds(training), "");
    let infer = || folder.execute(RunRequest::new("infer").input("inference").input("models").output("predictions"));
    let cold = infer().total;
    line("inference of 10,000, first run and commit", seconds(cold), &per_second(10_000, cold));
    let warm = (0..9).map(|_| infer().total).min().unwrap();
    line("inference of 10,000, later runs", seconds(warm), &per_second(10_000, warm));
}

fn per_second(rows: u32, time: Duration) -> String {
    format!("{:.0} rows/s", f64::from(rows) / time.as_secs_f64())
}
