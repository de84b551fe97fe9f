//! Tensors are values: nothing changes what a handle or a column can still reach.

use quern::base::DType;
use quern::device::{Buffer, ColumnBuffer};
use quern::tensor::{Adam, Keep, Mode, Session, Sgd, Tensor, Variable};

use super::support::{Array, Dice, assert_close, executor, session};

fn vector(s: &mut Session, values: &[f64]) -> Tensor {
    Array::new(&[values.len()], values.to_vec()).tensor(s, DType::F64)
}

fn data(s: &mut Session, tensor: &Tensor) -> Vec<f64> {
    Array::of(s, tensor).data
}

/// w ← w − g.
fn descend(s: &mut Session, variable: &Variable, gradient: &Tensor) {
    let sgd =
        Sgd { variables: &[variable], gradients: &[gradient], velocities: &[], rate: 1.0, momentum: 0.0, decay: 0.0 };
    s.sgd(&sgd).unwrap();
}

const MODES: [Mode; 2] = [Mode::Unplanned, Mode::Planned];

#[test]
fn handle_to_an_old_value_keeps_it_within_and_across_programs() {
    for mode in MODES {
        for flush_between in [false, true] {
            let mut s = session(mode);
            let start = vector(&mut s, &[1.0, 2.0]);
            let one = vector(&mut s, &[1.0, 1.0]);
            let x = s.variable(&start).unwrap();
            let mut old = Vec::new();
            for _ in 0..4 {
                old.push(s.value(&x).unwrap());
                if flush_between {
                    s.sync().unwrap();
                }
                descend(&mut s, &x, &one);
            }
            let newest = s.value(&x).unwrap();
            assert_eq!(data(&mut s, &newest), [-3.0, -2.0]);
            for (i, value) in old.iter().enumerate() {
                assert_eq!(data(&mut s, value), [1.0 - i as f64, 2.0 - i as f64], "{mode:?}, flush {flush_between}");
            }
        }
    }
}

#[test]
fn operations_see_the_version_at_their_place_wherever_flushes_fall() {
    for mode in MODES {
        for flush_at in 0..4 {
            let mut s = session(mode);
            let start = vector(&mut s, &[10.0]);
            let one = vector(&mut s, &[1.0]);
            let x = s.variable(&start).unwrap();
            let flush = |s: &mut Session, at| {
                if at == flush_at {
                    s.sync().unwrap()
                }
            };
            let before = s.value(&x).unwrap();
            flush(&mut s, 0);
            descend(&mut s, &x, &one);
            flush(&mut s, 1);
            let doubled = s.add(&before, &before).unwrap();
            flush(&mut s, 2);
            let after = s.value(&x).unwrap();
            let both = s.mul(&doubled, &after).unwrap();
            flush(&mut s, 3);
            assert_eq!(data(&mut s, &both), [180.0], "{mode:?}, flush at {flush_at}");
        }
    }
}

#[test]
fn updating_a_variable_by_its_own_value_reads_the_old_one() {
    for mode in MODES {
        let mut s = session(mode);
        let start = vector(&mut s, &[3.0, 4.0]);
        let x = s.variable(&start).unwrap();
        for _ in 0..3 {
            let value = s.value(&x).unwrap();
            descend(&mut s, &x, &value);
            let value = s.value(&x).unwrap();
            let shifted = s.affine(&value, 1.0, 5.0).unwrap();
            s.assign(&x, &shifted).unwrap();
            s.step().unwrap();
        }
        let value = s.value(&x).unwrap();
        assert_eq!(data(&mut s, &value), [5.0, 5.0]);
    }
}

#[test]
fn assigning_one_variable_to_another_swaps_them() {
    for mode in MODES {
        let mut s = session(mode);
        let (one, two) = (vector(&mut s, &[1.0]), vector(&mut s, &[2.0]));
        let (a, b) = (s.variable(&one).unwrap(), s.variable(&two).unwrap());
        let (old_a, old_b) = (s.value(&a).unwrap(), s.value(&b).unwrap());
        s.assign(&a, &old_b).unwrap();
        s.assign(&b, &old_a).unwrap();
        let (new_a, new_b) = (s.value(&a).unwrap(), s.value(&b).unwrap());
        assert_eq!(data(&mut s, &new_a), [2.0]);
        assert_eq!(data(&mut s, &new_b), [1.0]);
    }
}

#[test]
fn reshaped_value_of_a_variable_does_not_follow_it() {
    for mode in MODES {
        let mut s = session(mode);
        let start = vector(&mut s, &[1.0, 2.0]);
        let x = s.variable(&start).unwrap();
        let value = s.value(&x).unwrap();
        let column = s.reshape(&value, &[2, 1]).unwrap();
        drop(value);
        descend(&mut s, &x, &start);
        assert_eq!(data(&mut s, &column), [1.0, 2.0]);
        let now = s.value(&x).unwrap();
        assert_eq!(data(&mut s, &now), [0.0, 0.0]);
    }
}

#[test]
fn training_on_a_column_leaves_it_unchanged() {
    let mut s = session(Mode::Planned);
    let mut column = ColumnBuffer::new(&executor().device().pool, 16).unwrap();
    column.append(&1.5f64.to_le_bytes()).unwrap();
    column.append(&2.5f64.to_le_bytes()).unwrap();
    let snapshot = column.view();
    let loaded = s.from_buffer(&snapshot, 0, DType::F64, &[2]).unwrap();
    let x = s.variable(&loaded).unwrap();
    for _ in 0..4 {
        descend(&mut s, &x, &loaded);
        s.step().unwrap();
    }
    column.append(&[7; 4096]).unwrap();
    let value = s.value(&x).unwrap();
    assert_eq!(data(&mut s, &value), [-4.5, -7.5]);
    assert_eq!(data(&mut s, &loaded), [1.5, 2.5]);
    assert_eq!(snapshot.as_slice(), [1.5f64, 2.5].map(f64::to_le_bytes).concat());
}

#[test]
fn a_view_of_a_column_is_a_prefix_that_growth_does_not_move() {
    let pool = &executor().device().pool;
    let mut column = ColumnBuffer::new(pool, 1000).unwrap();
    column.append(&[1; 100]).unwrap();
    let first = column.view();
    column.append_filled(2, 100).unwrap();
    let second = column.view();
    assert_eq!(first.as_slice().as_ptr(), second.as_slice().as_ptr(), "no copy while there is room");
    column.append(&[3; 5000]).unwrap();
    assert_eq!((first.len(), second.len(), column.len()), (100, 200, 5200));
    assert_eq!(first.as_slice(), [1; 100]);
    assert_eq!(second.as_slice()[100..], [2; 100]);
    assert!(second.slice(150, 51).is_err());
    assert_eq!(first.as_slice().as_ptr() as usize % 64, 0);
}

#[test]
fn part_of_a_column_becomes_a_tensor_without_a_copy() {
    let mut s = session(Mode::Planned);
    let column = Buffer::from_slice(&executor().device().pool, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let rows = s.from_buffer(&column, 2, DType::U8, &[2, 2]).unwrap();
    assert_eq!(s.buffer(&rows).unwrap().as_slice().as_ptr(), column.as_slice()[2..].as_ptr());
    assert_eq!(data(&mut s, &rows), [2.0, 3.0, 4.0, 5.0]);
    let unaligned = s.from_buffer(&column, 1, DType::U16, &[2]).unwrap();
    assert_eq!(data(&mut s, &unaligned), [513.0, 1027.0]);
    assert!(s.from_buffer(&column, 7, DType::U8, &[2]).is_err());
}

const RATE: f64 = 0.1;
const DECAY: f64 = 0.01;
const MOMENTUM: f64 = 0.9;
const BETA: [f64; 2] = [0.8, 0.95];
const EPSILON: f64 = 1e-8;

/// Variables trained by both optimisers with their states, and what they should be:
/// w and v of SGD; w, m and v of Adam.
struct Trained {
    variables: [Variable; 5],
    wanted: [Array; 5],
}

impl Trained {
    fn new(s: &mut Session, start: &Array, dtype: DType) -> Self {
        let zero = Array::new(&start.shape, vec![0.0; start.data.len()]);
        let wanted = [start.clone(), zero.clone(), start.clone(), zero.clone(), zero];
        let variables = wanted.clone().map(|a| {
            let tensor = a.tensor(s, dtype);
            s.variable(&tensor).unwrap()
        });
        Self { variables, wanted }
    }

    /// One step of the formulas, element by element.
    fn follow(&mut self, gradient: &Array, step: i32) {
        let [w, v, aw, am, av] = &mut self.wanted;
        let [b1, b2] = BETA;
        for (i, g) in gradient.data.iter().enumerate() {
            v.data[i] = MOMENTUM * v.data[i] + g + DECAY * w.data[i];
            w.data[i] -= RATE * v.data[i];
            am.data[i] = b1 * am.data[i] + (1.0 - b1) * g;
            av.data[i] = b2 * av.data[i] + (1.0 - b2) * g * g;
            let (m, q) = (am.data[i] / (1.0 - b1.powi(step)), av.data[i] / (1.0 - b2.powi(step)));
            aw.data[i] -= RATE * (m / (q.sqrt() + EPSILON) + DECAY * aw.data[i]);
        }
    }
}

/// One step of both optimisers for all variables.
fn train(s: &mut Session, trained: &[Trained], gradients: &[&Tensor], step: u64) {
    let all = |i: usize| trained.iter().map(|t| &t.variables[i]).collect::<Vec<_>>();
    let (variables, velocities) = (all(0), all(1));
    let sgd =
        Sgd { variables: &variables, gradients, velocities: &velocities, rate: RATE, momentum: MOMENTUM, decay: DECAY };
    s.sgd(&sgd).unwrap();
    let (variables, first, second) = (all(2), all(3), all(4));
    s.adam(&Adam {
        variables: &variables,
        gradients,
        first: &first,
        second: &second,
        step,
        rate: RATE,
        beta1: BETA[0],
        beta2: BETA[1],
        epsilon: EPSILON,
        decay: DECAY,
    })
    .unwrap();
    s.step().unwrap();
}

#[test]
fn optimisers_follow_their_formulas() {
    for (mode, dtype, tolerance) in
        [(Mode::Unplanned, DType::F64, 1e-13), (Mode::Planned, DType::F64, 1e-13), (Mode::Planned, DType::F32, 1e-5)]
    {
        let mut dice = Dice::new(9);
        let mut s = session(mode);
        let shapes: [&[usize]; 2] = [&[3, 5], &[7]];
        let mut trained = shapes.map(|shape| Trained::new(&mut s, &dice.array(shape).rounded(dtype), dtype));
        for step in 1..=4 {
            let gradients = shapes.map(|shape| dice.array(shape).rounded(dtype));
            let tensors = gradients.each_ref().map(|a| a.tensor(&mut s, dtype));
            train(&mut s, &trained, &tensors.each_ref(), step as u64);
            for (trained, gradient) in trained.iter_mut().zip(&gradients) {
                trained.follow(gradient, step);
            }
        }
        for (variable, wanted) in trained.iter().flat_map(|t| t.variables.iter().zip(&t.wanted)) {
            let value = s.value(variable).unwrap();
            assert_close(&Array::of(&mut s, &value), wanted, tolerance, &format!("{dtype}, {mode:?}"));
        }
    }
}

#[test]
fn a_result_and_its_reshape_are_both_readable() {
    for mode in MODES {
        let mut s = session(mode);
        let x = vector(&mut s, &[1.0, 2.0, 3.0, 4.0]);
        let y = s.affine(&x, 2.0, 0.0).unwrap();
        let square = s.reshape(&y, &[2, 2]).unwrap();
        let sums = s.reduce_sum(&square, &[0], Keep::Removed).unwrap();
        assert_eq!(data(&mut s, &square), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(data(&mut s, &y), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(data(&mut s, &sums), [8.0, 12.0]);
        let column = s.reshape(&x, &[4, 1]).unwrap();
        assert_eq!(data(&mut s, &column), [1.0, 2.0, 3.0, 4.0]);
    }
}

#[test]
fn sessions_and_what_they_hand_out_may_move_to_another_thread() {
    fn send<T: Send>() {}
    send::<Session>();
    send::<Tensor>();
    send::<Variable>();
    send::<quern::tensor::Tape>();
}

#[test]
fn extents_beside_a_zero_cost_nothing() {
    let begun = std::time::Instant::now();
    for mode in [Mode::Planned, Mode::Unplanned] {
        let mut s = session(mode);
        let wide = s.full(DType::F32, &[1 << 32, 0], 1.0).unwrap();
        let picked = s.range(DType::I64, 0.0, 2, 1.0).unwrap();
        let made = [
            s.softmax(&wide, 1).unwrap(),
            s.log_softmax(&wide, 1).unwrap(),
            s.transpose(&wide, &[1, 0]).unwrap(),
            s.concat(1, &[&wide, &wide]).unwrap(),
            s.exp(&wide).unwrap(),
            s.gather(&wide, 0, &picked).unwrap(),
        ];
        for value in &made {
            assert_eq!(s.read(value).unwrap(), [0u8; 0]);
        }
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}
