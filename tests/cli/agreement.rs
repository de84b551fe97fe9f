//! The main job on a GPU, the fake one and this machine's, beside the same on the
//! processor, with real digits: losses, accuracy and predictions agree.

use std::io::Read;

use serde_json::Value;

use super::{Answer, Terminal};
use crate::cuda::bench::Fake;
use crate::cuda::real;
use crate::support::components::component;
use crate::support::{repeats, tests_folder};

/// Which GPU is compared with the processor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gpu {
    Fake,
    Real,
}

/// Two folders, one on each device, and the images of both.
struct Pair {
    kind: Gpu,
    gpu: Terminal,
    cpu: Terminal,
    files: tempfile::TempDir,
}

impl Pair {
    /// With the first images of both parts of MNIST.
    fn new(kind: Gpu, training: u64, test: u64) -> Self {
        let files = tempfile::tempdir().unwrap();
        for (part, rows) in [("train", training), ("t10k", test)] {
            for (kind, header, row) in [("images-idx3", 16, 784), ("labels-idx1", 8, 1)] {
                let name = format!("{part}-{kind}-ubyte");
                let packed = std::fs::File::open(tests_folder().join(format!("data/mnist/{name}.gz"))).unwrap();
                let mut bytes = vec![0; header + usize::try_from(rows).unwrap() * row];
                flate2::read::GzDecoder::new(packed).read_exact(&mut bytes).unwrap();
                bytes[4..8].copy_from_slice(&u32::try_from(rows).unwrap().to_be_bytes());
                std::fs::write(files.path().join(name), bytes).unwrap();
            }
        }
        Self { kind, gpu: Terminal::new(), cpu: Terminal::new(), files }
    }

    /// What `quern demo mnist --json` answers on each, the GPU first.
    fn demo(&self) -> [Value; 2] {
        let files = self.files.path().to_str().unwrap();
        [&self.gpu, &self.cpu].map(|terminal| {
            let component = terminal.file("mnist.wasm", component("udfs/mnist"));
            let arguments = ["--json", "demo", "mnist", "--component", &component, "--files", files];
            serde_json::from_str(&self.ok(terminal, &arguments)).unwrap()
        })
    }

    /// Values of a metric of a run on each, in order.
    fn metric(&self, run: u64, name: &str) -> [Vec<f64>; 2] {
        let query = format!("select value from quern.metrics where run = {run} and name = '{name}' order by step");
        [&self.gpu, &self.cpu].map(|terminal| {
            let rows: Vec<Value> = serde_json::from_str(&self.ok(terminal, &["--json", "sql", &query])).unwrap();
            rows.iter().map(|row| row["value"].as_f64().unwrap()).collect()
        })
    }

    /// A command on the device of this folder, or on the other with `device`.
    fn ok(&self, terminal: &Terminal, arguments: &[&str]) -> String {
        let device = if std::ptr::eq(terminal, &self.gpu) { "cuda:0" } else { "cpu" };
        self.on(device, terminal, arguments)
    }

    fn on(&self, device: &str, terminal: &Terminal, arguments: &[&str]) -> String {
        let mut command = terminal.command(&[&["--device", device], arguments].concat());
        if self.kind == Gpu::Fake {
            Fake::PLAIN.prepare(&mut command);
        }
        let answer = Answer::of(command.output().unwrap());
        assert_eq!(answer.code, 0, "quern {arguments:?}: {answer:?}");
        answer.out
    }
}

/// The greatest difference of two series of one length.
fn apart([a, b]: &[Vec<f64>; 2]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Five epochs on each, then one of the models applied on both.
fn demos_agree(pair: &Pair) {
    let stories = pair.demo();
    for (story, device) in stories.iter().zip(["cuda:0", "cpu"]) {
        for run in story["runs"].as_array().unwrap() {
            let instances = run["instances"].as_array().unwrap();
            assert!(instances.iter().all(|instance| instance["receipt"]["device"] == device), "{instances:?}");
        }
    }
    let [gpu, cpu] = pair.metric(1, "epoch_loss");
    assert_eq!(gpu.len(), 5);
    let part = gpu.iter().zip(&cpu).map(|(gpu, cpu)| (gpu / cpu - 1.0).abs()).fold(0.0, f64::max);
    let [accuracy, expected] = stories.map(|story| 100.0 * story["accuracy"].as_f64().unwrap());
    println!("5 epochs: losses {part:.2e} apart, accuracy {accuracy:.2} and {expected:.2} %");
    assert!(part < 0.02, "mean losses of epochs: {gpu:?} and {cpu:?}");
    assert!((accuracy - expected).abs() <= 0.5, "accuracy {accuracy} % and {expected} %");

    // The model of one folder, applied on both devices.
    let infer = ["proc", "execute", "infer", "--input", "mnist_inference_input", "--input", "mnist_train_output"];
    for (device, output) in [("cpu", "on_cpu"), ("cuda:0", "on_gpu")] {
        pair.on(device, &pair.cpu, &[&infer[..], &["--output", output]].concat());
    }
    let same =
        "select avg(case when g.predict = c.predict then 100.0 else 0.0 end) from on_gpu g join on_cpu c using (id)";
    let same = pair.cpu.value(same).as_f64().unwrap();
    println!("one model: {same} % of the predictions are the same");
    assert!(same >= 99.9, "{same} % of the predictions are the same");
}

/// A hundred steps on each.
fn losses_agree(pair: &Pair) {
    pair.demo();
    // One step per epoch, whose loss is told by itself.
    let train = ["proc", "execute", "train", "--input", "mnist_training_input", "--output", "mnist_train_output"];
    let steps = ["--param", "epochs=100", "--param", "batch=100", "--param", "checkpoint_every=0", "--seed", "4"];
    for terminal in [&pair.gpu, &pair.cpu] {
        pair.ok(terminal, &[&train[..], &steps].concat());
    }
    let losses = pair.metric(3, "epoch_loss");
    assert_eq!(losses[0].len(), 100);
    println!("100 steps: losses {:.1e} apart, from {:.3} to {:.3}", apart(&losses), losses[0][0], losses[0][99]);
    assert!(apart(&losses) < 1e-3, "losses are {} apart: {losses:?}", apart(&losses));
}

#[test]
fn the_demo_on_the_fake_gpu_agrees_with_the_demo_on_the_processor() {
    demos_agree(&Pair::new(Gpu::Fake, repeats(1000, 6000), repeats(2000, 10_000)));
}

#[test]
fn the_first_100_losses_on_the_fake_gpu_are_those_on_the_processor() {
    losses_agree(&Pair::new(Gpu::Fake, 100, 100));
}

#[test]
fn the_whole_demo_on_a_real_gpu_agrees_with_the_demo_on_the_processor() {
    if real::is_there() {
        demos_agree(&Pair::new(Gpu::Real, 60_000, 10_000));
    }
}

#[test]
fn the_first_100_losses_on_a_real_gpu_are_those_on_the_processor() {
    if real::is_there() {
        losses_agree(&Pair::new(Gpu::Real, 100, 100));
    }
}
