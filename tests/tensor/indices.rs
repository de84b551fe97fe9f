//! Gathers by indices of every type, and sums of gradients where many indices meet.

use quern::base::DType;
use quern::tensor::{Keep, Mode};

use super::reference as r;
use super::support::{Array, Dice, assert_close, session};

pub(super) fn indices_of_every_integer_type_pick_what_the_reference_picks() {
    for dtype in DType::ALL.into_iter().filter(|d| d.is_integer()) {
        let mut s = session(Mode::Planned);
        let mut dice = Dice::new(5);
        let a = dice.array(&[4, 3, 2]);
        let x = a.tensor(&mut s, DType::F64);
        let positions = [2usize, 0, 2, 1, 1];
        let ids = Array::new(&[5], positions.map(|p| p as f64).to_vec());
        let indices = ids.tensor(&mut s, dtype);
        for axis in 0..2 {
            let picked = s.gather(&x, axis as i32, &indices).unwrap();
            assert_eq!(Array::of(&mut s, &picked), r::pick(&a, axis, &positions), "gather along {axis} by {dtype}");
        }
        let hot = s.one_hot(&indices, 2, DType::F32).unwrap();
        assert_eq!(Array::of(&mut s, &hot), r::one_hot(&ids, 2), "ids outside give zeros");
        let logits = dice.array(&[5, 3]);
        let tensor = logits.tensor(&mut s, DType::F64);
        let loss = s.cross_entropy(&tensor, &indices).unwrap();
        assert_close(&Array::of(&mut s, &loss), &r::cross_entropy(&logits, &ids), 1e-12, "cross-entropy");
    }
}

/// So many indices that CUDA sorts them first, in one, two and three passes.
pub(super) fn gradients_of_what_many_indices_pick_are_added_up() {
    const COUNT: usize = 5000;
    for (dtype, extent, axis) in [(DType::F32, 7, 0), (DType::F64, 100, 1), (DType::F16, 1000, 0), (DType::BF16, 3, 1)]
    {
        let mut s = session(Mode::Planned);
        let mut dice = Dice::new(9);
        let shape = if axis == 0 { [extent, 3] } else { [3, extent] };
        let start = s.full(dtype, &shape, 0.0).unwrap();
        let x = s.variable(&start).unwrap();
        // Some positions are never picked. Sums of halves are exact in every type.
        let positions: Vec<usize> = (0..COUNT).map(|_| dice.below(extent) / 2 * 2).collect();
        let ids = Array::new(&[COUNT], positions.iter().map(|p| *p as f64).collect());
        let indices = ids.tensor(&mut s, DType::U16);
        let few = if extent < 10 { 50 } else { 1 };
        let weight = |i: usize| if i.is_multiple_of(few) { (i % 5) as f64 * 0.5 - 1.0 } else { 0.0 };
        let picked_shape = if axis == 0 { [COUNT, 3] } else { [3, COUNT] };
        let weights = Array::build(&picked_shape, |i| weight(i[axis]) * (i[1 - axis] + 1) as f64);
        let factors = weights.tensor(&mut s, dtype);
        let tape = s.tape(&[&x]).unwrap();
        let value = s.value(&x).unwrap();
        let picked = s.gather(&value, axis as i32, &indices).unwrap();
        let weighted = s.mul(&picked, &factors).unwrap();
        let loss = s.reduce_sum(&weighted, &[], Keep::Removed).unwrap();
        let gradient = s.gradients(&tape, &loss).unwrap()[0].clone();
        let mut wanted = Array::build(&shape, |_| 0.0);
        for (i, position) in positions.iter().enumerate() {
            for other in 0..3 {
                let at = if axis == 0 { position * 3 + other } else { other * extent + position };
                wanted.data[at] += weight(i) * (other + 1) as f64;
            }
        }
        assert_eq!(Array::of(&mut s, &gradient), wanted, "{dtype} along {axis}");
    }
}
