//! Moves on CUDA, in the largest units that fit.

use super::Layout;
use crate::tensor::call::{Operands, View};
use crate::tensor::cuda::{Arg, Family, Recorder, unit};
use crate::tensor::shape::MAX_RANK;

const FAMILY: Family = Family { name: "layout", text: include_str!("kernels.cu") };

impl Layout {
    /// Records its execution; `param` is where its parameters begin.
    pub(crate) fn record(self, call: &Operands, param: usize, on: &mut Recorder) {
        let (input, output) = (call.input(0), call.output(0));
        match self {
            // A view, which is never executed.
            Self::Reshape => {}
            Self::Copy => on.copy(input, output),
            Self::Transpose { permutation } => transpose(input, output, &permutation, on),
            Self::Slice { axis } => rows(("slice", axis), (input, input, output), on.params(param), on),
            Self::Pad { axis } => rows(("pad", axis), (output, input, output), on.params(param), on),
            Self::Concat { axis } => {
                let mut to = 0;
                for part in (0..call.inputs.len()).map(|i| call.input(i)) {
                    place(part, output, (axis, to), on);
                    to += part.shape[axis];
                }
            }
        }
    }
}

/// Slices and pads: rows of the short operand in rows of the `long` one.
fn rows((name, axis): (&str, usize), (long, input, output): (&View, &View, &View), start: Arg, on: &mut Recorder) {
    let short = if name == "slice" { output } else { input };
    let (outer, whole, inner) = long.shape.around(axis);
    let row = inner * input.dtype.size_bytes();
    let (unit, tag, kind) = unit(row, &[input, output]);
    let scale = row / unit;
    let kernel = on.kernel_of(&FAMILY, &format!("MOVES({tag}, {kind})"), &format!("{name}_{tag}"));
    let sizes = [outer, whole * scale, short.shape[axis] * scale].map(|n| Arg::U64(n as u64));
    let args = [(*input).into(), (*output).into()].into_iter().chain(sizes).chain([start, Arg::U64(scale as u64)]);
    on.each(kernel, output.elements() * input.dtype.size_bytes() / unit, args.collect());
}

/// One part of a concatenation, at position `to` of the axis.
fn place(part: &View, output: &View, (axis, to): (usize, usize), on: &mut Recorder) {
    let (outer, run, inner) = part.shape.around(axis);
    let row = inner * part.dtype.size_bytes();
    let (unit, tag, kind) = unit(row, &[part, output]);
    let scale = row / unit;
    let kernel = on.kernel_of(&FAMILY, &format!("MOVES({tag}, {kind})"), &format!("place_{tag}"));
    let sizes = [outer, output.shape[axis] * scale, run * scale, to * scale].map(|n| Arg::U64(n as u64));
    let args = [(*part).into(), (*output).into()].into_iter().chain(sizes);
    on.each(kernel, outer * run * scale, args.collect());
}

fn transpose(input: &View, output: &View, permutation: &[u8; MAX_RANK], on: &mut Recorder) {
    let own = input.shape.strides();
    let rank = output.shape.len();
    let (mut shape, mut strides) = ([0; MAX_RANK], [0; MAX_RANK]);
    for i in 0..rank {
        shape[i] = output.shape[i] as u64;
        strides[i] = own[usize::from(permutation[i])] as u64;
    }
    let (_, tag, kind) = unit(input.dtype.size_bytes(), &[]);
    let kernel = on.kernel_of(&FAMILY, &format!("MOVES({tag}, {kind})"), &format!("transpose_{tag}"));
    let n = output.elements();
    let sizes = [Arg::U64(n as u64), Arg::U64(rank as u64)];
    let dims = [Arg::Words(shape.to_vec()), Arg::Words(strides.to_vec())];
    on.each(kernel, n, [(*input).into(), (*output).into()].into_iter().chain(sizes).chain(dims).collect());
}
