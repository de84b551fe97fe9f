//! A stable sort of pairs of 64-bit numbers by the first of them, in scratch memory.

use super::library::Family;
use super::recorder::{Arg, Grid, Recorder};

const FAMILY: Family = Family { name: "sort", text: include_str!("sort.cu") };

/// Bits of the key that one pass looks at, as in `sort.cu`.
const DIGIT_BITS: u32 = 4;

/// Threads of a block, as in `sort.cu`.
const THREADS: usize = 256;

/// Elements of a tile, as in `sort.cu`.
const TILE: usize = 2048;

/// `n` keys and their values.
pub(crate) struct Pairs {
    /// Address of the keys.
    pub(crate) keys: Arg,
    /// Address of the values.
    pub(crate) values: Arg,
    n: usize,
}

impl Pairs {
    /// Room for `n` pairs.
    pub(crate) fn new(n: usize, on: &mut Recorder) -> Self {
        let values = on.scratch(8 * n);
        Self::with_values(n, values, on)
    }

    /// Room for `n` keys whose values are at an address already.
    pub(crate) fn with_values(n: usize, values: Arg, on: &mut Recorder) -> Self {
        Self { keys: on.scratch(8 * n), values, n }
    }

    /// Records the sort by the lowest `bits` of the keys, the only ones that are not 0.
    /// The result is where the pairs were after an even number of passes, else elsewhere.
    pub(crate) fn sort(self, bits: u32, on: &mut Recorder) -> Self {
        if self.n == 0 {
            return self;
        }
        let (mut from, mut to) = (self, None);
        let tiles = from.n.div_ceil(TILE);
        let numbers = tiles << DIGIT_BITS;
        let histogram = on.scratch(8 * numbers);
        let n = Arg::U64(from.n as u64);
        for shift in (0..bits).step_by(DIGIT_BITS as usize) {
            let target = to.take().unwrap_or_else(|| Self::new(from.n, on));
            let shift = Arg::U64(u64::from(shift));
            let grid = Grid::exactly(tiles, THREADS);
            let args = vec![from.keys.clone(), n.clone(), shift.clone(), histogram.clone()];
            on.launch(on.plain_kernel(&FAMILY, "sort_count"), grid, args);
            let args = vec![histogram.clone(), Arg::U64(numbers as u64)];
            on.launch(on.plain_kernel(&FAMILY, "sort_sum"), Grid::exactly(1, THREADS), args);
            let read = [from.keys.clone(), from.values.clone(), n.clone(), shift, histogram.clone()];
            let args = read.into_iter().chain([target.keys.clone(), target.values.clone()]).collect();
            on.launch(on.plain_kernel(&FAMILY, "sort_move"), grid, args);
            to = Some(std::mem::replace(&mut from, target));
        }
        from
    }
}
