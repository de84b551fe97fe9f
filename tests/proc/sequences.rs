//! Arbitrary sequences of calls across the boundary: planned execution gives what
//! unplanned execution gives, to the bit and to the word, and nothing is left.
//! `make fuzz` tries many more, guided by coverage.

use crate::support::sequence::Sequences;
use crate::support::tests_folder;

/// Bytes that look random (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A sequence of up to 256 bytes; some repeat a part, so that programs come again.
    fn sequence(&mut self) -> Vec<u8> {
        let len = (self.next() % 128 + 1) as usize;
        let mut data: Vec<u8> = (0..len).map(|_| self.next() as u8).collect();
        if self.next().is_multiple_of(2) {
            // `step` between two turns of a loop.
            data.extend([60, 0]);
            data.extend_from_within(..);
        }
        data
    }
}

#[test]
fn arbitrary_sequences_of_calls_give_the_same_in_both_ways() {
    let sequences = Sequences::new();
    let mut noise = Noise(2026);
    for _ in 0..2_000 {
        sequences.compare(&noise.sequence());
    }
}

#[test]
fn sequences_that_fuzzing_found_give_the_same_in_both_ways() {
    let sequences = Sequences::new();
    for (folder, at_least) in [("corpus", 20), ("regressions", 1)] {
        let files: Vec<_> = std::fs::read_dir(tests_folder().join("fuzz").join(folder)).unwrap().collect();
        assert!(files.len() >= at_least, "{} files in {folder}", files.len());
        for file in files {
            sequences.compare(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}
