//! Updates on CUDA: one launch for up to [`VARIABLES`] variables.

use super::Update;
use crate::tensor::call::Operands;
use crate::tensor::cuda::{Arg, Family, Grid, Recorder, tag};

const FAMILY: Family = Family { name: "optimiser", text: include_str!("kernels.cu") };

/// Variables of one launch at most, as in `kernels.cu`.
const VARIABLES: usize = 24;

/// Elements of a piece, as in `kernels.cu`.
const PIECE: usize = 1024;

/// Groups of tensors in a table, as in `kernels.cu`.
const GROUPS: usize = 4;

/// Threads of a block.
const THREADS: usize = 256;

impl Update {
    /// Records its execution; `param` is where its parameters begin.
    pub(crate) fn record(self, call: &Operands, param: usize, on: &mut Recorder) {
        let (name, states) = match self {
            Self::Assign => return on.copy(call.input(1), call.output(0)),
            Self::Adam => ("adam", 2),
            Self::Sgd { momentum: true } => ("momentum", 1),
            Self::Sgd { momentum: false } => ("sgd", 0),
        };
        let count = call.outputs.len() / (states + 1);
        // One launch has variables of one type.
        let mut order: Vec<usize> = (0..count).filter(|i| call.output(*i).elements() > 0).collect();
        order.sort_by_key(|i| tag(call.output(*i).dtype));
        for same in order.chunk_by(|a, b| call.output(*a).dtype == call.output(*b).dtype) {
            for part in same.chunks(VARIABLES) {
                let dtype = call.output(part[0]).dtype;
                let (words, pieces) = table(call, part, (count, states + 2));
                let kernel = on.kernel(&FAMILY, ("OPTIMISERS", dtype), &format!("{name}_{}", tag(dtype)));
                on.launch(kernel, Grid::exactly(pieces, THREADS), vec![on.params(param), Arg::Words(words)]);
            }
        }
    }
}

/// `Table` of `kernels.cu` for some of `count` variables in `groups` groups, the last
/// of which are gradients; and the number of pieces.
fn table(call: &Operands, part: &[usize], (count, groups): (usize, usize)) -> (Vec<u64>, usize) {
    let mut words = vec![0; 1 + GROUPS * VARIABLES + VARIABLES + VARIABLES + 1];
    words[0] = part.len() as u64;
    let mut pieces = 0;
    for (at, i) in part.iter().enumerate() {
        for group in 0..groups {
            let view =
                if group + 1 < groups { call.output(group * count + i) } else { call.input(call.outputs.len() + i) };
            words[1 + group * VARIABLES + at] = view.ptr as u64;
        }
        let elements = call.output(*i).elements();
        words[1 + GROUPS * VARIABLES + at] = elements as u64;
        words[1 + (GROUPS + 1) * VARIABLES + at] = pieces as u64;
        pieces += elements.div_ceil(PIECE);
    }
    words[1 + (GROUPS + 1) * VARIABLES + part.len()] = pieces as u64;
    (words, pieces)
}
