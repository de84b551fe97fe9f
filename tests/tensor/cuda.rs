//! What the processor and CUDA must agree in, and the whole list of `conformance.rs`
//! on fake GPUs whose threads take turns in other orders, or that are checked by sanitizers.

use quern::base::DType;
use quern::tensor::{Activation, Adam, Mode, Session, Variable};

use super::conformance::all_on_fake;
use super::operations;
use super::support::{Array, Dice, executor, processor, settings};
use crate::cuda::bench::{Check, Fake};

pub(super) fn random_numbers_are_those_of_the_processor() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let draw = |s: &mut Session| {
            let normals = s.random_normal(dtype, &[10_001], 0.5, 2.0).unwrap();
            let uniforms = s.random_uniform(dtype, &[10_001], -1.0, 3.0).unwrap();
            let order = s.random_permutation(10_001).unwrap();
            [normals, uniforms, order].map(|drawn| s.read(&drawn).unwrap())
        };
        let mut both = [executor(), processor()].map(|e| Session::new(e, settings(Mode::Planned)));
        let [here, there] = both.each_mut().map(draw);
        assert!(here == there, "{dtype}: other bits");
    }
}

pub(super) fn training_has_the_losses_of_the_processor() {
    let mut s = Session::new(executor(), settings(Mode::Planned));
    let losses = train(&mut s, 100);
    assert!(s.stats().replays > 90, "{:?}", s.stats());
    let wanted = train(&mut Session::new(processor(), settings(Mode::Planned)), 100);
    assert!(wanted[99] < wanted[0] / 2.0, "it learns: {wanted:?}");
    assert_losses(&losses, &wanted);
}

pub(super) fn an_index_outside_is_an_error_that_names_it() {
    for mode in [Mode::Planned, Mode::Unplanned] {
        let mut s = Session::new(executor(), settings(mode));
        let x = Dice::new(1).array(&[4, 2]).tensor(&mut s, DType::F32);
        let indices = Array::new(&[3], vec![1.0, 9.0, 12.0]).tensor(&mut s, DType::I16);
        let picked = s.gather(&x, 0, &indices).unwrap();
        let error = s.read(&picked).unwrap_err().to_string();
        assert_eq!(error, "gather: index 9 at position 1; the axis has 4 elements");
    }
}

#[test]
fn no_operation_needs_threads_in_order() {
    for order in [1, 7] {
        Fake { order, ..Fake::PLAIN }.run(|| {
            all_on_fake();
        });
    }
}

#[test]
fn every_operation_stays_in_its_memory() {
    Fake { check: Check::Addresses, ..Fake::PLAIN }.run(|| {
        all_on_fake();
    });
}

#[test]
fn no_operation_does_what_the_language_leaves_undefined() {
    Fake { check: Check::Undefined, ..Fake::PLAIN }.run(|| {
        all_on_fake();
    });
}

fn assert_losses(losses: &[f64], wanted: &[f64]) {
    for (step, (loss, wanted)) in losses.iter().zip(wanted).enumerate() {
        assert!((loss - wanted).abs() < 1e-3, "step {step}: loss {loss}, on the processor {wanted}");
    }
}

/// The losses of a small network of a convolution, max-pooling and two layers that
/// learns from 64 images, 16 at a time.
fn train(s: &mut Session, steps: u64) -> Vec<f64> {
    let mut dice = Dice::new(4);
    let images = dice.array(&[64, 6, 6, 1]);
    let labels = Array::build(&[64], |i| f64::from(images.data[i[0] * 36..][..36].iter().sum::<f64>() > 0.0));
    let (images, labels) = (images.tensor(s, DType::F32), labels.tensor(s, DType::U8));
    let shapes: [&[usize]; 6] = [&[3, 3, 1, 4], &[4], &[16, 8], &[8], &[8, 2], &[2]];
    let variable = |s: &mut Session, shape: &[usize], width: f64| {
        let start = s.random_normal(DType::F32, shape, 0.0, width).unwrap();
        s.variable(&start).unwrap()
    };
    let weights: Vec<Variable> = shapes.iter().map(|shape| variable(s, shape, 0.3)).collect();
    let moments: Vec<Vec<Variable>> =
        (0..2).map(|_| shapes.iter().map(|shape| variable(s, shape, 0.0)).collect()).collect();
    let all: Vec<&Variable> = weights.iter().collect();
    let mut losses = Vec::new();
    for step in 1..=steps {
        let tape = s.tape(&all).unwrap();
        let order = s.random_permutation(64).unwrap();
        let batch = s.slice(&order, 0, step % 48, 16).unwrap();
        let (x, y) = (s.gather(&images, 0, &batch).unwrap(), s.gather(&labels, 0, &batch).unwrap());
        let w: Vec<_> = all.iter().map(|v| s.value(v).unwrap()).collect();
        let x = s.conv2d(&x, &w[0], Some(&w[1]), &operations::sliding(1, 0)).unwrap();
        let x = s.max_pool2d(&x, 2, 2).unwrap();
        let x = s.reshape(&x, &[16, 16]).unwrap();
        let x = s.linear(&x, &w[2], Some(&w[3]), Activation::Tanh).unwrap();
        let x = s.linear(&x, &w[4], Some(&w[5]), Activation::None).unwrap();
        let loss = s.cross_entropy(&x, &y).unwrap();
        let gradients = s.gradients(&tape, &loss).unwrap();
        s.adam(&Adam {
            variables: &all,
            gradients: &gradients.iter().collect::<Vec<_>>(),
            first: &moments[0].iter().collect::<Vec<_>>(),
            second: &moments[1].iter().collect::<Vec<_>>(),
            step,
            rate: 0.02,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
        })
        .unwrap();
        losses.push(loss);
    }
    losses.iter().map(|loss| s.item(loss).unwrap()).collect()
}
