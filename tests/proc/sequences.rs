//! Arbitrary sequences of calls across the boundary: planned execution gives what
//! unplanned execution gives, to the bit and to the word, and nothing is left.

use std::time::{Duration, Instant};

use crate::support::repeats;
use crate::support::sequence::sequence;

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
            data.extend([60, 1]);
            data.extend_from_within(..);
        }
        data
    }
}

#[test]
fn arbitrary_sequences_of_calls_give_the_same_in_both_ways() {
    let mut noise = Noise(2026);
    for _ in 0..repeats(2_000, 500_000) {
        sequence(&noise.sequence());
    }
    // `make fuzz`: as many as the time allows, other ones each time unless a seed is given.
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seconds) = given("QUERN_FUZZ_SECONDS") {
        let begun = Instant::now();
        let seed = given("QUERN_FUZZ_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1);
        println!("seed {seed}");
        let mut noise = Noise(seed);
        let mut executions = 0;
        while begun.elapsed() < Duration::from_secs(seconds) {
            sequence(&noise.sequence());
            executions += 2;
        }
        println!("{executions} executions in {seconds} s");
    }
}
