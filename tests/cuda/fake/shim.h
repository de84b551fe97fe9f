// What a module of kernels is compiled with for the processor: CUDA's words as
// macros and functions. A thread is a fiber of driver.cpp; a barrier or an exchange
// between threads of a warp lets the other fibers go on.
#pragma once
#define QUERN_SHIM 1
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

struct shim_dim { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) double2 { double x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }
static inline float2 make_float2(float a, float b) { return {a, b}; }
static inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }

// Where a thread is.
struct ShimThread { shim_dim thread, block, block_size, grid_size; void* shared; };
extern "C" {
extern __thread ShimThread* shim_thread;
void shim_barrier();
int shim_barrier_reduce(int predicate, int how);
uint64_t shim_exchange(unsigned mask, uint64_t value, int lane);
unsigned shim_ballot(unsigned mask, int predicate);
[[noreturn]] void shim_trap(const char* why);
}

// `used` marks kernels for nvrtc.cpp, which looks for it in the preprocessed text.
#define __global__ __attribute__((used))
#define __device__
#define __host__
#define __constant__ static
#define __restrict__ __restrict
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static thread_local
#define DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(shim_thread->shared)
#define threadIdx (shim_thread->thread)
#define blockIdx (shim_thread->block)
#define blockDim (shim_thread->block_size)
#define gridDim (shim_thread->grid_size)
#define warpSize 32
#define __syncthreads() shim_barrier()
#define __syncthreads_count(p) shim_barrier_reduce((p) != 0, 0)
#define __syncthreads_and(p) shim_barrier_reduce((p) != 0, 1)
#define __syncthreads_or(p) shim_barrier_reduce((p) != 0, 2)
#define __syncwarp(...) ((void)shim_ballot(0xffffffffu, 0))
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)
#define __trap() shim_trap("__trap")
#define INFINITY_F __builtin_inff()

static inline int shim_lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}
template <class T> static inline T shim_exchange_as(unsigned mask, T value, int lane) {
  static_assert(sizeof(T) <= 8, "only values of up to 8 bytes can be exchanged");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = shim_exchange(mask, bits, lane);
  memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
  int lane = shim_lane();
  return shim_exchange_as(mask, v, (lane & ~(width - 1)) | (from & (width - 1)));
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int other, int width = 32) {
  int lane = shim_lane(), from = lane ^ other;
  return shim_exchange_as(mask, v, (from & ~(width - 1)) > (lane & ~(width - 1)) ? lane : from);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
  int lane = shim_lane(), from = lane + by;
  return shim_exchange_as(mask, v, from > (lane | (width - 1)) ? lane : from);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, int by, int width = 32) {
  int lane = shim_lane(), from = lane - by;
  return shim_exchange_as(mask, v, from < (lane & ~(width - 1)) ? lane : from);
}
static inline unsigned __ballot_sync(unsigned mask, int p) { return shim_ballot(mask, p); }
static inline int __any_sync(unsigned mask, int p) { return shim_ballot(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return shim_ballot(mask, !p) == 0; }

template <class To, class From> static inline To shim_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits of another size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
static inline float __int_as_float(int x) { return shim_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return shim_bits<float>(x); }
static inline int __float_as_int(float x) { return shim_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return shim_bits<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return shim_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return shim_bits<long long>(x); }
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline double rsqrt(double x) { return 1. / sqrt(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.f / a; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
template <class T> static inline T __ldg(const T* p) { return *p; }
template <class A, class B> static inline std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
template <class A, class B> static inline std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }

// Real atomics: blocks may be executed by several threads of the processor.
template <class T, class F> static inline T shim_change(T* p, F change) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics are of 4 or 8 bytes");
  Bits* at = reinterpret_cast<Bits*>(p);
  Bits before = __atomic_load_n(at, __ATOMIC_RELAXED);
  for (;;) {
    Bits after = shim_bits<Bits>(change(shim_bits<T>(before)));
    if (__atomic_compare_exchange_n(at, &before, after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return shim_bits<T>(before);
  }
}
template <class T, class V> static inline T atomicAdd(T* p, V v) { return shim_change(p, [=](T o) { return (T)(o + (T)v); }); }
template <class T, class V> static inline T atomicSub(T* p, V v) { return shim_change(p, [=](T o) { return (T)(o - (T)v); }); }
template <class T, class V> static inline T atomicMax(T* p, V v) { return shim_change(p, [=](T o) { return o > (T)v ? o : (T)v; }); }
template <class T, class V> static inline T atomicMin(T* p, V v) { return shim_change(p, [=](T o) { return o < (T)v ? o : (T)v; }); }
template <class T, class V> static inline T atomicExch(T* p, V v) { return shim_change(p, [=](T) { return (T)v; }); }
template <class T, class V> static inline T atomicOr(T* p, V v) { return shim_change(p, [=](T o) { return (T)(o | (T)v); }); }
template <class T, class V> static inline T atomicAnd(T* p, V v) { return shim_change(p, [=](T o) { return (T)(o & (T)v); }); }
template <class T, class A, class B> static inline T atomicCAS(T* p, A c, B v) { return shim_change(p, [=](T o) { return o == (T)c ? (T)v : o; }); }

// How the driver calls a kernel, and how wide its parameters are.
template <class... A, size_t... I> static inline void shim_call(void (*k)(A...), void** p, std::index_sequence<I...>) {
  k(*static_cast<std::remove_reference_t<A>*>(p[I])...);
}
template <class... A> static inline void shim_call(void (*k)(A...), void** p) { shim_call(k, p, std::index_sequence_for<A...>{}); }
template <class... A> static inline int shim_sizes(void (*)(A...), size_t* out) {
  size_t sizes[] = {sizeof(A)..., 0};
  memcpy(out, sizes, sizeof...(A) * sizeof(size_t));
  return sizeof...(A);
}
