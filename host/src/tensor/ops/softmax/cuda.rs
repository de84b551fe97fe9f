//! Softmax and its kin on CUDA.

use super::Probability;
use crate::tensor::call::{Operands, View};
use crate::tensor::cuda::{Arg, Family, Grid, Recorder, integer_kind, tag};

const FAMILY: Family = Family { name: "softmax", text: include_str!("kernels.cu") };

/// Threads of a block.
const THREADS: usize = 256;

impl Probability {
    /// Records its execution.
    pub(crate) fn record(self, call: &Operands, on: &mut Recorder) {
        match self {
            Self::Softmax { axis } => lanes(call, axis, "softmax", on),
            Self::LogSoftmax { axis } => lanes(call, axis, "log_softmax", on),
            Self::SoftmaxGrad { axis } => lanes(call, axis, "softmax_gradient", on),
            Self::LogSoftmaxGrad { axis } => lanes(call, axis, "log_softmax_gradient", on),
            Self::CrossEntropy => cross_entropy(call, on),
            Self::CrossEntropyGrad => {
                let [d, logits, labels] = [0, 1, 2].map(|i| *call.input(i));
                let kind = Arg::U64(integer_kind(labels.dtype));
                let (sizes, grid) = rows(&logits);
                let args = [d.into(), logits.into(), labels.into(), kind, (*call.output(0)).into()];
                on.launch(kernel(on, &logits, "row_gradients"), grid, args.into_iter().chain(sizes).collect());
            }
        }
    }
}

fn kernel(on: &Recorder, of: &View, name: &str) -> crate::tensor::cuda::Named {
    on.kernel(&FAMILY, ("PROBABILITIES", of.dtype), &format!("{name}_{}", tag(of.dtype)))
}

/// Threads along a lane of neighbours and lanes in a block.
fn grid(lanes: usize, extent: usize, inner: usize) -> Grid {
    let along = if inner == 1 { extent.next_power_of_two().clamp(1, THREADS) } else { 1 };
    let beside = THREADS / along;
    Grid::new(lanes.div_ceil(beside), [along, beside, 1])
}

fn lanes(call: &Operands, axis: usize, name: &str, on: &mut Recorder) {
    let output = call.output(0);
    let (outer, extent, inner) = output.shape.around(axis);
    let lanes = outer * inner;
    let operands = (0..call.inputs.len()).map(|i| (*call.input(i)).into()).chain([(*output).into()]);
    let sizes = [lanes, extent, inner].map(|n| Arg::U64(n as u64));
    on.launch(kernel(on, output, name), grid(lanes, extent, inner), operands.chain(sizes).collect());
}

/// Rows and classes of logits, and who computes them.
fn rows(logits: &View) -> ([Arg; 2], Grid) {
    let (rows, classes) = (logits.shape[0], logits.shape[1]);
    ([Arg::U64(rows as u64), Arg::U64(classes as u64)], grid(rows, classes, 1))
}

fn cross_entropy(call: &Operands, on: &mut Recorder) {
    let (logits, labels) = (call.input(0), call.input(1));
    let (sizes, grid) = rows(logits);
    let n = logits.shape[0];
    let losses = on.scratch(n * size_of::<f64>());
    if n > 0 {
        let kind = Arg::U64(integer_kind(labels.dtype));
        let args = [(*logits).into(), (*labels).into(), kind, losses.clone()];
        on.launch(kernel(on, logits, "row_losses"), grid, args.into_iter().chain(sizes).collect());
    }
    let args = vec![losses, (*call.output(0)).into(), Arg::U64(n as u64)];
    on.launch(kernel(on, logits, "mean_loss"), Grid::new(1, [THREADS, 1, 1]), args);
}
