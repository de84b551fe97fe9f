//! The tests of operations, gradients and random numbers once more, on CUDA: the
//! fake GPU of `tests/cuda` executes the kernels, also with threads in other orders
//! and under sanitizers.

use quern::base::DType;
use quern::device::Device;
use quern::tensor::{Activation, Adam, Mode, Session, Variable};

use super::support::{Array, Dice, begin_on, executor, processor, settings};
use super::{gradients, operations, random};
use crate::cuda::bench::{Check, Fake};

/// From now on the tests of this process are about the GPU.
fn begin() {
    begin_on(Device::cuda_with(0, 2, 1 << 30).unwrap());
}

#[test]
fn operations_on_cuda_equal_the_reference() {
    Fake::PLAIN.run(|| {
        begin();
        operations::elementwise_operations_equal_the_reference();
        operations::shaped_operations_equal_the_reference();
        operations::windows_equal_the_reference();
        operations::indices_of_every_integer_type_pick_what_the_reference_picks();
        operations::labels_outside_the_classes_make_cross_entropy_nan();
        operations::casts_truncate_and_saturate_between_all_pairs_of_types();
        operations::sources_yield_what_they_say();
        operations::nan_survives_relu_maximum_and_reduce_max();
        operations::exponentials_of_large_numbers_overflow_and_vanish_as_they_should();
    });
}

#[test]
fn gradients_on_cuda_equal_finite_differences() {
    Fake::PLAIN.run(|| {
        begin();
        gradients::gradients_equal_finite_differences();
    });
}

#[test]
fn random_numbers_on_cuda_are_those_of_the_processor() {
    Fake::PLAIN.run(|| {
        begin();
        random::uniforms_are_words_of_philox_by_block_call_and_stream();
        random::permutation_is_the_order_of_keys();
        random::shards_draw_different_numbers_and_seeds_repeat_them();
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let draw = |s: &mut Session| {
                let normals = s.random_normal(dtype, &[10_001], 0.5, 2.0).unwrap();
                let uniforms = s.random_uniform(dtype, &[10_001], -1.0, 3.0).unwrap();
                let order = s.random_permutation(10_001).unwrap();
                [normals, uniforms, order].map(|drawn| s.read(&drawn).unwrap())
            };
            let mut both = [executor(), processor()].map(|e| Session::new(e, settings(Mode::Planned)));
            let [gpu, cpu] = both.each_mut().map(draw);
            assert!(gpu == cpu, "{dtype}: other bits");
        }
    });
}

#[test]
fn kernels_need_no_order_of_threads_and_stay_in_their_memory() {
    let runs = [
        Fake { order: 1, ..Fake::PLAIN },
        Fake { order: 7, ..Fake::PLAIN },
        Fake { check: Check::Addresses, ..Fake::PLAIN },
        Fake { check: Check::Undefined, ..Fake::PLAIN },
    ];
    for fake in runs {
        fake.run(|| {
            begin();
            let losses = train(&mut Session::new(executor(), settings(Mode::Planned)), 6);
            let wanted = train(&mut Session::new(processor(), settings(Mode::Planned)), 6);
            assert_losses(&losses, &wanted);
            random::permutation_is_the_order_of_keys();
        });
    }
}

#[test]
fn training_on_cuda_has_the_losses_of_the_processor() {
    Fake::PLAIN.run(|| {
        begin();
        let mut s = Session::new(executor(), settings(Mode::Planned));
        let losses = train(&mut s, 100);
        assert!(s.stats().replays > 90, "{:?}", s.stats());
        let wanted = train(&mut Session::new(processor(), settings(Mode::Planned)), 100);
        assert!(wanted[99] < wanted[0] / 2.0, "it learns: {wanted:?}");
        assert_losses(&losses, &wanted);
    });
}

#[test]
fn an_index_outside_is_an_error_that_names_it_on_cuda() {
    Fake::PLAIN.run(|| {
        begin();
        for mode in [Mode::Planned, Mode::Unplanned] {
            let mut s = Session::new(executor(), settings(mode));
            let x = Dice::new(1).array(&[4, 2]).tensor(&mut s, DType::F32);
            let indices = Array::new(&[3], vec![1.0, 9.0, 12.0]).tensor(&mut s, DType::I16);
            let picked = s.gather(&x, 0, &indices).unwrap();
            let error = s.read(&picked).unwrap_err().to_string();
            assert_eq!(error, "gather: index 9 at position 1; the axis has 4 elements");
        }
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
