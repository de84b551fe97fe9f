//! One epoch of the demo's network at batch 100: natively, as a proc, and beside
//! PyTorch and JAX; and programs replayed against executed one operation at a time.

use std::time::Duration;

use quern::base::Result;
use quern::tensor::{Mode, Session, Tensor};

use super::baselines::{self, Baseline};
use super::network::{BATCH, Network, mnist};
use super::rows::Folder;
use super::{best, line, seconds, session};

/// Epochs whose best time counts.
const EPOCHS: usize = 5;

pub(super) fn training() {
    for cores in [1, 2] {
        let native = native_epoch(cores);
        let wasm = wasm_epoch(cores);
        println!("  epoch of 60,000 rows, {cores} thread{}", if cores == 1 { "" } else { "s" });
        line("  native", seconds(native), "");
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

fn native_epoch(cores: usize) -> Duration {
    let mut session = session(cores, Mode::Planned);
    let (images, labels) = mnist(&mut session, "train").unwrap();
    let mut network = Network::new(&mut session).unwrap();
    (0..EPOCHS).map(|_| network.train_epoch(&mut session, (&images, &labels)).unwrap().1).min().unwrap()
}

/// The whole run, reading the table and committing the model included, by its epochs.
fn wasm_epoch(cores: usize) -> Duration {
    let folder = Folder::with_mnist(cores);
    let time = |_| folder.train(EPOCHS as u32).0 / EPOCHS as u32;
    (0..3).map(time).min().unwrap()
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
