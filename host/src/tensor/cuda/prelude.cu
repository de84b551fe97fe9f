// What every kernel text begins with: element types and arithmetic on them, the
// same as in element.rs. Texts are compiled by NVRTC for the GPU and by g++ for
// tests, both without contraction, so that elementwise results have the bits of the
// processor's. Rules for all texts: no includes, no inline PTX, every parameter of a
// kernel has 8 bytes or is a struct of 64-bit words. A text defines its kernels as
// macros of a tag and a type; a line with one of these macros is put after it for each
// type that a program needs, such as REDUCTIONS(f32, f32).

typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

struct Truth { u8 bits; };
struct Half { u16 bits; };
struct Brain { u16 bits; };

// Extents or strides of at most 8 dimensions, outermost first.
struct Dims { u64 n[8]; };

#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
// Number of this thread, and how many there are: each takes every so manieth element.
#define FIRST (blockIdx.x * (u64)blockDim.x + threadIdx.x)
#define ALL_THREADS (gridDim.x * (u64)blockDim.x)

DEVICE f32 f32_of_bits(u32 bits) { return __int_as_float((i32)bits); }
DEVICE u32 bits_of_f32(f32 x) { return (u32)__float_as_int(x); }
DEVICE f64 f64_of_bits(u64 bits) { return __longlong_as_double((i64)bits); }
DEVICE u64 bits_of_f64(f64 x) { return (u64)__double_as_longlong(x); }

// ---- half precision, rounded to nearest, ties to even

DEVICE f32 f32_of_half(u16 h) {
  const u32 sign = (u32)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
  if (exponent == 31) return f32_of_bits(sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
  if (exponent == 0) return f32_of_bits(sign | bits_of_f32((f32)mantissa * 5.9604644775390625e-8f));
  return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

DEVICE u16 half_of_f32(f32 x) {
  const u32 bits = bits_of_f32(x), sign = bits >> 16 & 0x8000, a = bits & 0x7fffffff;
  if (a > 0x7f800000) return (u16)(sign | 0x7e00 | (a >> 13 & 0x3ff));
  if (a >= 0x477ff000) return (u16)(sign | 0x7c00);
  if (a < 0x33000000) return (u16)sign;
  if (a < 0x38800000) {
    const u32 shift = 126 - (a >> 23), m = (a & 0x7fffff) | 0x800000;
    const u32 rest = m & ((1u << shift) - 1), tie = 1u << (shift - 1), r = m >> shift;
    return (u16)(sign | (r + (rest > tie || (rest == tie && (r & 1)) ? 1 : 0)));
  }
  const u32 r = a - 0x38000000;
  return (u16)(sign | (r + 0xfff + (r >> 13 & 1)) >> 13);
}

DEVICE f32 f32_of_brain(u16 b) { return f32_of_bits((u32)b << 16); }

DEVICE u16 brain_of_f32(f32 x) {
  const u32 bits = bits_of_f32(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return (u16)(bits >> 16 | 0x40);
  return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// ---- functions of single precision that the processor computes by the same steps

DEVICE f32 exp_of(f32 x) {
  const f32 magic = 12582912.0f;
  const f32 bounded = x != x ? 0.0f : x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x;
  const f32 n = (bounded * 1.44269504088896340736f + magic) - magic;
  const f32 r = bounded - n * 0.6933594f + n * 2.121944418e-4f;
  f32 p = 1.98756911e-4f;
  p = p * r + 1.3981999e-3f;
  p = p * r + 8.333452e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666665e-1f;
  p = p * r + 0.5f;
  const f32 y = p * r * r + r + 1.0f;
  const f32 half = (n * 0.5f + magic) - magic, rest = n - half;
  const f32 scaled = y * f32_of_bits((u32)(i32)(half + 127.0f) << 23) * f32_of_bits((u32)(i32)(rest + 127.0f) << 23);
  return x != x ? x : scaled;
}

DEVICE f32 tanh_of(f32 x) {
  const f32 z = x * x, size = x < 0.0f ? -x : x;
  f32 p = -5.7049887e-3f;
  p = p * z + 2.063909e-2f;
  p = p * z + -5.3739716e-2f;
  p = p * z + 1.3331442e-1f;
  p = p * z + -3.333328e-1f;
  const f32 large = 1.0f - 2.0f / (exp_of(2.0f * size) + 1.0f);
  if (size < 0.625f) return p * z * x + x;
  return f32_of_bits((bits_of_f32(large) & 0x7fffffff) | (bits_of_f32(x) & 0x80000000));
}

DEVICE f64 exp_of(f64 x) { return exp(x); }
DEVICE f64 tanh_of(f64 x) { return tanh(x); }
DEVICE f32 log_of(f32 x) { return logf(x); }
DEVICE f64 log_of(f64 x) { return log(x); }
DEVICE f32 sqrt_of(f32 x) { return sqrtf(x); }
DEVICE f64 sqrt_of(f64 x) { return sqrt(x); }
DEVICE f32 pow_of(f32 x, f32 e) { return powf(x, e); }
DEVICE f64 pow_of(f64 x, f64 e) { return pow(x, e); }
template <class W> DEVICE W sigmoid_of(W x) { return (W)1 / ((W)1 + exp_of(-x)); }

// ---- elements in memory and the type that arithmetic on them happens in

template <class T> struct As {
  typedef T Work;
  static DEVICE T widen(T x) { return x; }
  static DEVICE T narrow(T x) { return x; }
};
template <> struct As<Truth> {
  typedef u8 Work;
  static DEVICE u8 widen(Truth x) { return x.bits; }
  static DEVICE Truth narrow(u8 x) { Truth y; y.bits = x != 0; return y; }
};
template <> struct As<Half> {
  typedef f32 Work;
  static DEVICE f32 widen(Half x) { return f32_of_half(x.bits); }
  static DEVICE Half narrow(f32 x) { Half y; y.bits = half_of_f32(x); return y; }
};
template <> struct As<Brain> {
  typedef f32 Work;
  static DEVICE f32 widen(Brain x) { return f32_of_brain(x.bits); }
  static DEVICE Brain narrow(f32 x) { Brain y; y.bits = brain_of_f32(x); return y; }
};

// ---- arithmetic; integers wrap around

template <class W> struct Wrapped { typedef u32 Type; };
template <> struct Wrapped<i64> { typedef u64 Type; };
template <> struct Wrapped<u64> { typedef u64 Type; };
template <> struct Wrapped<f32> { typedef f32 Type; };
template <> struct Wrapped<f64> { typedef f64 Type; };

template <class W> DEVICE W plus(W a, W b) { typedef typename Wrapped<W>::Type U; return (W)((U)a + (U)b); }
template <class W> DEVICE W minus(W a, W b) { typedef typename Wrapped<W>::Type U; return (W)((U)a - (U)b); }
template <class W> DEVICE W times(W a, W b) { typedef typename Wrapped<W>::Type U; return (W)((U)a * (U)b); }

// ---- conversions; to integers they truncate and saturate, NaN becomes 0

template <class B> struct Limits;
template <> struct Limits<i8> { static DEVICE i8 low() { return -128; } static DEVICE i8 high() { return 127; } };
template <> struct Limits<i16> { static DEVICE i16 low() { return -32768; } static DEVICE i16 high() { return 32767; } };
template <> struct Limits<i32> { static DEVICE i32 low() { return -2147483647 - 1; } static DEVICE i32 high() { return 2147483647; } };
template <> struct Limits<i64> {
  static DEVICE i64 low() { return -9223372036854775807LL - 1; }
  static DEVICE i64 high() { return 9223372036854775807LL; }
};
template <> struct Limits<u8> { static DEVICE u8 low() { return 0; } static DEVICE u8 high() { return 255; } };
template <> struct Limits<u16> { static DEVICE u16 low() { return 0; } static DEVICE u16 high() { return 65535; } };
template <> struct Limits<u32> { static DEVICE u32 low() { return 0; } static DEVICE u32 high() { return 4294967295u; } };
template <> struct Limits<u64> { static DEVICE u64 low() { return 0; } static DEVICE u64 high() { return 18446744073709551615ull; } };

template <class B> DEVICE B saturated(f64 x) {
  if (x != x) return 0;
  if (x <= (f64)Limits<B>::low()) return Limits<B>::low();
  if (x >= (f64)Limits<B>::high()) return Limits<B>::high();
  return (B)x;
}
template <class B> DEVICE B saturated(f32 x) { return saturated<B>((f64)x); }
template <class B> DEVICE B saturated(i64 x) {
  if (x >= 0) return (u64)x > (u64)Limits<B>::high() ? Limits<B>::high() : (B)x;
  return Limits<B>::low() == 0 ? (B)0 : x < (i64)Limits<B>::low() ? Limits<B>::low() : (B)x;
}
template <class B> DEVICE B saturated(u64 x) { return x > (u64)Limits<B>::high() ? Limits<B>::high() : (B)x; }
template <class B> DEVICE B saturated(i8 x) { return saturated<B>((i64)x); }
template <class B> DEVICE B saturated(i16 x) { return saturated<B>((i64)x); }
template <class B> DEVICE B saturated(i32 x) { return saturated<B>((i64)x); }
template <class B> DEVICE B saturated(u8 x) { return saturated<B>((u64)x); }
template <class B> DEVICE B saturated(u16 x) { return saturated<B>((u64)x); }
template <class B> DEVICE B saturated(u32 x) { return saturated<B>((u64)x); }

// To element type B, as its type of arithmetic.
template <class B> struct To {
  template <class W> static DEVICE B of(W x) { return saturated<B>(x); }
};
template <> struct To<Truth> {
  template <class W> static DEVICE u8 of(W x) { return x != (W)0; }
};
template <> struct To<f32> {
  template <class W> static DEVICE f32 of(W x) { return (f32)x; }
};
template <> struct To<f64> {
  template <class W> static DEVICE f64 of(W x) { return (f64)x; }
};
template <> struct To<Half> {
  template <class W> static DEVICE f32 of(W x) { return f32_of_half(half_of_f32((f32)(f64)x)); }
};
template <> struct To<Brain> {
  // Of a double only the upper half is looked at.
  template <class W> static DEVICE f32 of(W x) {
    const f64 wide = (f64)x;
    if (wide != wide) return (f32)wide;
    return f32_of_brain(brain_of_f32((f32)f64_of_bits(bits_of_f64(wide) & 0xffffffff00000000ull)));
  }
};

// A double in type of arithmetic W.
template <class W> DEVICE W from_f64(f64 x) { return saturated<W>(x); }
template <> DEVICE f32 from_f64<f32>(f64 x) { return (f32)x; }
template <> DEVICE f64 from_f64<f64>(f64 x) { return x; }

// Scalar i of an operation, from the program's parameters.
DEVICE f64 scalar(const u64* params, u64 i) { return f64_of_bits(params[i]); }

// ---- positions: element i of integers of any type, in the order i8 i16 i32 i64 u8 u16 u32 u64

DEVICE i64 integer_at(const void* data, u64 kind, u64 i) {
  switch (kind) {
    case 0: return ((const i8*)data)[i];
    case 1: return ((const i16*)data)[i];
    case 2: return ((const i32*)data)[i];
    case 4: return ((const u8*)data)[i];
    case 5: return ((const u16*)data)[i];
    case 6: return ((const u32*)data)[i];
    default: return ((const i64*)data)[i];
  }
}

// As a position below extent, which is below 2^63; extent when it is none.
DEVICE u64 position_at(const void* data, u64 kind, u64 i, u64 extent) {
  const u64 position = (u64)integer_at(data, kind, i);
  return position < extent ? position : extent;
}
