//! Random numbers.
//!
//! One generator, Philox 4×32-10 (Salmon et al. 2011): a function of key and
//! counter, so element i is the same whatever computes it and in which order.
//! * key: the run's seed, its low and high 32 bits;
//! * counter: (block, low and high half of the call's number, stream), where the
//!   stream is the instance's shard and calls count from 0 in each instance.
//!
//! A block gives 128 bits: 4 uniforms of 32 bits, 2 normals of 64 bits each or 2
//! sort keys. Uniforms are `low + (high − low) · u`, u = word · 2⁻³² (in double
//! precision, then rounded down into the range). Normals come by Box and Muller with
//! arithmetic that is exact to the bit on every device: see `cpu.rs`. A permutation
//! is the order of 64-bit keys, ties by position.

mod cpu;
mod cuda;

use crate::base::{DType, Error, Result};
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Which distribution. Parameters: seed, call, stream, then mean and standard
/// deviation, or low and high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Random {
    Normal,
    Uniform,
    Permutation,
}

impl Random {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }

    /// A permutation sorts keys with their positions, bucket by bucket.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        match self {
            Self::Permutation => operands.output(0).elements() * 2 * size_of::<(u64, u32)>(),
            Self::Normal | Self::Uniform => 0,
        }
    }
}

impl Session {
    /// Normal numbers. Floats.
    pub fn random_normal(&mut self, dtype: DType, shape: &[usize], mean: f64, std: f64) -> Result<Tensor> {
        self.random(Random::Normal, dtype, shape, [mean, std])
    }

    /// Uniform in `[low, high)`. Floats.
    pub fn random_uniform(&mut self, dtype: DType, shape: &[usize], low: f64, high: f64) -> Result<Tensor> {
        let increasing = low < high;
        if !increasing || !(high - low).is_finite() {
            return Err(Error::Invalid(format!(
                "random-uniform in [{low}, {high}); low must be below high, both finite"
            )));
        }
        self.random(Random::Uniform, dtype, shape, [low, high])
    }

    /// `[count]` int64: 0 … count − 1 in random order.
    pub fn random_permutation(&mut self, count: usize) -> Result<Tensor> {
        let shape = Shape::new(&[count])?;
        if u32::try_from(count).is_err() {
            return Err(Error::OutOfRange(format!("random-permutation of {count}; at most 2^32 − 1 numbers")));
        }
        let params = self.random_params([0.0, 0.0]);
        self.record(Op::Random(Random::Permutation), &[], params, DType::I64, shape)
    }

    fn random(&mut self, op: Random, dtype: DType, shape: &[usize], scalars: [f64; 2]) -> Result<Tensor> {
        if !dtype.is_float() {
            return Err(Error::TypeMismatch(format!(
                "random numbers need a float type, not {dtype}; cast them afterwards"
            )));
        }
        let shape = Shape::new(shape)?;
        let params = self.random_params(scalars);
        self.record(Op::Random(op), &[], params, dtype, shape)
    }

    fn random_params(&mut self, scalars: [f64; 2]) -> Params {
        let [seed, call, stream] = self.next_random();
        Params::words([seed, call, stream, scalars[0].to_bits(), scalars[1].to_bits()])
    }
}
