//! Element types as Rust types: what kernels are generic over.
//!
//! Half-precision types compute in `f32` and round after every operation, so a
//! fused chain gives the same bits as its parts.

use half::{bf16, f16};

use crate::base::DType;

/// A boolean element, one byte, 0 or 1.
#[derive(Clone, Copy, Default, PartialEq)]
#[repr(transparent)]
pub(crate) struct Bool(pub(crate) u8);

/// One element as it lies in memory. Every bit pattern is valid.
pub(crate) trait Element: Copy + Default + Send + Sync + 'static {
    /// Its tag.
    const DTYPE: DType;
    /// What arithmetic on it happens in.
    type Work: Number;
    /// To the type of arithmetic, exactly.
    fn widen(self) -> Self::Work;
    /// Back, rounded to nearest.
    fn narrow(work: Self::Work) -> Self;
}

/// A type of arithmetic. Integers wrap around.
pub(crate) trait Number: Copy + PartialOrd + Default + Send + Sync + 'static {
    /// What many of them are added up in.
    type Sum: Copy + Default + Send + Sync;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn to_f64(self) -> f64;
    /// Rounds to a float, truncates and saturates to an integer.
    fn from_f64(value: f64) -> Self;
    fn to_sum(self) -> Self::Sum;
    fn add_sums(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    fn from_sum(sum: Self::Sum) -> Self;
    /// A sum times a factor; integers have none but 1.
    fn scale_sum(sum: Self::Sum, factor: f64) -> Self::Sum;
    /// Whether it is not a number.
    #[expect(clippy::eq_op, reason = "only NaN differs from itself, in every number type")]
    fn is_nan(self) -> bool {
        self != self
    }
}

/// Floating-point arithmetic.
pub(crate) trait Real: Number {
    /// Far below what can matter, far above the denormal numbers, which processors
    /// compute with a hundred times slower.
    const TINY: Self;
    /// The square of anything smaller is denormal.
    const TINY_ROOT: Self;
    /// Zero where its magnitude is below `bound`.
    fn flushed(self, bound: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn sqrt(self) -> Self;
    fn tanh(self) -> Self;
    fn powf(self, exponent: Self) -> Self;
    /// 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
}

/// Conversion as `cast` does it.
pub(crate) trait Convert<To> {
    fn convert(self) -> To;
}

macro_rules! integers {
    ($($t:ty, $sum:ty, $dtype:ident;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            type Work = $t;
            #[inline(always)] fn widen(self) -> $t { self }
            #[inline(always)] fn narrow(work: $t) -> $t { work }
        }
        impl Number for $t {
            type Sum = $sum;
            const ONE: Self = 1;
            #[inline(always)] fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)] fn minus(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)] fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)] fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)] fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)] fn to_sum(self) -> $sum { self as $sum }
            #[inline(always)] fn add_sums(a: $sum, b: $sum) -> $sum { a.wrapping_add(b) }
            #[inline(always)] fn from_sum(sum: $sum) -> Self { sum as $t }
            #[inline(always)] fn scale_sum(sum: $sum, _factor: f64) -> $sum { sum }
        }
    )*};
}

integers! {
    i8, i64, I8; i16, i64, I16; i32, i64, I32; i64, i64, I64;
    u8, u64, U8; u16, u64, U16; u32, u64, U32; u64, u64, U64;
}

macro_rules! floats {
    ($($t:ty, $dtype:ident, $exp:expr, $tanh:expr, $tiny:expr, $root:expr;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            type Work = $t;
            #[inline(always)] fn widen(self) -> $t { self }
            #[inline(always)] fn narrow(work: $t) -> $t { work }
        }
        impl Number for $t {
            type Sum = f64;
            const ONE: Self = 1.0;
            #[inline(always)] fn plus(self, other: Self) -> Self { self + other }
            #[inline(always)] fn minus(self, other: Self) -> Self { self - other }
            #[inline(always)] fn times(self, other: Self) -> Self { self * other }
            #[inline(always)] fn to_f64(self) -> f64 { f64::from(self) }
            #[inline(always)] fn from_f64(value: f64) -> Self { value as $t }
            #[inline(always)] fn to_sum(self) -> f64 { f64::from(self) }
            #[inline(always)] fn add_sums(a: f64, b: f64) -> f64 { a + b }
            #[inline(always)] fn from_sum(sum: f64) -> Self { sum as $t }
            #[inline(always)] fn scale_sum(sum: f64, factor: f64) -> f64 { sum * factor }
        }
        impl Real for $t {
            const TINY: Self = <$t>::from_bits($tiny);
            const TINY_ROOT: Self = <$t>::from_bits($root);
            #[inline(always)] fn flushed(self, bound: Self) -> Self { if self.abs() < bound { 0.0 } else { self } }
            #[inline(always)] fn over(self, other: Self) -> Self { self / other }
            #[inline(always)] fn exp(self) -> Self { $exp(self) }
            #[inline(always)] fn ln(self) -> Self { self.ln() }
            #[inline(always)] fn sqrt(self) -> Self { self.sqrt() }
            #[inline(always)] fn tanh(self) -> Self { $tanh(self) }
            #[inline(always)] fn powf(self, exponent: Self) -> Self { self.powf(exponent) }
            #[inline(always)] fn sigmoid(self) -> Self { 1.0 / (1.0 + $exp(-self)) }
        }
    )*};
}

floats! {
    f32, F32, exp_f32, tanh_f32, (127 - 100) << 23, (127 - 63) << 23;
    f64, F64, f64::exp, f64::tanh, (1023 - 900) << 52, (1023 - 511) << 52;
}

macro_rules! halves {
    ($($t:ty, $dtype:ident;)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            type Work = f32;
            #[inline(always)] fn widen(self) -> f32 { self.to_f32() }
            #[inline(always)] fn narrow(work: f32) -> $t { <$t>::from_f32(work) }
        }
    )*};
}

halves! { f16, F16; bf16, BF16; }

impl Element for Bool {
    const DTYPE: DType = DType::Bool;
    type Work = u8;
    #[inline(always)]
    fn widen(self) -> u8 {
        self.0
    }
    #[inline(always)]
    fn narrow(work: u8) -> Self {
        Self(u8::from(work != 0))
    }
}

/// eˣ without branches, so that loops over it vectorise; within 2 units in the
/// last place (polynomial of Cephes `expf`).
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.clamp(-104.0, 89.0);
    let n = (bounded * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = bounded - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4_f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let y = p * r * r + r + 1.0;
    // 2ⁿ in two factors, because n reaches beyond the exponents of normal numbers.
    let half = (n * 0.5 + ROUND) - ROUND;
    let power = |e: f32| f32::from_bits(((e + 127.0) as i32 as u32) << 23);
    let y = y * power(half) * power(n - half);
    if x.is_nan() { x } else { y }
}

/// tanh without branches (Cephes `tanhf`).
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3_f32;
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p * z + c;
    }
    let small = p * z * x + x;
    let large = 1.0 - 2.0 / (exp_f32(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 { small } else { large.copysign(x) }
}

macro_rules! convert {
    (wide $($from:ty)*) => {$(
        impl Convert<Bool> for $from {
            #[inline(always)] fn convert(self) -> Bool { Bool(u8::from(self != 0 as $from)) }
        }
        impl Convert<f32> for $from { #[inline(always)] fn convert(self) -> f32 { self as f32 } }
        impl Convert<f64> for $from { #[inline(always)] fn convert(self) -> f64 { self as f64 } }
        impl Convert<f16> for $from { #[inline(always)] fn convert(self) -> f16 { f16::from_f64(self as f64) } }
        impl Convert<bf16> for $from { #[inline(always)] fn convert(self) -> bf16 { bf16::from_f64(self as f64) } }
    )*};
    (integer $($from:ty)*) => {$( convert! { one_integer $from => i8 i16 i32 i64 u8 u16 u32 u64 } )*};
    (one_integer $from:ty => $($to:ty)*) => {$(
        impl Convert<$to> for $from {
            #[inline(always)]
            fn convert(self) -> $to { (self as i128).clamp(<$to>::MIN as i128, <$to>::MAX as i128) as $to }
        }
    )*};
    (float $($from:ty)*) => {$( convert! { one_float $from => i8 i16 i32 i64 u8 u16 u32 u64 } )*};
    (one_float $from:ty => $($to:ty)*) => {$(
        impl Convert<$to> for $from { #[inline(always)] fn convert(self) -> $to { self as $to } }
    )*};
    (through $($from:ty, $inner:expr;)*) => {$(
        convert! { one_through $from, $inner => Bool i8 i16 i32 i64 u8 u16 u32 u64 f16 bf16 f32 f64 }
    )*};
    (one_through $from:ty, $inner:expr => $($to:ty)*) => {$(
        impl Convert<$to> for $from { #[inline(always)] fn convert(self) -> $to { $inner(self).convert() } }
    )*};
}

convert! { wide i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 }
convert! { integer i8 i16 i32 i64 u8 u16 u32 u64 }
convert! { float f32 f64 }
convert! { through Bool, |b: Bool| b.0; f16, f16::to_f32; bf16, bf16::to_f32; }

/// Runs `$body` with `$T` bound to the Rust type of `$dtype`, one of those listed
/// after the class; other types take `$other`.
macro_rules! with_dtype {
    (@match $dtype:expr, $T:ident, $body:expr, $other:expr; $($variant:ident $t:ty),*) => {
        match $dtype {
            $(crate::base::DType::$variant => { type $T = $t; $body })*
            #[allow(unreachable_patterns)]
            other => $other(other),
        }
    };
    (float $dtype:expr, $T:ident => $body:expr, $other:expr) => {
        $crate::tensor::element::with_dtype!(@match $dtype, $T, $body, $other;
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16)
    };
    (integer $dtype:expr, $T:ident => $body:expr, $other:expr) => {
        $crate::tensor::element::with_dtype!(@match $dtype, $T, $body, $other; I8 i8, I16 i16, I32 i32, I64 i64,
            U8 u8, U16 u16, U32 u32, U64 u64)
    };
    (any $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            crate::base::DType::Bool => { type $T = $crate::tensor::element::Bool; $body }
            crate::base::DType::I8 => { type $T = i8; $body }
            crate::base::DType::I16 => { type $T = i16; $body }
            crate::base::DType::I32 => { type $T = i32; $body }
            crate::base::DType::I64 => { type $T = i64; $body }
            crate::base::DType::U8 => { type $T = u8; $body }
            crate::base::DType::U16 => { type $T = u16; $body }
            crate::base::DType::U32 => { type $T = u32; $body }
            crate::base::DType::U64 => { type $T = u64; $body }
            crate::base::DType::F16 => { type $T = half::f16; $body }
            crate::base::DType::BF16 => { type $T = half::bf16; $body }
            crate::base::DType::F32 => { type $T = f32; $body }
            crate::base::DType::F64 => { type $T = f64; $body }
        }
    };
}
pub(crate) use with_dtype;
