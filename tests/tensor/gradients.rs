//! Gradients against central finite differences, in double precision.

use quern::base::{DType, Result};
use quern::tensor::{Activation, Conv2d, Keep, Mode, Session, Tensor, Transposed, Variable};

use super::support::{Array, Dice, assert_close, processor, session, settings};

type Function = fn(&mut Session, &[Tensor]) -> Result<Tensor>;

/// Name, shapes of the variables, and a function of them.
struct Case(&'static str, &'static [&'static [usize]], Function);

const CASES: &[Case] = &[
    Case("add", &[&[2, 3], &[3]], |s, x| s.add(&x[0], &x[1])),
    Case("sub", &[&[2, 1], &[3]], |s, x| s.sub(&x[0], &x[1])),
    Case("mul", &[&[2, 3], &[]], |s, x| s.mul(&x[0], &x[1])),
    Case("mul by itself", &[&[3]], |s, x| s.mul(&x[0], &x[0])),
    Case("div", &[&[2, 3], &[3]], |s, x| {
        let positive = s.exp(&x[1])?;
        s.div(&x[0], &positive)
    }),
    Case("pow", &[&[2, 3], &[3]], |s, x| {
        let positive = s.exp(&x[0])?;
        s.pow(&positive, &x[1])
    }),
    Case("maximum", &[&[5], &[5]], |s, x| s.maximum(&x[0], &x[1])),
    Case("minimum", &[&[5], &[5]], |s, x| s.minimum(&x[0], &x[1])),
    Case("affine", &[&[4]], |s, x| s.affine(&x[0], -3.0, 2.0)),
    Case("power", &[&[4]], |s, x| s.power(&x[0], 3.0)),
    Case("relu", &[&[6]], |s, x| s.relu(&x[0])),
    Case("sigmoid", &[&[6]], |s, x| s.sigmoid(&x[0])),
    Case("tanh", &[&[6]], |s, x| s.tanh(&x[0])),
    Case("exp, log", &[&[6]], |s, x| {
        let e = s.exp(&x[0])?;
        let shifted = s.affine(&e, 1.0, 1.0)?;
        s.log(&shifted)
    }),
    Case("sqrt", &[&[6]], |s, x| {
        let e = s.exp(&x[0])?;
        s.sqrt(&e)
    }),
    Case("where", &[&[2, 3], &[3]], |s, x| {
        let zero = s.full(DType::F64, &[], 0.0)?;
        let condition = s.less(&x[0], &zero)?;
        s.where_(&condition, &x[0], &x[1])
    }),
    Case("cast to single and back", &[&[3]], |s, x| {
        // Rounding would drown the differences: its gradient is that of the identity.
        let scaled = s.affine(&x[0], 2.0, 0.0)?;
        s.cast(&scaled, DType::F64)
    }),
    Case("matmul", &[&[2, 3], &[3, 4]], |s, x| s.matmul(&x[0], &x[1], Transposed { a: false, b: false })),
    Case("matmul a'", &[&[3, 2], &[3, 4]], |s, x| s.matmul(&x[0], &x[1], Transposed { a: true, b: false })),
    Case("matmul b'", &[&[2, 3], &[4, 3]], |s, x| s.matmul(&x[0], &x[1], Transposed { a: false, b: true })),
    Case("matmul a'b'", &[&[3, 2], &[4, 3]], |s, x| s.matmul(&x[0], &x[1], Transposed { a: true, b: true })),
    Case("matmul batched", &[&[2, 1, 2, 3], &[3, 3, 2]], |s, x| s.matmul(&x[0], &x[1], Transposed::default())),
    Case("matmul with itself", &[&[3, 3]], |s, x| s.matmul(&x[0], &x[0], Transposed { a: true, b: false })),
    Case("linear", &[&[2, 3], &[3, 4], &[4]], |s, x| s.linear(&x[0], &x[1], Some(&x[2]), Activation::None)),
    Case("linear relu", &[&[2, 3], &[3, 4], &[4]], |s, x| s.linear(&x[0], &x[1], Some(&x[2]), Activation::Relu)),
    Case("linear sigmoid", &[&[2, 3], &[3, 4]], |s, x| s.linear(&x[0], &x[1], None, Activation::Sigmoid)),
    Case("linear tanh", &[&[2, 3], &[3, 4]], |s, x| s.linear(&x[0], &x[1], None, Activation::Tanh)),
    Case("softmax 1", &[&[2, 4]], |s, x| s.softmax(&x[0], 1)),
    Case("softmax 0", &[&[3, 2]], |s, x| s.softmax(&x[0], 0)),
    Case("log-softmax", &[&[2, 4]], |s, x| s.log_softmax(&x[0], -1)),
    Case("cross-entropy", &[&[3, 4]], |s, x| {
        let labels = s.range(DType::U8, 1.0, 3, 1.0)?;
        s.cross_entropy(&x[0], &labels)
    }),
    Case("sum", &[&[2, 3, 2]], |s, x| s.reduce_sum(&x[0], &[0, 2], Keep::Removed)),
    Case("sum kept", &[&[2, 3]], |s, x| s.reduce_sum(&x[0], &[1], Keep::Kept)),
    Case("mean", &[&[2, 3]], |s, x| s.reduce_mean(&x[0], &[0], Keep::Removed)),
    Case("mean of all", &[&[2, 3]], |s, x| s.reduce_mean(&x[0], &[], Keep::Removed)),
    Case("max", &[&[3, 4]], |s, x| s.reduce_max(&x[0], &[1], Keep::Removed)),
    Case("reshape", &[&[2, 3]], |s, x| s.reshape(&x[0], &[6])),
    Case("transpose", &[&[2, 3, 4]], |s, x| s.transpose(&x[0], &[2, 0, 1])),
    Case("slice", &[&[4, 3]], |s, x| s.slice(&x[0], 0, 1, 2)),
    Case("slice of slice", &[&[4, 5]], |s, x| {
        let part = s.slice(&x[0], 1, 1, 4)?;
        s.slice(&part, 1, 2, 2)
    }),
    Case("gather", &[&[4, 3]], |s, x| {
        let indices = s.from_bytes(DType::U8, &[5], &[3, 0, 3, 3, 1])?;
        s.gather(&x[0], 0, &indices)
    }),
    Case("gather columns", &[&[2, 3]], |s, x| {
        let indices = s.from_bytes(DType::U8, &[4], &[2, 0, 0, 1])?;
        s.gather(&x[0], 1, &indices)
    }),
    Case("concat", &[&[2, 1], &[2, 3]], |s, x| s.concat(1, &[&x[0], &x[1], &x[0]])),
    Case("conv2d", &[&[2, 4, 5, 2], &[2, 3, 2, 3], &[3]], |s, x| {
        let with = Conv2d { stride: 2, padding: 1, activation: Activation::Tanh };
        s.conv2d(&x[0], &x[1], Some(&x[2]), &with)
    }),
    Case("max-pool", &[&[2, 4, 6, 2]], |s, x| s.max_pool2d(&x[0], 2, 2)),
    Case("max-pool of shared elements", &[&[1, 7, 6, 2]], |s, x| s.max_pool2d(&x[0], 3, 2)),
    Case("two layers", &[&[2, 3], &[3, 4], &[4, 2]], |s, x| {
        let h = s.linear(&x[0], &x[1], None, Activation::Relu)?;
        let y = s.matmul(&h, &x[2], Transposed::default())?;
        s.softmax(&y, 1)
    }),
];

/// Σ weights · function(variables), whose gradient is compared.
fn loss(s: &mut Session, function: Function, x: &[Tensor]) -> Tensor {
    let y = function(s, x).unwrap();
    let weights = Dice::new(11).array(y.shape()).tensor(s, DType::F64);
    let product = s.mul(&y, &weights).unwrap();
    s.reduce_sum(&product, &[], Keep::Removed).unwrap()
}

fn loss_at(function: Function, values: &[Array]) -> f64 {
    let mut s = Session::new(processor(), settings(Mode::Unplanned));
    let inputs: Vec<Tensor> = values.iter().map(|a| a.tensor(&mut s, DType::F64)).collect();
    let loss = loss(&mut s, function, &inputs);
    s.item(&loss).unwrap()
}

pub(super) fn gradients_equal_finite_differences() {
    const STEP: f64 = 1e-6;
    // All cases are one program, so that a device compiles kernels for it once.
    let mut s = session(Mode::Planned);
    let values: Vec<Vec<Array>> = CASES
        .iter()
        .map(|Case(_, shapes, _)| {
            let mut dice = Dice::new(2);
            shapes.iter().map(|shape| dice.array(shape)).collect()
        })
        .collect();
    let variables: Vec<Variable> = values
        .iter()
        .flatten()
        .map(|a| {
            let tensor = a.tensor(&mut s, DType::F64);
            s.variable(&tensor).unwrap()
        })
        .collect();
    let tape = s.tape(&variables.iter().collect::<Vec<_>>()).unwrap();
    let mut recorded = Vec::new();
    let mut first = 0;
    for Case(_, shapes, function) in CASES {
        let own = first..first + shapes.len();
        let inputs: Vec<Tensor> = variables[own.clone()].iter().map(|v| s.value(v).unwrap()).collect();
        let loss = loss(&mut s, *function, &inputs);
        recorded.push(s.gradients(&tape, &loss).unwrap()[own.clone()].to_vec());
        first = own.end;
    }
    for ((Case(name, _, function), values), gradients) in CASES.iter().zip(values).zip(recorded) {
        for (i, gradient) in gradients.iter().enumerate() {
            let got = Array::of(&mut s, gradient);
            let moved = |at: usize, by: f64| {
                let mut moved = values.clone();
                moved[i].data[at] += by;
                loss_at(*function, &moved)
            };
            let slopes = (0..values[i].data.len()).map(|at| (moved(at, STEP) - moved(at, -STEP)) / (2.0 * STEP));
            let wanted = Array::new(&values[i].shape, slopes.collect());
            assert_close(&got, &wanted, 1e-7, &format!("{name}, variable {i}"));
        }
    }
}

pub(super) fn a_variable_the_loss_does_not_depend_on_gets_zeros() {
    let mut s = session(Mode::Planned);
    let one = s.full(DType::F32, &[2], 1.0).unwrap();
    let (a, b) = (s.variable(&one).unwrap(), s.variable(&one).unwrap());
    let tape = s.tape(&[&a, &b]).unwrap();
    let value = s.value(&a).unwrap();
    let loss = s.reduce_sum(&value, &[], Keep::Removed).unwrap();
    let gradients = s.gradients(&tape, &loss).unwrap();
    assert_eq!(Array::of(&mut s, &gradients[0]).data, [1.0, 1.0]);
    assert_eq!(Array::of(&mut s, &gradients[1]).data, [0.0, 0.0]);
}

pub(super) fn gradients_may_be_taken_twice_and_after_a_flush() {
    let mut s = session(Mode::Planned);
    let start = Dice::new(1).array(&[3]).tensor(&mut s, DType::F64);
    let x = s.variable(&start).unwrap();
    let tape = s.tape(&[&x]).unwrap();
    let value = s.value(&x).unwrap();
    let square = s.mul(&value, &value).unwrap();
    let loss = s.reduce_sum(&square, &[], Keep::Removed).unwrap();
    let before = s.gradients(&tape, &loss).unwrap();
    let before = Array::of(&mut s, &before[0]);
    let zero = s.full(DType::F64, &[3], 0.0).unwrap();
    s.assign(&x, &zero).unwrap();
    let after = s.gradients(&tape, &loss).unwrap();
    assert_eq!(Array::of(&mut s, &after[0]), before, "the tape is over the values at its beginning");
    assert_eq!(before, super::reference::map(&Array::of(&mut s, &start), |x| 2.0 * x));
}

#[test]
fn gradients_need_a_float_scalar() {
    let mut s = session(Mode::Planned);
    let one = s.full(DType::F32, &[2], 1.0).unwrap();
    let x = s.variable(&one).unwrap();
    let tape = s.tape(&[&x]).unwrap();
    let value = s.value(&x).unwrap();
    let error = s.gradients(&tape, &value).unwrap_err().to_string();
    assert_eq!(error, "gradients of a float32 of shape [2]; a float scalar is needed");
}
