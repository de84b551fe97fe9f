//! Tensors: making, looking, computing.

use std::f32::consts::{E, FRAC_1_SQRT_2, LN_2, SQRT_2};

use quern_udf::nn::{Activation, Convolution};
use quern_udf::prelude::*;
use quern_udf::{Compute, set_compute};

use crate::{close, equal, same};

pub(crate) fn making(_: &Proc) -> Result {
    same("from_slice", Tensor::from_slice(&[2, 2], &[1_u8, 2, 3, 255]), &[2, 2], &[1_u8, 2, 3, 255])?;
    same("zeros", Tensor::zeros(Int16, &[2]), &[2], &[0_i16, 0])?;
    same("ones", Tensor::ones(Boolean, &[2]), &[2], &[true, true])?;
    same("full", Tensor::full(Float64, &[1, 2], 2.5), &[1, 2], &[2.5_f64, 2.5])?;
    same("range", Tensor::range(Int32, 3.0, 3, -2.0), &[3], &[3, 1, -1])?;
    let parts = [Tensor::ones(Float32, &[1, 2])?, Tensor::zeros(Float32, &[2, 2])?];
    same("concat", Tensor::concat(0, &parts), &[3, 2], &[1.0_f32, 1.0, 0.0, 0.0, 0.0, 0.0])?;

    let mut order: Vec<i64> = Tensor::random_permutation(100)?.to_vec()?;
    equal("random_permutation moves", order != (0..100).collect::<Vec<_>>(), true)?;
    order.sort_unstable();
    equal("random_permutation", order, (0..100).collect())?;
    let uniform: Vec<f32> = Tensor::random_uniform(&[1000], -1.0, 3.0)?.to_vec()?;
    equal("random_uniform in range", uniform.iter().all(|x| (-1.0..3.0).contains(x)), true)?;
    let normal = Tensor::random_normal(&[100, 100], 5.0, 2.0)?;
    let mean = normal.mean(&[])?.item()?;
    equal("mean of random_normal is near 5", (mean - 5.0).abs() < 0.1, true)?;
    let variance = ((normal - 5.0)?).square()?.mean(&[])?.item()?;
    equal("its variance is near 4", (variance - 4.0).abs() < 0.3, true)?;

    let t = Tensor::zeros(Uint8, &[3, 4])?;
    equal("dtype", t.dtype(), Uint8)?;
    equal("len", (t.len(), t.is_empty(), Tensor::zeros(Uint8, &[])?.len()), (3, false, 1))?;
    equal("debug", format!("{t:?}"), "tensor uint8 [3, 4]".to_owned())?;
    equal("a wrong type is refused", t.to_vec::<f32>().is_err(), true)
}

pub(crate) fn operations(_: &Proc) -> Result {
    elementwise()?;
    products()?;
    reductions()?;
    comparisons()?;
    shapes()
}

fn elementwise() -> Result {
    let a = Tensor::from_slice(&[3], &[1.0_f32, 4.0, -2.0])?;
    let b = Tensor::from_slice(&[3], &[2.0_f32, 0.5, 4.0])?;
    close("a + b", &a + &b, &[3], &[3.0, 4.5, 2.0])?;
    close("a - b", a.clone() - &b, &[3], &[-1.0, 3.5, -6.0])?;
    close("a * b", &a * b.clone(), &[3], &[2.0, 2.0, -8.0])?;
    close("a / b", a.clone() / b.clone(), &[3], &[0.5, 8.0, -0.5])?;
    close("a + 1", &a + 1.0, &[3], &[2.0, 5.0, -1.0])?;
    close("a - 1", &a - 1.0, &[3], &[0.0, 3.0, -3.0])?;
    close("a * 2", &a * 2.0, &[3], &[2.0, 8.0, -4.0])?;
    close("a / 2", &a / 2.0, &[3], &[0.5, 2.0, -1.0])?;
    close("1 + a", 1.0 + &a, &[3], &[2.0, 5.0, -1.0])?;
    close("1 - a", 1.0 - &a, &[3], &[0.0, -3.0, 3.0])?;
    close("2 * a", 2.0 * &a, &[3], &[2.0, 8.0, -4.0])?;
    close("-a", -&a, &[3], &[-1.0, -4.0, 2.0])?;
    close("affine", a.affine(3.0, 1.0), &[3], &[4.0, 13.0, -5.0])?;
    close("pow", b.pow(&a), &[3], &[2.0, 0.0625, 0.0625])?;
    close("power", b.power(2.0), &[3], &[4.0, 0.25, 16.0])?;
    close("square", a.square(), &[3], &[1.0, 16.0, 4.0])?;
    close("maximum", a.maximum(&b), &[3], &[2.0, 4.0, 4.0])?;
    close("minimum", a.minimum(&b), &[3], &[1.0, 0.5, -2.0])?;
    close("relu", a.relu(), &[3], &[1.0, 4.0, 0.0])?;
    close("sigmoid", a.sigmoid(), &[3], &[0.731_058_6, 0.982_013_8, 0.119_202_9])?;
    close("tanh", a.tanh(), &[3], &[0.761_594_2, 0.999_329_3, -0.964_027_6])?;
    close("exp", a.exp(), &[3], &[E, 54.598_15, 0.135_335_3])?;
    close("log", b.log(), &[3], &[LN_2, -LN_2, 2.0 * LN_2])?;
    close("sqrt", b.sqrt(), &[3], &[SQRT_2, FRAC_1_SQRT_2, 2.0])
}

fn products() -> Result {
    let a = Tensor::from_slice(&[2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    let b = Tensor::from_slice(&[3, 1], &[1.0_f32, 0.0, -1.0])?;
    close("matmul", a.matmul(&b), &[2, 1], &[-2.0, -2.0])?;
    close("matmul_tn", a.matmul_tn(&Tensor::ones(Float32, &[2, 1])?), &[3, 1], &[5.0, 7.0, 9.0])?;
    close("matmul_nt", a.matmul_nt(&Tensor::ones(Float32, &[1, 3])?), &[2, 1], &[6.0, 15.0])?;
    let bias = Tensor::from_slice(&[1], &[1.0_f32])?;
    close("linear", a.linear(&b, Some(&bias), Activation::None), &[2, 1], &[-1.0, -1.0])?;
    close("linear, relu", a.linear(&b, None, Activation::Relu), &[2, 1], &[0.0, 0.0])?;
    close("linear, tanh", a.linear(&b, None, Activation::Tanh), &[2, 1], &[-0.964_027_6, -0.964_027_6])?;
    close("linear, sigmoid", a.linear(&b, None, Activation::Sigmoid), &[2, 1], &[0.119_202_9, 0.119_202_9])?;
    let logits = Tensor::from_slice(&[1, 3], &[1.0_f32, 2.0, 3.0])?;
    close("softmax", logits.softmax(-1), &[1, 3], &[0.090_030_6, 0.244_728_5, 0.665_240_9])?;
    close("log_softmax", logits.log_softmax(1), &[1, 3], &[-2.407_606, -1.407_606, -0.407_606])?;
    let image = Tensor::from_slice(&[1, 2, 3, 1], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    let kernel = Tensor::from_slice(&[2, 2, 1, 1], &[1.0_f32, 0.0, 0.0, -1.0])?;
    close("conv2d", image.conv2d(&kernel, None, Convolution::default()), &[1, 1, 2, 1], &[-4.0, -4.0])?;
    let with = Convolution { stride: 2, padding: 1, activation: Activation::Relu };
    close("conv2d, padded", image.conv2d(&kernel, Some(&bias), with), &[1, 2, 2, 1], &[0.0, 0.0, 1.0, 6.0])?;
    close("max_pool2d", image.max_pool2d(2, 1), &[1, 1, 2, 1], &[5.0, 6.0])?;
    let near = Tensor::from_slice(&[1, 1], &[1.000_244_1_f32])?;
    let one = Tensor::ones(Float32, &[1, 1])?;
    set_compute(Compute::Tf32)?;
    same("matmul of factors of 10 bits", near.matmul(&one), &[1, 1], &[1.0_f32])?;
    set_compute(Compute::Bf16)?;
    same("matmul of factors of 7 bits", Tensor::full(Float32, &[1, 1], 1.003)?.matmul(&one), &[1, 1], &[1.0_f32])?;
    set_compute(Compute::Strict)?;
    same("matmul with all bits", near.matmul(&one), &[1, 1], &[1.000_244_1_f32])?;
    let label = Tensor::from_slice(&[1], &[2_i32])?;
    close("cross_entropy", logits.cross_entropy(&label), &[], &[0.407_606])
}

fn reductions() -> Result {
    let a = Tensor::from_slice(&[2, 3], &[1.0_f32, 5.0, 3.0, 4.0, 2.0, 6.0])?;
    close("sum", a.sum(&[0]), &[3], &[5.0, 7.0, 9.0])?;
    close("sum of all", a.sum(&[]), &[], &[21.0])?;
    close("mean", a.mean(&[-1]), &[2], &[3.0, 4.0])?;
    close("max", a.max(&[1]), &[2], &[5.0, 6.0])?;
    close("sum_keep", a.sum_keep(&[1]), &[2, 1], &[9.0, 12.0])?;
    close("mean_keep", a.mean_keep(&[0]), &[1, 3], &[2.5, 3.5, 4.5])?;
    close("max_keep", a.max_keep(&[0, 1]), &[1, 1], &[6.0])?;
    same("arg_max", a.arg_max(-1), &[2], &[1_i64, 2])?;
    equal("item", a.sum(&[])?.item()?, 21.0)
}

fn comparisons() -> Result {
    let a = Tensor::from_slice(&[3], &[1_i32, 2, 3])?;
    let b = Tensor::from_slice(&[3], &[3_i32, 2, 1])?;
    same("equal", a.equal(&b), &[3], &[false, true, false])?;
    same("less", a.less(&b), &[3], &[true, false, false])?;
    same("less_equal", a.less_equal(&b), &[3], &[true, true, false])?;
    same("greater", a.greater(&b), &[3], &[false, false, true])?;
    same("greater_equal", a.greater_equal(&b), &[3], &[false, true, true])?;
    same("choose", a.less(&b)?.choose(&a, &b), &[3], &[1, 2, 1])?;
    let x = Tensor::from_slice(&[3], &[-1.9_f32, 300.0, f32::NAN])?;
    same("cast to uint8", x.cast(Uint8), &[3], &[0_u8, 255, 0])?;
    same("cast to int32", x.cast(Int32), &[3], &[-1, 300, 0])
}

fn shapes() -> Result {
    let a = Tensor::range(Int32, 0.0, 6, 1.0)?.reshape(&[2, 3])?;
    same("reshape", a.reshape(&[3, 2]), &[3, 2], &[0, 1, 2, 3, 4, 5])?;
    same("transpose", a.transpose(&[1, 0]), &[3, 2], &[0, 3, 1, 4, 2, 5])?;
    same("slice", a.slice(1, 1, 2), &[2, 2], &[1, 2, 4, 5])?;
    same("rows", a.rows(1, 1), &[1, 3], &[3, 4, 5])?;
    let picked = Tensor::from_slice(&[2], &[1_i64, 1])?;
    same("gather", a.gather(0, &picked), &[2, 3], &[3, 4, 5, 3, 4, 5])?;
    let ids = Tensor::from_slice(&[3], &[2_i64, 0, 9])?;
    same("one_hot", ids.one_hot(3, Float32), &[3, 3], &[0.0_f32, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])?;
    quern_udf::step()?;
    quern_udf::sync()
}
