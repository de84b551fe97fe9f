//! Picking and indices on CUDA.

use super::Index;
use crate::tensor::call::{Operands, View};
use crate::tensor::cuda::{Arg, Family, Grid, Recorder, integer_kind, sort, tag, unit};

const FAMILY: Family = Family { name: "index", text: include_str!("kernels.cu") };

/// Threads of a block.
const THREADS: usize = 256;

/// As many indices each element of a scatter looks at; more of them are sorted first.
const LOOKED_AT: usize = 2048;

impl Index {
    /// Records its execution.
    pub(crate) fn record(self, call: &Operands, on: &mut Recorder) {
        match self {
            Self::Gather { axis } => gather(call, axis, on),
            Self::ScatterAdd { axis } => scatter_add(call, axis, on),
            Self::ArgMax { axis } => arg_max(call, axis, on),
            Self::OneHot => {
                let (ids, output) = (call.input(0), call.output(0));
                let classes = output.shape.last().copied().unwrap_or_default();
                let kernel = on.kernel(&FAMILY, ("ONE_HOTS", output.dtype), &format!("one_hot_{}", tag(output.dtype)));
                let sizes = [ids.elements(), classes].map(|n| Arg::U64(n as u64));
                let args = [(*ids).into(), Arg::U64(integer_kind(ids.dtype)), (*output).into()];
                on.each(kernel, output.elements(), args.into_iter().chain(sizes).collect());
            }
        }
    }
}

/// Reports the first index outside the axis.
fn check(indices: &View, extent: usize, on: &mut Recorder) {
    let report = on.report(indices, extent);
    let sizes = [integer_kind(indices.dtype), indices.elements() as u64, extent as u64].map(Arg::U64);
    let args = [(*indices).into()].into_iter().chain(sizes).chain([report]);
    on.launch(on.plain_kernel(&FAMILY, "check"), Grid::new(1, [THREADS, 1, 1]), args.collect());
}

fn gather(call: &Operands, axis: usize, on: &mut Recorder) {
    let (input, indices, output) = (call.input(0), call.input(1), call.output(0));
    let (outer, extent, inner) = input.shape.around(axis);
    check(indices, extent, on);
    let size = input.dtype.size_bytes();
    let (unit, tag, name) = unit(inner * size, &[input, output]);
    let run = inner * size / unit;
    let kernel = on.kernel_of(&FAMILY, &format!("GATHERS({tag}, {name})"), &format!("gather_{tag}"));
    let sizes = [outer, extent, run, indices.elements()].map(|n| Arg::U64(n as u64));
    let args = [(*input).into(), (*indices).into(), Arg::U64(integer_kind(indices.dtype)), (*output).into()];
    on.each(kernel, output.elements() * size / unit, args.into_iter().chain(sizes).collect());
}

fn scatter_add(call: &Operands, axis: usize, on: &mut Recorder) {
    let (input, indices, output) = (call.input(0), call.input(1), call.output(0));
    let (outer, extent, inner) = output.shape.around(axis);
    let count = indices.elements();
    check(indices, extent, on);
    if output.elements() == 0 {
        return;
    }
    let kind = Arg::U64(integer_kind(indices.dtype));
    let sizes = [outer, extent, inner, count].map(|n| Arg::U64(n as u64));
    let named = |on: &Recorder, name: &str| {
        on.kernel(&FAMILY, ("SCATTERS", input.dtype), &format!("{name}_{}", tag(input.dtype)))
    };
    let args: Vec<Arg> = if count <= LOOKED_AT {
        vec![(*input).into(), (*indices).into(), kind, (*output).into()]
    } else {
        let pairs = sort::Pairs::new(count, on);
        let args =
            vec![(*indices).into(), kind, sizes[3].clone(), sizes[1].clone(), pairs.keys.clone(), pairs.values.clone()];
        on.each(on.plain_kernel(&FAMILY, "positions"), count, args);
        let sorted = pairs.sort((extent as u64).ilog2() + 1, on);
        vec![(*input).into(), sorted.keys, sorted.values, (*output).into()]
    };
    let kernel = named(on, if count <= LOOKED_AT { "scatter_add" } else { "scatter_sorted" });
    on.each(kernel, output.elements(), args.into_iter().chain(sizes).collect());
}

fn arg_max(call: &Operands, axis: usize, on: &mut Recorder) {
    let (input, output) = (call.input(0), call.output(0));
    let (outer, extent, inner) = input.shape.around(axis);
    let lanes = outer * inner;
    let along = if inner == 1 { extent.next_power_of_two().clamp(1, THREADS) } else { 1 };
    let beside = THREADS / along;
    let kernel = on.kernel(&FAMILY, ("ARG_MAXIMA", input.dtype), &format!("arg_max_{}", tag(input.dtype)));
    let sizes = [lanes, extent, inner].map(|n| Arg::U64(n as u64));
    let args = [(*input).into(), (*output).into()].into_iter().chain(sizes);
    on.launch(kernel, Grid::new(lanes.div_ceil(beside), [along, beside, 1]), args.collect());
}
