//! One epoch of the demo's network at batch 100: natively, as a proc, and beside
//! PyTorch and JAX; and programs replayed against executed one operation at a time.

use std::time::{Duration, Instant};

use quern::base::Result;
use quern::tensor::{Mode, Session, Tensor};

use super::baselines::{self, Baseline};
use super::rows::Folder;
use super::support::network::{BATCH, Network, mnist};
use super::{best, line, seconds, session};

/// Epochs of a training.
const EPOCHS: u32 = 5;

/// Trainings of each kind, taking turns; the best one counts.
const TRIES: usize = 8;

pub(super) fn training() {
    for cores in [1, 2] {
        let folder = Folder::with_mnist(cores);
        let (mut native, mut accuracy, mut wasm) = (Duration::MAX, 0.0, Duration::MAX);
        for _ in 0..TRIES {
            let epoch;
            (epoch, accuracy) = native_epoch(cores);
            native = native.min(epoch);
            wasm = wasm.min(wasm_epoch(&folder));
        }
        println!("  epoch of 60,000 rows, {cores} thread{}", if cores == 1 { "" } else { "s" });
        line("  native", seconds(native), &format!("accuracy {:.2} %", accuracy * 100.0));
        line("  proc in WebAssembly", seconds(wasm), &ratio("native", wasm, native));
        for (name, found) in baselines::run(cores) {
            match found {
                Some(Baseline { epoch, accuracy, version, .. }) => line(
                    &format!("  {name} {version}"),
                    seconds(epoch),
                    &format!("accuracy {:.2} %; {}", accuracy * 100.0, ratio(name, wasm, epoch)),
                ),
                None => line(&format!("  {name}"), "–", "not installed (QUERN_BASELINES names a Python that has it)"),
            }
        }
    }
}

fn ratio(name: &str, ours: Duration, theirs: Duration) -> String {
    format!("proc ÷ {name} = {:.2}", ours.as_secs_f64() / theirs.as_secs_f64())
}

/// Training natively: the mean epoch of a whole training, and the accuracy after it.
fn native_epoch(cores: usize) -> (Duration, f64) {
    let mut session = session(cores, Mode::Planned);
    let (images, labels) = mnist(&mut session, "train").unwrap();
    let started = Instant::now();
    let mut network = Network::new(&mut session).unwrap();
    for _ in 0..EPOCHS {
        network.train_epoch(&mut session, (&images, &labels)).unwrap();
    }
    let epoch = started.elapsed() / EPOCHS;
    let (images, labels) = mnist(&mut session, "t10k").unwrap();
    (epoch, network.accuracy(&mut session, (&images, &labels)).unwrap())
}

/// Training by the proc: the mean epoch of an instance's life, from making the
/// sandbox to the model's row. No checkpoints: the native program keeps none.
fn wasm_epoch(folder: &Folder) -> Duration {
    folder.train_only(EPOCHS).wall / EPOCHS
}

pub(super) fn replay() {
    let time = |mode| {
        let mut session = session(1, mode);
        let (images, labels) = mnist(&mut session, "train").unwrap();
        let mut network = Network::new(&mut session).unwrap();
        let mut epoch = |steps| steps_of(&mut session, &mut network, (&images, &labels), steps).unwrap();
        epoch(10);
        best(5, || epoch(100)) / 100
    };
    let (planned, unplanned) = (time(Mode::Planned), time(Mode::Unplanned));
    let gain = unplanned.as_secs_f64() / planned.as_secs_f64();
    line("step replayed from its plan, 1 thread", seconds(planned), "");
    line("step, one operation at a time", seconds(unplanned), &format!("{gain:.2} × a replayed one"));
}

fn steps_of(session: &mut Session, network: &mut Network, data: (&Tensor, &Tensor), steps: usize) -> Result<()> {
    let order = session.random_permutation(steps * BATCH)?;
    for step in 0..steps {
        let indices = session.slice(&order, 0, (step * BATCH) as u64, BATCH as u64)?;
        network.train_step(session, data, &indices)?;
    }
    session.sync()
}
