//! Every operation against the reference, for every type it takes.

use quern::base::{DType, Result};
use quern::tensor::{Activation, Conv2d, Keep, Mode, Session, Tensor, Transposed};

use super::reference as r;
use super::support::{Array, Dice, assert_close, session};

/// The types an operation takes.
#[derive(Clone, Copy)]
enum Types {
    Floats,
    Numbers,
    All,
}

impl Types {
    fn list(self) -> Vec<DType> {
        let fits = |dtype: &DType| match self {
            Self::Floats => dtype.is_float(),
            Self::Numbers => *dtype != DType::Bool,
            Self::All => true,
        };
        DType::ALL.into_iter().filter(fits).collect()
    }
}

type Run = fn(&mut Session, &[Tensor]) -> Result<Tensor>;
type Reference = fn(&[Array]) -> Array;

/// Name, types, shapes of the operands, the operation, and what it should be.
struct Case(&'static str, Types, &'static [&'static [usize]], Run, Reference);

use Types::{All, Floats, Numbers};

const T: Transposed = Transposed { a: false, b: false };

const ELEMENTWISE: &[Case] = &[
    Case("add", Numbers, &[&[3, 5], &[5]], |s, x| s.add(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], |a, b| a + b)),
    Case(
        "add [2,1,4]+[3,1]",
        Numbers,
        &[&[2, 1, 4], &[3, 1]],
        |s, x| s.add(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| a + b),
    ),
    Case(
        "add long",
        Floats,
        &[&[70, 331], &[70, 1]],
        |s, x| s.add(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| a + b),
    ),
    Case("sub", Numbers, &[&[4], &[]], |s, x| s.sub(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], |a, b| a - b)),
    Case("mul", Numbers, &[&[2, 3], &[2, 1]], |s, x| s.mul(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], |a, b| a * b)),
    Case("div", Floats, &[&[2, 3], &[3]], |s, x| s.div(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], |a, b| a / b)),
    Case(
        "pow",
        Floats,
        &[&[2, 3], &[3]],
        |s, x| {
            let e = s.exp(&x[0])?;
            s.pow(&e, &x[1])
        },
        |x| r::zip(&x[0], &x[1], |a, b| a.exp().powf(b)),
    ),
    Case("maximum", Numbers, &[&[7], &[7]], |s, x| s.maximum(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], f64::max)),
    Case("minimum", Numbers, &[&[7], &[7]], |s, x| s.minimum(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], f64::min)),
    Case("affine", Numbers, &[&[2, 3]], |s, x| s.affine(&x[0], 2.0, 1.0), |x| r::map(&x[0], |a| 2.0 * a + 1.0)),
    Case("power 2", Floats, &[&[5]], |s, x| s.power(&x[0], 2.0), |x| r::map(&x[0], |a| a * a)),
    Case("power 3", Floats, &[&[5]], |s, x| s.power(&x[0], 3.0), |x| r::map(&x[0], |a| a * a * a)),
    Case("relu", Numbers, &[&[9]], |s, x| s.relu(&x[0]), |x| r::map(&x[0], |a| a.max(0.0))),
    Case("sigmoid", Floats, &[&[33]], |s, x| s.sigmoid(&x[0]), |x| r::map(&x[0], |a| 1.0 / (1.0 + (-a).exp()))),
    Case("tanh", Floats, &[&[33]], |s, x| s.tanh(&x[0]), |x| r::map(&x[0], f64::tanh)),
    Case("exp", Floats, &[&[33]], |s, x| s.exp(&x[0]), |x| r::map(&x[0], f64::exp)),
    Case("log", Floats, &[&[5]], |s, x| s.log(&x[0]), |x| r::map(&x[0], f64::ln)),
    Case("sqrt", Floats, &[&[5]], |s, x| s.sqrt(&x[0]), |x| r::map(&x[0], f64::sqrt)),
    Case(
        "equal",
        All,
        &[&[3, 4], &[4]],
        |s, x| s.equal(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| f64::from(a == b)),
    ),
    Case("less", All, &[&[3, 4], &[4]], |s, x| s.less(&x[0], &x[1]), |x| r::zip(&x[0], &x[1], |a, b| f64::from(a < b))),
    Case(
        "less-equal",
        All,
        &[&[3, 4], &[4]],
        |s, x| s.less_equal(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| f64::from(a <= b)),
    ),
    Case(
        "greater",
        All,
        &[&[3, 4], &[4]],
        |s, x| s.greater(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| f64::from(a > b)),
    ),
    Case(
        "greater-equal",
        All,
        &[&[3, 4], &[4]],
        |s, x| s.greater_equal(&x[0], &x[1]),
        |x| r::zip(&x[0], &x[1], |a, b| f64::from(a >= b)),
    ),
    Case(
        "where",
        All,
        &[&[3, 4], &[4], &[1]],
        |s, x| {
            let c = s.less(&x[0], &x[1])?;
            s.where_(&c, &x[0], &x[2])
        },
        |x| r::choose(&r::zip(&x[0], &x[1], |a, b| f64::from(a < b)), &x[0], &x[2]),
    ),
];

const WINDOWS: &[Case] = &[
    Case(
        "conv2d",
        Floats,
        &[&[2, 5, 4, 3], &[3, 2, 3, 4], &[4]],
        |s, x| s.conv2d(&x[0], &x[1], Some(&x[2]), &sliding(1, 0)),
        |x| r::zip(&r::conv2d(&x[0], &x[1], 1, 0), &x[2], |a, b| a + b),
    ),
    Case(
        "conv2d padded",
        Floats,
        &[&[1, 4, 5, 2], &[3, 3, 2, 3]],
        |s, x| s.conv2d(&x[0], &x[1], None, &sliding(1, 1)),
        |x| r::conv2d(&x[0], &x[1], 1, 1),
    ),
    Case(
        "conv2d in steps of 2",
        Floats,
        &[&[2, 7, 6, 1], &[2, 3, 1, 2]],
        |s, x| s.conv2d(&x[0], &x[1], None, &sliding(2, 2)),
        |x| r::conv2d(&x[0], &x[1], 2, 2),
    ),
    Case("max-pool", Numbers, &[&[2, 4, 6, 3]], |s, x| s.max_pool2d(&x[0], 2, 2), |x| r::max_pool2d(&x[0], 2, 2)),
    Case(
        "max-pool of shared elements",
        Numbers,
        &[&[1, 7, 8, 2]],
        |s, x| s.max_pool2d(&x[0], 3, 2),
        |x| r::max_pool2d(&x[0], 3, 2),
    ),
];

pub(super) fn sliding(stride: usize, padding: usize) -> Conv2d {
    Conv2d { stride, padding, activation: Activation::None }
}

const SHAPED: &[Case] = &[
    Case("reshape", All, &[&[2, 6]], |s, x| s.reshape(&x[0], &[3, 4]), |x| r::reshape(&x[0], &[3, 4])),
    Case("transpose 2", All, &[&[3, 5]], |s, x| s.transpose(&x[0], &[1, 0]), |x| r::transpose(&x[0], &[1, 0])),
    Case("transpose 3", All, &[&[2, 3, 4]], |s, x| s.transpose(&x[0], &[1, 2, 0]), |x| r::transpose(&x[0], &[1, 2, 0])),
    Case("transpose scalar", All, &[&[]], |s, x| s.transpose(&x[0], &[]), |x| x[0].clone()),
    Case("slice 0", All, &[&[5, 3]], |s, x| s.slice(&x[0], 0, 1, 3), |x| r::slice(&x[0], 0, 1, 3)),
    Case("slice -1", All, &[&[2, 5]], |s, x| s.slice(&x[0], -1, 2, 2), |x| r::slice(&x[0], 1, 2, 2)),
    Case("slice none", All, &[&[2, 5]], |s, x| s.slice(&x[0], 1, 5, 0), |x| r::slice(&x[0], 1, 5, 0)),
    Case(
        "concat 0",
        All,
        &[&[2, 3], &[1, 3]],
        |s, x| s.concat(0, &[&x[0], &x[1], &x[0]]),
        |x| r::concat(0, &[&x[0], &x[1], &x[0]]),
    ),
    Case("concat 1", All, &[&[2, 3], &[2, 1]], |s, x| s.concat(1, &[&x[0], &x[1]]), |x| r::concat(1, &[&x[0], &x[1]])),
    Case(
        "sum all",
        Numbers,
        &[&[3, 4]],
        |s, x| s.reduce_sum(&x[0], &[], Keep::Removed),
        |x| r::reduce(&x[0], &[0, 1], r::sum),
    ),
    Case(
        "sum 0",
        Numbers,
        &[&[3, 4]],
        |s, x| s.reduce_sum(&x[0], &[0], Keep::Removed),
        |x| r::reduce(&x[0], &[0], r::sum),
    ),
    Case(
        "sum -1 kept",
        Numbers,
        &[&[3, 4]],
        |s, x| s.reduce_sum(&x[0], &[-1], Keep::Kept),
        |x| r::reshape(&r::reduce(&x[0], &[1], r::sum), &[3, 1]),
    ),
    Case(
        "sum 0,2",
        Numbers,
        &[&[2, 3, 2]],
        |s, x| s.reduce_sum(&x[0], &[0, 2], Keep::Removed),
        |x| r::reduce(&x[0], &[0, 2], r::sum),
    ),
    Case(
        "sum tall",
        Floats,
        &[&[9001, 3]],
        |s, x| {
            let y = s.affine(&x[0], 1e-3, 0.0)?;
            s.reduce_sum(&y, &[0], Keep::Removed)
        },
        |x| r::reduce(&r::map(&x[0], |a| a * 1e-3), &[0], r::sum),
    ),
    Case(
        "mean long",
        Floats,
        &[&[2, 70_001]],
        |s, x| s.reduce_mean(&x[0], &[1], Keep::Removed),
        |x| r::reduce(&x[0], &[1], r::mean),
    ),
    Case(
        "mean 1",
        Floats,
        &[&[3, 4, 2]],
        |s, x| s.reduce_mean(&x[0], &[1], Keep::Removed),
        |x| r::reduce(&x[0], &[1], r::mean),
    ),
    Case(
        "max 1",
        Numbers,
        &[&[3, 37]],
        |s, x| s.reduce_max(&x[0], &[1], Keep::Removed),
        |x| r::reduce(&x[0], &[1], r::max),
    ),
    Case(
        "max 0",
        Numbers,
        &[&[5, 3]],
        |s, x| s.reduce_max(&x[0], &[0], Keep::Removed),
        |x| r::reduce(&x[0], &[0], r::max),
    ),
    Case("arg-max 1", Numbers, &[&[3, 7]], |s, x| s.arg_max(&x[0], 1), |x| r::reduce(&x[0], &[1], r::arg_max)),
    Case("arg-max 0", Numbers, &[&[7, 3]], |s, x| s.arg_max(&x[0], 0), |x| r::reduce(&x[0], &[0], r::arg_max)),
    Case("softmax 1", Floats, &[&[3, 10]], |s, x| s.softmax(&x[0], 1), |x| r::softmax(&x[0], 1)),
    Case("softmax 0", Floats, &[&[3, 4]], |s, x| s.softmax(&x[0], 0), |x| r::softmax(&x[0], 0)),
    Case(
        "log-softmax",
        Floats,
        &[&[3, 4]],
        |s, x| s.log_softmax(&x[0], -1),
        |x| r::map(&r::softmax(&x[0], 1), f64::ln),
    ),
    Case("matmul", Floats, &[&[3, 4], &[4, 5]], |s, x| s.matmul(&x[0], &x[1], T), |x| r::matmul(&x[0], &x[1])),
    Case(
        "matmul a'",
        Floats,
        &[&[4, 3], &[4, 5]],
        |s, x| s.matmul(&x[0], &x[1], Transposed { a: true, b: false }),
        |x| r::matmul(&r::swapped(&x[0]), &x[1]),
    ),
    Case(
        "matmul b'",
        Floats,
        &[&[3, 4], &[5, 4]],
        |s, x| s.matmul(&x[0], &x[1], Transposed { a: false, b: true }),
        |x| r::matmul(&x[0], &r::swapped(&x[1])),
    ),
    Case(
        "matmul a'b'",
        Floats,
        &[&[4, 3], &[5, 4]],
        |s, x| s.matmul(&x[0], &x[1], Transposed { a: true, b: true }),
        |x| r::matmul(&r::swapped(&x[0]), &r::swapped(&x[1])),
    ),
    Case(
        "matmul batched",
        Floats,
        &[&[2, 1, 3, 4], &[5, 4, 2]],
        |s, x| s.matmul(&x[0], &x[1], T),
        |x| r::matmul(&x[0], &x[1]),
    ),
    Case(
        "matmul in panels",
        Floats,
        &[&[130, 200], &[200, 140]],
        |s, x| s.matmul(&x[0], &x[1], T),
        |x| r::matmul(&x[0], &x[1]),
    ),
    Case(
        "linear",
        Floats,
        &[&[5, 3], &[3, 4], &[4]],
        |s, x| s.linear(&x[0], &x[1], Some(&x[2]), Activation::None),
        |x| r::zip(&r::matmul(&x[0], &x[1]), &x[2], |a, b| a + b),
    ),
    Case(
        "linear relu",
        Floats,
        &[&[5, 3], &[3, 4], &[4]],
        |s, x| s.linear(&x[0], &x[1], Some(&x[2]), Activation::Relu),
        |x| r::zip(&r::matmul(&x[0], &x[1]), &x[2], |a, b| (a + b).max(0.0)),
    ),
    Case(
        "linear tanh",
        Floats,
        &[&[5, 3], &[3, 4]],
        |s, x| s.linear(&x[0], &x[1], None, Activation::Tanh),
        |x| r::map(&r::matmul(&x[0], &x[1]), f64::tanh),
    ),
    Case(
        "linear sigmoid",
        Floats,
        &[&[5, 3], &[3, 4]],
        |s, x| s.linear(&x[0], &x[1], None, Activation::Sigmoid),
        |x| r::map(&r::matmul(&x[0], &x[1]), |a| 1.0 / (1.0 + (-a).exp())),
    ),
];

fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 2e-5,
        DType::F16 => 1e-2,
        DType::BF16 => 8e-2,
        _ => 0.0,
    }
}

/// Operands that a type holds exactly and whose results it holds too.
fn operands(shapes: &[&[usize]], dtype: DType, positive: bool, dice: &mut Dice) -> Vec<Array> {
    let number = |dice: &mut Dice| match dtype {
        DType::Bool => dice.below(2) as f64,
        dtype if dtype.is_integer() => dice.below(4) as f64 + if positive { 4.0 } else { 0.0 },
        _ if positive => dice.float().abs() + 0.25,
        _ => dice.float(),
    };
    shapes.iter().map(|shape| Array::build(shape, |_| number(dice)).rounded(dtype)).collect()
}

/// All cases of a type are one program, so that a device compiles kernels for it once.
fn check(cases: &[Case]) {
    for dtype in DType::ALL {
        for mode in [Mode::Unplanned, Mode::Planned] {
            let mut s = session(mode);
            let fitting = cases.iter().filter(|Case(_, types, ..)| types.list().contains(&dtype));
            let recorded: Vec<(String, Tensor, Array)> = fitting.map(|case| record(case, dtype, &mut s)).collect();
            for (what, result, wanted) in recorded {
                let got = Array::of(&mut s, &result);
                assert_close(&got, &wanted, tolerance(dtype), &format!("{what}, {mode:?}"));
            }
        }
    }
}

/// What a case is called, its result to be computed, and what that should be.
fn record(Case(name, _, shapes, run, reference): &Case, dtype: DType, s: &mut Session) -> (String, Tensor, Array) {
    let mut dice = Dice::new(3);
    // Roots and logarithms need positive operands, unsigned ones no borrow.
    let positive = matches!(*name, "log" | "sqrt" | "div");
    let mut arrays = operands(shapes, dtype, positive, &mut dice);
    if *name == "sub" {
        arrays[1].data.fill(0.0);
    }
    let inputs: Vec<Tensor> = arrays.iter().map(|a| a.tensor(s, dtype)).collect();
    let result = run(s, &inputs).unwrap_or_else(|e| panic!("{name} of {dtype}: {e}"));
    (format!("{name} of {dtype}"), result, reference(&arrays))
}

pub(super) fn elementwise_operations_equal_the_reference() {
    check(ELEMENTWISE);
}

pub(super) fn windows_equal_the_reference() {
    check(WINDOWS);
}

pub(super) fn shaped_operations_equal_the_reference() {
    check(SHAPED);
}

pub(super) fn labels_outside_the_classes_make_cross_entropy_nan() {
    let mut s = session(Mode::Planned);
    let logits = s.full(DType::F32, &[2, 3], 0.0).unwrap();
    let labels = Array::new(&[2], vec![0.0, 3.0]).tensor(&mut s, DType::U8);
    let loss = s.cross_entropy(&logits, &labels).unwrap();
    assert!(s.item(&loss).unwrap().is_nan());
}

/// The smallest and largest number of a type, if it is an integer type.
fn bounds(dtype: DType) -> Option<(f64, f64)> {
    let bits = 8 * dtype.size_bytes() as i32;
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let whole = if signed { (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0) } else { (0.0, 2f64.powi(bits) - 1.0) };
    dtype.is_integer().then_some(whole)
}

pub(super) fn casts_truncate_and_saturate_between_all_pairs_of_types() {
    let values = vec![0.0, 1.0, -1.0, 2.75, -2.75, 200.0, -200.0, 40_000.0, 3e9, -3e9, f64::NAN, f64::INFINITY];
    for from in DType::ALL {
        let a = Array::new(&[values.len()], values.clone()).rounded(from);
        let mut s = session(Mode::Planned);
        let x = a.tensor(&mut s, from);
        let casts = DType::ALL.map(|to| s.cast(&x, to).unwrap());
        for (to, y) in DType::ALL.into_iter().zip(casts) {
            let got = Array::of(&mut s, &y);
            let wanted = match bounds(to) {
                Some((low, high)) => r::cast(&a, low, high),
                None if to == DType::Bool => r::map(&a, |x| f64::from(x != 0.0)),
                None => a.rounded(to),
            };
            assert_close(&got, &wanted, 0.0, &format!("{from} to {to}"));
        }
    }
}

pub(super) fn sources_yield_what_they_say() {
    let mut s = session(Mode::Planned);
    let full = DType::ALL.map(|dtype| s.full(dtype, &[2, 3], 1.0).unwrap());
    let numbers = Types::Numbers.list();
    let ranges: Vec<Tensor> = numbers.iter().map(|dtype| s.range(*dtype, 3.0, 5, 2.0).unwrap()).collect();
    for full in full {
        assert_eq!(Array::of(&mut s, &full).data, [1.0; 6], "{}", full.dtype());
    }
    for (dtype, range) in numbers.into_iter().zip(ranges) {
        assert_eq!(Array::of(&mut s, &range).data, [3.0, 5.0, 7.0, 9.0, 11.0], "{dtype}");
    }
}

pub(super) fn nan_survives_relu_maximum_and_reduce_max() {
    let mut s = session(Mode::Planned);
    let x = Array::new(&[3], vec![1.0, f64::NAN, -1.0]).tensor(&mut s, DType::F32);
    let zero = s.full(DType::F32, &[], 0.0).unwrap();
    let results = [s.relu(&x).unwrap(), s.maximum(&x, &zero).unwrap(), s.maximum(&zero, &x).unwrap()];
    for y in results {
        assert!(Array::of(&mut s, &y).data[1].is_nan());
    }
    let top = s.reduce_max(&x, &[], Keep::Removed).unwrap();
    assert!(s.item(&top).unwrap().is_nan());
    let at = s.arg_max(&x, 0).unwrap();
    assert_eq!(s.item(&at).unwrap(), 1.0);
}

pub(super) fn exponentials_of_large_numbers_overflow_and_vanish_as_they_should() {
    let mut s = session(Mode::Planned);
    let values = [-200.0, -104.0, -95.0, -87.0, -1e-8, 0.0, 80.0, 88.5, 89.0, 200.0, f64::INFINITY, f64::NEG_INFINITY];
    let x = Array::new(&[values.len()], values.to_vec()).rounded(DType::F32);
    let tensor = x.tensor(&mut s, DType::F32);
    let y = s.exp(&tensor).unwrap();
    for (got, x) in Array::of(&mut s, &y).data.iter().zip(&x.data) {
        let wanted = f64::from((x.exp()) as f32);
        assert!(
            *got == wanted || (got / wanted - 1.0).abs() < 3e-7 || (got - wanted).abs() < 1e-43,
            "exp({x}) is {got}, not {wanted}"
        );
    }
}
