//! A training through WebAssembly is the same computation as natively.

use arrow::array::AsArray;
use quern::base::{DType, Limits};
use quern::device::{KillSwitch, Quota};
use quern::tensor::{Activation, Adam, Mode, Session, Settings, Teller, Tensor, Variable};
use safetensors::SafeTensors;

use crate::support::components::component;
use crate::support::instance::{Trial, executor};

/// What the guest's proc `learn` does, on a session of the host.
fn learn_natively(seed: u64, steps: u64) -> (f64, Vec<Vec<u8>>) {
    let limits = Limits::default();
    let quota = Quota::new(limits.device_bytes);
    let settings = Settings {
        quota,
        kill: KillSwitch::new(),
        limits,
        seed,
        stream: 0,
        mode: Mode::Planned,
        teller: Teller::default(),
    };
    let mut s = Session::new(executor(), settings);
    let x = s.random_normal(DType::F32, &[64, 8], 0.0, 1.0).unwrap();
    let part = s.slice(&x, 1, 0, 4).unwrap();
    let y = s.arg_max(&part, -1).unwrap();
    let start = [
        s.random_normal(DType::F32, &[8, 16], 0.0, 0.5).unwrap(),
        s.full(DType::F32, &[16], 0.0).unwrap(),
        s.random_normal(DType::F32, &[16, 4], 0.0, 0.5).unwrap(),
        s.full(DType::F32, &[4], 0.0).unwrap(),
    ];
    let weights: Vec<Variable> = start.iter().map(|t| s.variable(t).unwrap()).collect();
    let mut zeros = || -> Vec<Variable> {
        let zero = start.iter().map(|t| s.affine(t, 0.0, 0.0).unwrap()).collect::<Vec<_>>();
        zero.iter().map(|t| s.variable(t).unwrap()).collect()
    };
    let (first, second) = (zeros(), zeros());
    let mut last = f64::NAN;
    for step in 1..=steps {
        let variables: Vec<&Variable> = weights.iter().collect();
        let tape = s.tape(&variables).unwrap();
        let values: Vec<Tensor> = weights.iter().map(|w| s.value(w).unwrap()).collect();
        let hidden = s.linear(&x, &values[0], Some(&values[1]), Activation::Relu).unwrap();
        let logits = s.linear(&hidden, &values[2], Some(&values[3]), Activation::None).unwrap();
        let loss = s.cross_entropy(&logits, &y).unwrap();
        let gradients = s.gradients(&tape, &loss).unwrap();
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        let (first, second): (Vec<&Variable>, Vec<&Variable>) = (first.iter().collect(), second.iter().collect());
        s.adam(&Adam {
            variables: &variables,
            gradients: &gradients,
            first: &first,
            second: &second,
            step,
            rate: 0.05,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
        })
        .unwrap();
        if step % 10 == 0 {
            last = s.item(&loss).unwrap();
        }
    }
    let read = |w: &Variable| {
        let value = s.value(w).unwrap();
        s.read(&value).unwrap()
    };
    (last, weights.iter().map(read).collect())
}

#[test]
fn a_training_through_wasm_equals_the_native_one_bit_for_bit() {
    let trial = Trial::new(component("tests/proc/guest"), "learn").param("steps", "30");
    let outcome = trial.run();
    outcome.result.unwrap();
    let (loss, weights) = learn_natively(trial.seed, 30);
    let metrics = trial.journal.metrics.lock().unwrap();
    assert_eq!(metrics.iter().map(|(_, step, _)| *step).collect::<Vec<_>>(), [10, 20, 30]);
    assert_eq!(metrics[2].2.to_bits(), loss.to_bits());

    let mut outputs = outcome.outputs;
    let batches = outputs.remove(0).1.into_batches().unwrap();
    let file = batches[0].column_by_name("model").unwrap().as_binary::<i64>().value(0).to_vec();
    let model = SafeTensors::deserialize(&file).unwrap();
    for (name, expected) in ["w1", "b1", "w2", "b2"].iter().zip(&weights) {
        assert_eq!(model.tensor(name).unwrap().data(), expected, "{name}");
    }
    assert!(loss < 1.0, "it has learnt nothing: {loss}");
}

#[test]
fn the_receipt_tells_what_was_used() {
    let outcome = Trial::new(component("tests/proc/guest"), "learn").param("steps", "30").run();
    outcome.result.unwrap();
    let receipt = outcome.receipt;
    assert_eq!((receipt.device.as_str(), receipt.rows_in, receipt.rows_out), ("cpu", 0, 1));
    assert!(receipt.wall_ms >= receipt.guest_ms && receipt.guest_ms > 0.0, "{receipt:?}");
    assert!(receipt.wall_ms >= receipt.device_ms && receipt.device_ms > 0.0, "{receipt:?}");
    assert!((1 << 16..16 << 20).contains(&receipt.peak_guest_bytes), "{receipt:?}");
    assert!(receipt.peak_device_bytes > 0 && receipt.replays > 10, "{receipt:?}");
    // Three losses, the tensors of one model.
    assert_eq!(receipt.moved.reads_bytes, 3 * 8);
    assert_eq!(receipt.moved.outputs_bytes, 4 * (8 * 16 + 16 + 16 * 4 + 4));
    assert_eq!((receipt.moved.inputs_bytes, receipt.moved.parameters_bytes), (0, 0));
    assert!(receipt.host_calls > 30 * 10, "{receipt:?}");
}
