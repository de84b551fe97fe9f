//! Products on CUDA, by cuBLAS; bias and activation by a kernel after it.

use super::{Activation, Matrix, Transposed};
use crate::base::DType;
use crate::device::cuda::Compute;
use crate::tensor::MAX_RANK;
use crate::tensor::call::{Operands, View};
use crate::tensor::cuda::{Arg, Family, Product, Products, Recorder, tag};
use crate::tensor::shape::Shape;

const FAMILY: Family = Family { name: "matrix", text: include_str!("kernels.cu") };

impl Matrix {
    /// Records its execution.
    pub(crate) fn record(self, call: &Operands, on: &mut Recorder) {
        match self {
            Self::MatMul { transposed, compute } => matmul(call, (transposed, compute), on),
            Self::Linear { activation, compute } => linear(call, (activation, compute), on),
        }
    }
}

/// The last two extents.
fn matrix(view: &View) -> (usize, usize) {
    let rank = view.shape.len();
    (view.shape[rank - 2], view.shape[rank - 1])
}

/// The dimensions before them.
fn leading(view: &View) -> Shape {
    // A part of a shape that was checked.
    Shape::new(&view.shape[..view.shape.len() - 2]).unwrap_or(Shape::SCALAR)
}

/// One strided-batched product for each position of the leading dimensions but the last
/// ones, along which both operands lie evenly.
fn matmul(call: &Operands, (transposed, compute): (Transposed, Compute), on: &mut Recorder) {
    let (a, b, out) = (call.input(0), call.input(1), call.output(0));
    let ((a0, a1), (b0, b1), (m, n)) = (matrix(a), matrix(b), matrix(out));
    let k = if transposed.a { a0 } else { a1 };
    if k == 0 {
        return on.zero(out);
    }
    let batch = leading(out);
    let (steps_a, steps_b) = (leading(a).strides_in(&batch), leading(b).strides_in(&batch));
    let evenly = |steps: &[usize; MAX_RANK], i: usize| steps[i] == steps[i + 1] * batch[i + 1];
    let mut first = batch.len().saturating_sub(1);
    while first > 0 && evenly(&steps_a, first - 1) && evenly(&steps_b, first - 1) {
        first -= 1;
    }
    let last = batch.len().checked_sub(1);
    let step = |steps: &[usize; MAX_RANK]| last.map_or(0, |last| steps[last]);
    let together = batch[first.min(batch.len())..].iter().product();
    let size = out.dtype.size_bytes();
    let in_bytes = |steps: [usize; MAX_RANK], elements: usize| steps.map(|step| step * elements * size);
    on.products(Products {
        first: Product {
            a: a.ptr as u64,
            b: b.ptr as u64,
            c: out.ptr as u64,
            extents: [m, n, k],
            transposed,
            dtype: out.dtype,
            out: out.dtype,
            compute,
            batch: together,
            strides: [step(&steps_a) * a0 * a1, step(&steps_b) * b0 * b1, m * n],
        },
        // A part of a shape that was checked.
        outer: Shape::new(&batch[..first]).unwrap_or(Shape::SCALAR),
        a_bytes: in_bytes(steps_a, a0 * a1),
        b_bytes: in_bytes(steps_b, b0 * b1),
        c_bytes: together * m * n * size,
    });
}

/// Half-precision operands are multiplied into single precision, which is rounded once.
fn linear(call: &Operands, (activation, compute): (Activation, Compute), on: &mut Recorder) {
    let (x, w, out) = (call.input(0), call.input(1), call.output(0));
    let ((m, k), (_, n)) = (matrix(x), matrix(w));
    let half = matches!(out.dtype, DType::F16 | DType::BF16);
    let elements = out.elements();
    let product = if half { on.scratch(elements * size_of::<f32>()) } else { (*out).into() };
    let address = if let Arg::Address(address) = product { address } else { 0 };
    let work = if half { DType::F32 } else { out.dtype };
    if k == 0 {
        on.zero_bytes(address, elements * work.size_bytes());
    } else {
        on.product(Product {
            a: x.ptr as u64,
            b: w.ptr as u64,
            c: address,
            extents: [m, n, k],
            transposed: Transposed::default(),
            dtype: out.dtype,
            out: work,
            compute,
            batch: 1,
            strides: [0; 3],
        });
    }
    let bias = (call.inputs.len() > 2).then(|| *call.input(2));
    if half || bias.is_some() || activation != Activation::None {
        let code = match activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Sigmoid => 2,
            Activation::Tanh => 3,
        };
        let kernel = on.kernel(&FAMILY, ("FINISHES", out.dtype), &format!("finish_{}", tag(out.dtype)));
        let sizes = [elements as u64, n as u64, code].map(Arg::U64);
        let args = [product, bias.map_or(Arg::NULL, Arg::from), (*out).into()];
        on.each(kernel, elements, args.into_iter().chain(sizes).collect());
    }
}
