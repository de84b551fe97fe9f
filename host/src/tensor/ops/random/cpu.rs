//! Philox, Box–Muller and permutations on the processor.
//!
//! Normals use only +, −, ×, ÷ and square root of doubles, which IEEE 754 defines to
//! the bit, in a fixed order and without contraction; logarithm, sine and cosine are
//! polynomials written out below.

use std::f64::consts::{LN_2, SQRT_2};

use super::Random;
use crate::base::Result;
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, with_dtype};

/// Blocks one thread draws at a time.
const CHUNK: usize = 1 << 12;

pub(super) fn run(op: Random, call: &Call) -> Result<()> {
    if op == Random::Permutation {
        return permutation(call);
    }
    with_dtype!(float call.output(0).dtype, T => match op {
        Random::Uniform => uniform::<T>(call),
        _ => normal::<T>(call),
    }, |_| Ok(()))
}

/// Where a call draws from.
#[derive(Clone, Copy)]
struct Stream {
    key: [u32; 2],
    call: [u32; 2],
    stream: u32,
}

impl Stream {
    fn of(call: &Call) -> Self {
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        Self { key: halves(call.word(0)), call: halves(call.word(1)), stream: call.word(2) as u32 }
    }

    /// 128 random bits.
    #[inline]
    fn block(self, block: usize) -> [u32; 4] {
        philox([block as u32, self.call[0], self.call[1], self.stream], self.key)
    }

    /// 2 times 64 random bits.
    fn words(self, block: usize) -> [u64; 2] {
        let [a, b, c, d] = self.block(block).map(u64::from);
        [a | b << 32, c | d << 32]
    }
}

/// Philox 4×32 with 10 rounds.
#[inline]
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [c0, c1, c2, c3] = counter;
        let (p0, p1) = (u64::from(c0) * 0xD251_1F53, u64::from(c2) * 0xCD9E_8D57);
        counter = [(p1 >> 32) as u32 ^ c1 ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ c3 ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

fn uniform<T: Element>(call: &Call) -> Result<()> {
    let (output, stream) = (call.output(0), Stream::of(call));
    let (low, high) = (call.float(3), call.float(4));
    // Rounding to a short type may reach `high`, which is excluded.
    let last = T::narrow(T::Work::from_f64(high));
    let below = |x: T| x.widen() < last.widen();
    call.lanes.split(output.elements().div_ceil(4), CHUNK, &|start, len| {
        let end = (start + len) * 4;
        // SAFETY: chunks are disjoint.
        let target = unsafe { output.slice_mut::<T>(start * 4, end.min(output.elements()) - start * 4) };
        for (block, values) in target.chunks_mut(4).enumerate() {
            for (y, word) in values.iter_mut().zip(stream.block(start + block)) {
                let u = f64::from(word) * (1.0 / 4_294_967_296.0);
                let x = T::narrow(T::Work::from_f64(low + (high - low) * u));
                *y = if below(x) { x } else { T::narrow(T::Work::from_f64(low)) };
            }
        }
    })
}

fn normal<T: Element>(call: &Call) -> Result<()> {
    let (output, stream) = (call.output(0), Stream::of(call));
    let (mean, std) = (call.float(3), call.float(4));
    call.lanes.split(output.elements().div_ceil(2), CHUNK, &|start, len| {
        let end = (start + len) * 2;
        // SAFETY: chunks are disjoint.
        let target = unsafe { output.slice_mut::<T>(start * 2, end.min(output.elements()) - start * 2) };
        for (block, values) in target.chunks_mut(2).enumerate() {
            let pair = box_muller(stream.words(start + block));
            for (y, z) in values.iter_mut().zip(pair) {
                *y = T::narrow(T::Work::from_f64(mean + std * z));
            }
        }
    })
}

/// Two independent standard normals from 2 times 64 random bits.
fn box_muller([a, b]: [u64; 2]) -> [f64; 2] {
    const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;
    // In (0, 1], so that the logarithm is finite.
    let u = ((a >> 11) + 1) as f64 * UNIT;
    let radius = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_turn((b >> 11) as f64 * UNIT);
    [radius * cos, radius * sin]
}

/// Natural logarithm of a normal positive number: exponent apart, then
/// ln m = 2 artanh((m − 1) / (m + 1)) for m in [√½, √2).
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m >= SQRT_2 {
        m *= 0.5;
        exponent += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 1.0 / 23.0;
    for k in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        p = p * z + 1.0 / k;
    }
    exponent * LN_2 + 2.0 * s * p
}

/// Sine and cosine of `turn` ∈ [0, 1) of a circle, by Taylor series in one eighth.
fn sin_cos_turn(turn: f64) -> (f64, f64) {
    let quarter = (turn * 4.0 + 0.5).floor();
    let x = (turn - quarter * 0.25) * std::f64::consts::TAU;
    let z = x * x;
    let (mut sin, mut cos) = (1.0, 1.0);
    for k in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sin = 1.0 - sin * z / (k * (k - 1.0));
    }
    for k in [16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0] {
        cos = 1.0 - cos * z / (k * (k - 1.0));
    }
    let (sin, cos) = (sin * x, cos);
    match quarter as u8 % 4 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Distributes keys into buckets by their upper bits and sorts those one by one.
fn permutation(call: &Call) -> Result<()> {
    let (output, stream) = (call.output(0), Stream::of(call));
    let count = output.elements();
    let bits = (count / 64).max(1).ilog2().clamp(0, 20);
    let bucket = |key: u64| if bits == 0 { 0 } else { (key >> (64 - bits)) as usize };
    let keys = |block: usize| stream.words(block).into_iter().zip(2 * block..count);
    let mut ends = vec![0usize; (1 << bits) + 1];
    let mut sorted = vec![(0u64, 0u32); count];
    let blocks = count.div_ceil(2);
    for start in (0..blocks).step_by(1 << 16) {
        for (key, _) in (start..blocks.min(start + (1 << 16))).flat_map(keys) {
            ends[bucket(key) + 1] += 1;
        }
        call.lanes.run(0, &|_| {})?;
    }
    for i in 1..ends.len() {
        ends[i] += ends[i - 1];
    }
    let starts = ends.clone();
    for start in (0..blocks).step_by(1 << 15) {
        for (key, position) in (start..blocks.min(start + (1 << 15))).flat_map(keys) {
            let place = &mut ends[bucket(key)];
            sorted[*place] = (key, position as u32);
            *place += 1;
        }
        call.lanes.run(0, &|_| {})?;
    }
    // SAFETY: the output is this call's, and one slice of it is made.
    let target = unsafe { output.slice_mut::<i64>(0, count) };
    for bounds in starts.windows(2) {
        if call.lanes.killed() {
            break;
        }
        let part = &mut sorted[bounds[0]..bounds[1]];
        part.sort_unstable();
        for (y, (_, position)) in target[bounds[0]..bounds[1]].iter_mut().zip(part) {
            *y = i64::from(*position);
        }
    }
    Ok(())
}
