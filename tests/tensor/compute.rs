//! Compute types: how exactly products of f32 are made, of values and in gradients.

use quern::base::DType;
use quern::device::cuda::probe;
use quern::tensor::{Activation, Compute, Keep, Mode, Session, Tensor, Transposed};

use super::operations::sliding;
use super::reference as r;
use super::support::{Array, Dice, assert_close, executor, session};

/// The compute types, with the bits of a fraction that they leave away.
const KINDS: [(Compute, u32); 3] = [(Compute::Strict, 0), (Compute::Tf32, 13), (Compute::Bf16, 16)];

/// The factors of a product, each f32 rounded to nearest, ties to even.
fn rounded(a: &Array, dropped: u32) -> Array {
    let unit = |x: f64| 2f64.powi(x.abs().log2().floor() as i32 - 23 + dropped as i32);
    let round = |x: &f64| if *x == 0.0 { 0.0 } else { (x / unit(*x)).round_ties_even() * unit(*x) };
    Array::new(&a.shape, a.rounded(DType::F32).data.iter().map(round).collect())
}

/// How far from products of rounded factors it may be. A GPU has its own way to round.
fn tolerance(dropped: u32) -> f64 {
    let is_ours = executor().device().is_host()
        || probe().is_ok_and(|gpus| gpus.first().is_some_and(|gpu| gpu.model == "fake GPU"));
    if is_ours || dropped == 0 { 1e-5 } else { 2f64.powi(dropped as i32 - 20) }
}

pub(super) fn products_are_as_exact_as_their_compute_type_says() {
    for mode in [Mode::Planned, Mode::Unplanned] {
        let mut dice = Dice::new(11);
        let (a, b, bias) = (dice.array(&[3, 5, 7]), dice.array(&[7, 4]), dice.array(&[4]));
        let (images, kernels) = (dice.array(&[2, 5, 5, 3]), dice.array(&[3, 3, 3, 4]));
        let rows = Array::new(&[15, 7], a.data.clone());
        let mut s = session(mode);
        let given = [&a, &b, &bias, &rows, &images, &kernels].map(|array| array.tensor(&mut s, DType::F32));
        let [x, w, v, flat, shown, filters] = &given;
        // Four times each, one after another: what was planned for one is not used for another.
        for (compute, dropped) in KINDS.repeat(4) {
            s.set_compute(compute);
            let within = tolerance(dropped);
            let cut = |array: &Array| rounded(array, dropped);
            let y = s.matmul(x, w, Transposed::default()).unwrap();
            assert_close(&Array::of(&mut s, &y), &r::matmul(&cut(&a), &cut(&b)), within, &format!("{compute:?}"));
            let y = s.linear(flat, w, Some(v), Activation::Relu).unwrap();
            let wanted = r::zip(&r::matmul(&cut(&rows), &cut(&b)), &bias, |a, b| (a + b).max(0.0));
            assert_close(&Array::of(&mut s, &y), &wanted, within, &format!("linear, {compute:?}"));
            let y = s.conv2d(shown, filters, None, &sliding(1, 1)).unwrap();
            let wanted = r::conv2d(&cut(&images), &cut(&kernels), 1, 1);
            assert_close(&Array::of(&mut s, &y), &wanted, within, &format!("conv2d, {compute:?}"));
        }
    }
}

pub(super) fn types_without_a_choice_are_multiplied_as_ever() {
    let mut dice = Dice::new(12);
    let (a, b) = (dice.array(&[6, 9]), dice.array(&[9, 3]));
    for dtype in [DType::F64, DType::F16, DType::BF16] {
        let mut s = session(Mode::Planned);
        let (x, w) = (a.tensor(&mut s, dtype), b.tensor(&mut s, dtype));
        let mut product = |compute| {
            s.set_compute(compute);
            let y = s.matmul(&x, &w, Transposed::default()).unwrap();
            s.read(&y).unwrap()
        };
        let strict = product(Compute::Strict);
        assert!([Compute::Tf32, Compute::Bf16].into_iter().all(|kind| product(kind) == strict), "{dtype}");
    }
}

pub(super) fn a_gradient_has_the_compute_type_of_its_product() {
    for (compute, dropped) in KINDS {
        let mut dice = Dice::new(13);
        let (a, b) = (dice.array(&[6, 9]), dice.array(&[9, 3]));
        let mut s: Session = session(Mode::Planned);
        let (x, start) = (a.tensor(&mut s, DType::F32), b.tensor(&mut s, DType::F32));
        let w = s.variable(&start).unwrap();
        let tape = s.tape(&[&w]).unwrap();
        s.set_compute(compute);
        let value = s.value(&w).unwrap();
        let y = s.matmul(&x, &value, Transposed::default()).unwrap();
        let twice = twice(&mut s);
        let y = s.linear(&y, &twice, None, Activation::None).unwrap();
        let loss = s.reduce_sum(&y, &[], Keep::Removed).unwrap();
        // What is asked for later is for later products.
        s.set_compute(Compute::Strict);
        let gradients = s.gradients(&tape, &loss).unwrap();
        // ∂loss/∂w = xᵀ · 1 · 2, of x as it was multiplied; 2 and 1 are exact in all types.
        let cut = rounded(&a, dropped);
        let wanted = Array::build(&[9, 3], |at| 2.0 * (0..6).map(|row| cut.at(&[row, at[0]])).sum::<f64>());
        assert_close(&Array::of(&mut s, &gradients[0]), &wanted, 2.0 * tolerance(dropped), &format!("{compute:?}"));
    }
}

/// `[3, 3]`, which makes each row twice as large.
fn twice(s: &mut Session) -> Tensor {
    let twice = Array::build(&[3, 3], |at| if at[0] == at[1] { 2.0 } else { 0.0 });
    twice.tensor(s, DType::F32)
}

#[test]
fn an_unknown_compute_type_is_refused_with_the_known_ones() {
    let told = "no compute type `tf3`; did you mean `tf32`?";
    assert_eq!("tf3".parse::<Compute>().unwrap_err().to_string(), told);
    assert_eq!("strict".parse::<Compute>().unwrap(), Compute::default());
}
