//! Reductions on CUDA; how work is cut depends on shapes only.

use super::{Kind, Reduce};
use crate::tensor::call::Operands;
use crate::tensor::cuda::{Arg, Family, Grid, Recorder, tag};

const FAMILY: Family = Family { name: "reduce", text: include_str!("kernels.cu") };

/// Length of a block of the reduced dimension where its elements are neighbours.
const LONG: usize = 1 << 14;

/// Length of a block where they are not.
const SHORT: usize = 1 << 10;

/// Threads of a block.
const THREADS: usize = 256;

/// Bytes of a partial result, at most.
const STATE_BYTES: usize = 8;

impl Reduce {
    /// Records its execution.
    pub(crate) fn record(self, call: &Operands, on: &mut Recorder) {
        let (input, output) = (call.input(0), call.output(0));
        let (outer, reduced, inner) = input.shape.around_range(self.start, self.end);
        let results = outer * inner;
        let length = if inner == 1 { LONG } else { SHORT };
        let blocks = reduced.div_ceil(length).max(1);
        let scale = if self.kind == Kind::Mean { 1.0 / reduced as f64 } else { 1.0 };
        let name = if self.kind == Kind::Max { "max" } else { "sum" };
        let dtype = output.dtype;
        let kernel =
            |on: &Recorder, name: &str| on.kernel(&FAMILY, ("REDUCTIONS", dtype), &format!("{name}_{}", tag(dtype)));
        let partial = if blocks > 1 { on.scratch(blocks * results * STATE_BYTES) } else { Arg::NULL };
        let x = inner.next_power_of_two().min(32);
        let y = reduced.min(length).next_power_of_two().clamp(1, THREADS / x);
        let z = outer.next_power_of_two().min(THREADS / (x * y)).min(64);
        let items = blocks * inner.div_ceil(x) * outer.div_ceil(z);
        let sizes = [outer, reduced, inner, length, blocks].map(|n| Arg::U64(n as u64));
        let args =
            [(*input).into(), (*output).into(), partial.clone()].into_iter().chain(sizes).chain([Arg::F64(scale)]);
        on.launch(kernel(on, name), Grid::new(items, [x, y, z]), args.collect());
        if blocks > 1 {
            let sizes = [Arg::U64(results as u64), Arg::U64(blocks as u64), Arg::F64(scale)];
            let args = [partial, (*output).into()].into_iter().chain(sizes);
            on.each(kernel(on, &format!("{name}_up")), results, args.collect());
        }
    }
}
