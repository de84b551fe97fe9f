//! Random numbers on CUDA, the same bits as on the processor.

use super::Random;
use crate::tensor::call::Operands;
use crate::tensor::cuda::{Arg, Family, Recorder, sort, tag};

const FAMILY: Family = Family { name: "random", text: include_str!("kernels.cu") };

impl Random {
    /// Records its execution; `param` is where its parameters begin.
    pub(crate) fn record(self, call: &Operands, param: usize, on: &mut Recorder) {
        let output = call.output(0);
        let (n, params) = (output.elements(), on.params(param));
        let (name, drawn) = match self {
            Self::Permutation => {
                let pairs = sort::Pairs::with_values(n, (*output).into(), on);
                let args = vec![params, pairs.keys.clone(), pairs.values.clone(), Arg::U64(n as u64)];
                on.each(on.plain_kernel(&FAMILY, "keys"), n, args);
                // An even number of passes ends where it began: in the output.
                pairs.sort(u64::BITS, on);
                return;
            }
            Self::Uniform => ("uniform", 4),
            Self::Normal => ("normal", 2),
        };
        let kernel = on.kernel(&FAMILY, ("DISTRIBUTIONS", output.dtype), &format!("{name}_{}", tag(output.dtype)));
        on.each(kernel, n.div_ceil(drawn), vec![params, (*output).into(), Arg::U64(n as u64)]);
    }
}
