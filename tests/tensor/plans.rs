//! Planned execution against the oracle, and what is part of a program's identity.

use quern::base::DType;
use quern::device::Device;
use quern::tensor::{Activation, Adam, Executor, Keep, Mode, Session, Settings, Sgd, Tensor, Transposed, Variable};

use super::support::{Array, Dice, executor, settings};

/// A value a random program may use.
#[derive(Clone)]
struct Made {
    tensor: Tensor,
    /// Positions of dropped values stay, so that dice fall the same.
    alive: bool,
}

const WIDE: [usize; 2] = [40, 60];

/// Records one turn of a random program. `turn` changes parameters, never structure.
fn record(s: &mut Session, dice: &mut Dice, turn: u64, variables: &[Variable], inputs: &[Tensor]) -> Vec<Tensor> {
    let mut values: Vec<Made> = Vec::new();
    let made = |tensor| Made { tensor, alive: true };
    values.extend(variables.iter().map(|v| made(s.value(v).unwrap())));
    values.extend(inputs.iter().cloned().map(made));
    for _ in 0..12 + dice.below(20) {
        let alive: Vec<usize> = (0..values.len()).filter(|i| values[*i].alive).collect();
        let any = |dice: &mut Dice| values[alive[dice.below(alive.len())]].tensor.clone();
        let (a, b) = (any(dice), any(dice));
        let result = step(s, dice, turn, (&a, &b), variables);
        if let Some(tensor) = result {
            values.push(made(tensor));
        }
        if dice.below(3) == 0 && alive.len() > 6 {
            values[alive[dice.below(alive.len())]].alive = false;
        }
    }
    values.into_iter().filter(|v| v.alive).map(|v| v.tensor).collect()
}

/// One random operation; `None` when the dice chose one that does not fit.
fn step(
    s: &mut Session,
    dice: &mut Dice,
    turn: u64,
    (a, b): (&Tensor, &Tensor),
    variables: &[Variable],
) -> Option<Tensor> {
    let scalar = turn as f64 * 0.25 + 0.5;
    match dice.below(17) {
        0 => s.tanh(a).ok(),
        1 => s.affine(a, 0.5, scalar).ok(),
        2 => s.add(a, b).ok(),
        3 => s.mul(a, b).ok(),
        4 => s.relu(a).ok(),
        5 => {
            let less = s.less(a, b).ok()?;
            s.where_(&less, a, b).ok()
        }
        6 => s.matmul(a, b, Transposed { a: false, b: a.shape() == b.shape() }).ok(),
        7 if a.shape().len() == 2 => s.transpose(a, &[1, 0]).ok(),
        8 => s.reduce_mean(a, &[-1], Keep::Kept).ok(),
        9 => s.softmax(a, 0).ok(),
        10 => s.reshape(a, &[a.elements()]).ok(),
        11 if a.shape().first().is_some_and(|n| *n > 8) => s.slice(a, 0, turn % 4, 5).ok(),
        12 => s.random_normal(a.dtype(), &[60], 0.0, scalar).ok(),
        13 => s.full(a.dtype(), &[], scalar).ok(),
        14 => {
            let variable = &variables[dice.below(variables.len())];
            let value = s.value(variable).unwrap();
            let tame = s.tanh(&value).unwrap();
            let sgd = Sgd {
                variables: &[variable],
                gradients: &[&tame],
                velocities: &[],
                rate: scalar,
                momentum: 0.0,
                decay: 0.0,
            };
            s.sgd(&sgd).unwrap();
            Some(value)
        }
        15 => {
            let variable = &variables[dice.below(variables.len())];
            (a.shape() == variable.shape()).then(|| s.assign(variable, a).unwrap());
            s.value(variable).ok()
        }
        _ => s.concat(0, &[a, b]).ok(),
    }
}

/// Bytes of everything a random program leaves, over several turns.
fn outcome(mode: Mode, seed: u64) -> (Vec<Vec<u8>>, quern::tensor::Stats) {
    let mut s = Session::new(executor(), settings(mode));
    let mut dice = Dice::new(seed);
    let dtype = if seed.is_multiple_of(2) { DType::F64 } else { DType::F32 };
    let inputs: Vec<Tensor> =
        [&WIDE[..], &[60, 40], &[60], &[40, 1]].map(|shape| dice.array(shape).tensor(&mut s, dtype)).to_vec();
    let variables: Vec<Variable> = [&inputs[0], &inputs[2]].map(|x| s.variable(x).unwrap()).to_vec();
    s.step().unwrap();
    let mut bytes = Vec::new();
    for turn in 0..4 {
        let mut same = dice.clone();
        let results = record(&mut s, &mut same, turn, &variables, &inputs);
        s.step().unwrap();
        bytes.extend(results.iter().map(|r| s.read(r).unwrap()));
        let values = variables.iter().map(|v| s.value(v).unwrap()).collect::<Vec<_>>();
        bytes.extend(values.iter().map(|v| s.read(v).unwrap()));
    }
    (bytes, s.stats())
}

#[test]
fn planned_and_replayed_execution_equal_the_oracle_to_the_bit() {
    let programs = crate::support::repeats(300, 100_000);
    let mut replays = 0;
    for seed in 0..programs {
        let (wanted, _) = outcome(Mode::Unplanned, seed);
        let (got, stats) = outcome(Mode::Planned, seed);
        assert_eq!(wanted.len(), got.len());
        for (i, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            assert!(wanted == got, "program {seed}: result {i} differs");
        }
        replays += stats.replays;
    }
    assert!(replays > 2 * programs, "{replays} replays of {programs} programs executed 4 times");
}

#[test]
fn results_have_the_same_bits_with_any_number_of_threads() {
    let mut results = Vec::new();
    for cores in [1, 2, 3] {
        let executor = Executor::new(Device::cpu(cores, 1 << 30));
        let mut s = Session::new(&executor, settings(Mode::Planned));
        let mut network = crate::support::network::Network::new(&mut s).unwrap();
        let images = s.range(DType::F32, 0.0, 300 * 784, 0.37).unwrap();
        let images = s.cast(&images, DType::I64).unwrap();
        let byte = s.affine(&images, 1.0, 0.0).unwrap();
        let images = s.cast(&byte, DType::U8).unwrap();
        let images = s.reshape(&images, &[300, 28, 28]).unwrap();
        let labels = s.full(DType::U8, &[300], 3.0).unwrap();
        let (loss, _) = network.train_epoch(&mut s, (&images, &labels)).unwrap();
        let logits = network.logits(&mut s, &images).unwrap();
        results.push((loss, s.read(&logits).unwrap()));
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

/// What programs of the pairs below are made of.
struct Given {
    x: Tensor,
    y: Tensor,
    cube: Tensor,
    variables: [Variable; 4],
}

type Recorded = fn(&mut Session, &Given) -> Vec<Tensor>;

/// Two programs, and in which they differ.
type Pair = (&'static str, Recorded, Recorded);

fn one(result: quern::base::Result<Tensor>) -> Vec<Tensor> {
    vec![result.unwrap()]
}

fn sgd(s: &mut Session, given: &Given, rate: f64, velocity: bool) -> Vec<Tensor> {
    let [a, b, ..] = &given.variables;
    let velocities: &[&Variable] = if velocity { &[b] } else { &[] };
    s.sgd(&Sgd { variables: &[a], gradients: &[&given.x], velocities, rate, momentum: 0.5, decay: 0.0 }).unwrap();
    Vec::new()
}

fn adam(s: &mut Session, given: &Given, step: u64, rate: f64) -> Vec<Tensor> {
    let [a, b, c, _] = &given.variables;
    let (variables, gradients, first, second) = (&[a][..], &[&given.x][..], &[b][..], &[c][..]);
    s.adam(&Adam {
        variables,
        gradients,
        first,
        second,
        step,
        rate,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        decay: 0.0,
    })
    .unwrap();
    Vec::new()
}

const DIFFERENT: &[Pair] = &[
    ("axis", |s, g| one(s.softmax(&g.x, 0)), |s, g| one(s.softmax(&g.x, 1))),
    ("axis of a slice", |s, g| one(s.slice(&g.cube, 0, 0, 4)), |s, g| one(s.slice(&g.cube, 1, 0, 4))),
    (
        "transpose",
        |s, g| one(s.matmul(&g.x, &g.y, Transposed { a: true, b: false })),
        |s, g| one(s.matmul(&g.x, &g.y, Transposed { a: false, b: true })),
    ),
    (
        "operand order",
        |s, g| {
            let d = s.sub(&g.x, &g.y).unwrap();
            one(s.mul(&d, &g.x))
        },
        |s, g| {
            let d = s.sub(&g.y, &g.x).unwrap();
            one(s.mul(&d, &g.x))
        },
    ),
    ("element type", |s, _| one(s.full(DType::F32, &[4], 1.0)), |s, _| one(s.full(DType::I32, &[4], 1.0))),
    ("shape", |s, _| one(s.full(DType::F32, &[4], 1.0)), |s, _| one(s.full(DType::F32, &[4, 1], 1.0))),
    ("cast", |s, g| one(s.cast(&g.x, DType::I32)), |s, g| one(s.cast(&g.x, DType::U32))),
    ("aliasing of slots", |s, g| one(s.mul(&g.x, &g.x)), |s, g| one(s.mul(&g.x, &g.y))),
    (
        "aliasing of variables",
        |s, g| {
            let v = s.value(&g.variables[0]).unwrap();
            one(s.mul(&v, &v))
        },
        |s, g| {
            let (v, w) = (s.value(&g.variables[0]).unwrap(), s.value(&g.variables[1]).unwrap());
            one(s.mul(&v, &w))
        },
    ),
    (
        "variable or stored value",
        |s, g| {
            let v = s.value(&g.variables[0]).unwrap();
            one(s.exp(&v))
        },
        |s, g| one(s.exp(&g.x)),
    ),
    (
        "live outputs",
        |s, g| {
            let e = s.exp(&g.x).unwrap();
            one(s.log(&e))
        },
        |s, g| {
            let e = s.exp(&g.x).unwrap();
            vec![s.log(&e).unwrap(), e]
        },
    ),
    (
        "held old version",
        |s, g| sgd(s, g, 0.1, false),
        |s, g| {
            let old = s.value(&g.variables[0]).unwrap();
            sgd(s, g, 0.1, false);
            vec![old]
        },
    ),
    (
        "keep flag",
        |s, g| one(s.reduce_sum(&g.cube, &[0], Keep::Kept)),
        |s, g| one(s.reduce_sum(&g.cube, &[0], Keep::Removed)),
    ),
    (
        "reduced axis",
        |s, g| one(s.reduce_sum(&g.x, &[0], Keep::Removed)),
        |s, g| one(s.reduce_sum(&g.x, &[1], Keep::Removed)),
    ),
    (
        "reduction",
        |s, g| one(s.reduce_sum(&g.x, &[0], Keep::Removed)),
        |s, g| one(s.reduce_max(&g.x, &[0], Keep::Removed)),
    ),
    ("permutation", |s, g| one(s.transpose(&g.cube, &[1, 2, 0])), |s, g| one(s.transpose(&g.cube, &[2, 0, 1]))),
    (
        "activation",
        |s, g| one(s.linear(&g.x, &g.y, None, Activation::Relu)),
        |s, g| one(s.linear(&g.x, &g.y, None, Activation::Tanh)),
    ),
    ("velocities", |s, g| sgd(s, g, 0.1, false), |s, g| sgd(s, g, 0.1, true)),
    (
        "distribution",
        |s, _| one(s.random_normal(DType::F32, &[4], 0.0, 1.0)),
        |s, _| one(s.random_uniform(DType::F32, &[4], 0.0, 1.0)),
    ),
];

const SAME: &[Pair] = &[
    ("learning rate", |s, g| sgd(s, g, 0.1, true), |s, g| sgd(s, g, 0.2, true)),
    ("step of Adam", |s, g| adam(s, g, 1, 0.1), |s, g| adam(s, g, 2, 0.1)),
    ("slice offset", |s, g| one(s.slice(&g.x, 0, 0, 2)), |s, g| one(s.slice(&g.x, 0, 2, 2))),
    ("scalars", |s, g| one(s.affine(&g.x, 1.0, 2.0)), |s, g| one(s.affine(&g.x, 3.0, 4.0))),
    ("value of a constant", |s, _| one(s.full(DType::F32, &[4], 1.0)), |s, _| one(s.full(DType::F32, &[4], 2.0))),
    ("random counter", |s, _| one(s.random_permutation(9)), |s, _| one(s.random_permutation(9))),
    ("memory of a slot", |s, g| one(s.exp(&g.x)), |s, g| one(s.exp(&g.y))),
    (
        "variable in a slot",
        |s, g| {
            let v = s.value(&g.variables[0]).unwrap();
            one(s.exp(&v))
        },
        |s, g| {
            let v = s.value(&g.variables[1]).unwrap();
            one(s.exp(&v))
        },
    ),
    (
        "dead operations",
        |s, g| one(s.exp(&g.x)),
        |s, g| {
            drop(s.log(&g.y).unwrap());
            one(s.exp(&g.x))
        },
    ),
];

/// Executes the first program twice and the second once; whether that was a replay.
fn shares_a_plan(first: Recorded, second: Recorded) -> bool {
    let executor = Executor::new(Device::cpu(1, 1 << 30));
    let given = |s: &mut Session| {
        let mut dice = Dice::new(4);
        let x = dice.array(&[4, 4]).tensor(s, DType::F32);
        let y = dice.array(&[4, 4]).tensor(s, DType::F32);
        let cube = dice.array(&[4, 4, 4]).tensor(s, DType::F32);
        let variables = [(); 4].map(|()| s.variable(&x).unwrap());
        s.sync().unwrap();
        Given { x, y, cube, variables }
    };
    let turn = |s: &mut Session, given: &Given, program: Recorded| -> Vec<Array> {
        let held = program(s, given);
        s.sync().unwrap();
        held.iter().map(|tensor| Array::of(s, tensor)).collect()
    };
    let mut s = Session::new(&executor, settings(Mode::Planned));
    let mut oracle = Session::new(&executor, settings(Mode::Unplanned));
    let (in_session, in_oracle) = (given(&mut s), given(&mut oracle));
    let mut replays = Vec::new();
    for program in [first, first, second, second, second] {
        let (got, wanted) = (turn(&mut s, &in_session, program), turn(&mut oracle, &in_oracle, program));
        assert_eq!(got, wanted);
        replays.push(s.stats().replays);
    }
    assert_eq!(replays[1], replays[0] + 1, "the second execution is a replay");
    assert_eq!(replays[4], replays[3] + 1);
    replays[2] > replays[1]
}

#[test]
fn programs_that_differ_in_one_attribute_do_not_share_a_plan() {
    for (difference, first, second) in DIFFERENT {
        assert!(!shares_a_plan(*first, *second), "programs differ in {difference} and share a plan");
        assert!(!shares_a_plan(*second, *first), "programs differ in {difference} and share a plan");
    }
}

#[test]
fn programs_that_differ_in_parameters_share_a_plan() {
    for (difference, first, second) in SAME {
        assert!(shares_a_plan(*first, *second), "programs differ only in {difference} and share no plan");
    }
}

#[test]
fn plans_are_shared_between_sessions_and_bounded_per_session() {
    let executor = Executor::new(Device::cpu(1, 1 << 30));
    let limits = quern::base::Limits { programs: 2, ..Default::default() };
    let mut replays = 0;
    for _ in 0..2 {
        let mut s = Session::new(&executor, Settings { limits: limits.clone(), ..settings(Mode::Planned) });
        for _ in 0..2 {
            for n in 1..=4 {
                let x = s.full(DType::F32, &[n], 1.0).unwrap();
                assert_eq!(Array::of(&mut s, &x).data, vec![1.0; n]);
            }
        }
        replays = s.stats().replays;
    }
    assert_eq!(executor.program_counts(), (4, 4));
    assert!(replays >= 2, "{replays}");
}

#[test]
fn sessions_of_one_run_share_its_places_for_plans() {
    let executor = Executor::new(Device::cpu(1, 1 << 30));
    let limits = quern::base::Limits { programs: 1, ..Default::default() };
    let shared = Settings { limits, ..settings(Mode::Planned) };
    let replays = |s: &mut Session| {
        for _ in 0..4 {
            let x = s.full(DType::F32, &[3], 1.0).unwrap();
            assert_eq!(Array::of(s, &x).data, vec![1.0; 3]);
        }
        s.stats().replays
    };
    let mut first = Session::new(&executor, shared.clone());
    let mut second = Session::new(&executor, shared);
    assert_eq!((replays(&mut first), replays(&mut second)), (3, 0));
    drop(first);
    assert_eq!(replays(&mut second), 4);
}
