// Sums, means and maxima. A block of threads is (columns, parts of the reduced
// dimension, rows); parts are joined in a fixed tree, blocks of the reduced dimension
// in order by `combine`, so the bits depend on shapes only.

template <class W> struct SumOf {
  typedef u64 Type;
  static DEVICE u64 of(W x) { return (u64)(i64)x; }
  static DEVICE W back(u64 s, f64) { return (W)s; }
};
template <> struct SumOf<u64> {
  typedef u64 Type;
  static DEVICE u64 of(u64 x) { return x; }
  static DEVICE u64 back(u64 s, f64) { return s; }
};
template <> struct SumOf<f32> {
  typedef f64 Type;
  static DEVICE f64 of(f32 x) { return x; }
  static DEVICE f32 back(f64 s, f64 scale) { return (f32)(s * scale); }
};
template <> struct SumOf<f64> {
  typedef f64 Type;
  static DEVICE f64 of(f64 x) { return x; }
  static DEVICE f64 back(f64 s, f64 scale) { return s * scale; }
};

template <class T> struct Total {
  typedef typename As<T>::Work Work;
  typedef typename SumOf<Work>::Type State;
  static DEVICE State of(T x) { return SumOf<Work>::of(As<T>::widen(x)); }
  static DEVICE State join(State a, State b) { return a + b; }
  // Where a thread begins; `first` is an element of its lane.
  static DEVICE State start(const T*) { return 0; }
  static DEVICE T finish(State s, f64 scale) { return As<T>::narrow(SumOf<Work>::back(s, scale)); }
};

template <class T> struct Largest {
  typedef typename As<T>::Work State;
  static DEVICE State of(T x) { return As<T>::widen(x); }
  static DEVICE State join(State a, State b) { return a > b || a != a ? a : b; }
  static DEVICE State start(const T* first) { return of(*first); }
  static DEVICE T finish(State s, f64) { return As<T>::narrow(s); }
};

// x is [outer, reduced, inner]; the reduced dimension is cut into `blocks` of
// `length`. One block: the result goes to y; several: states to `partial`,
// [blocks, outer, inner].
template <class T, class C> DEVICE void reduce(
    const T* x, T* y, typename C::State* partial, u64 outer, u64 reduced, u64 inner, u64 length, u64 blocks, f64 scale) {
  typedef typename C::State State;
  __shared__ State shared[256];
  const u32 t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const u64 across = (inner + blockDim.x - 1) / blockDim.x;
  const u64 items = blocks * across * ((outer + blockDim.z - 1) / blockDim.z);
  for (u64 item = blockIdx.x; item < items; item += gridDim.x) {
    const u64 block = item % blocks, rest = item / blocks;
    const u64 column = rest % across * blockDim.x + threadIdx.x, row = rest / across * blockDim.z + threadIdx.z;
    const u64 from = block * length, to = from + length < reduced ? from + length : reduced;
    const bool inside = column < inner && row < outer;
    State state = State();
    if (inside) {
      const T* lane = x + row * reduced * inner + column;
      state = C::start(lane + from * inner);
      for (u64 i = from + threadIdx.y; i < to; i += blockDim.y) state = C::join(state, C::of(lane[i * inner]));
    }
    shared[t] = state;
    __syncthreads();
    for (u32 half = blockDim.y / 2; half > 0; half /= 2) {
      if (threadIdx.y < half) shared[t] = C::join(shared[t], shared[t + half * blockDim.x]);
      __syncthreads();
    }
    if (inside && threadIdx.y == 0) {
      const u64 at = row * inner + column;
      if (blocks == 1) y[at] = C::finish(shared[t], scale);
      else partial[block * outer * inner + at] = shared[t];
    }
    __syncthreads();
  }
}

template <class T, class C> DEVICE void combine(const typename C::State* partial, T* y, u64 results, u64 blocks, f64 scale) {
  for (u64 i = FIRST; i < results; i += ALL_THREADS) {
    typename C::State state = partial[i];
    for (u64 block = 1; block < blocks; block++) state = C::join(state, partial[block * results + i]);
    y[i] = C::finish(state, scale);
  }
}

#define REDUCTIONS(tag, T)                                                                                            \
  KERNEL sum_##tag(const T* x, T* y, Total<T>::State* partial, u64 outer, u64 reduced, u64 inner, u64 length,         \
                   u64 blocks, f64 scale) {                                                                           \
    reduce<T, Total<T> >(x, y, partial, outer, reduced, inner, length, blocks, scale);                                \
  }                                                                                                                   \
  KERNEL sum_up_##tag(const Total<T>::State* partial, T* y, u64 results, u64 blocks, f64 scale) {                     \
    combine<T, Total<T> >(partial, y, results, blocks, scale);                                                        \
  }                                                                                                                   \
  KERNEL max_##tag(const T* x, T* y, Largest<T>::State* partial, u64 outer, u64 reduced, u64 inner, u64 length,       \
                   u64 blocks, f64 scale) {                                                                           \
    reduce<T, Largest<T> >(x, y, partial, outer, reduced, inner, length, blocks, scale);                              \
  }                                                                                                                   \
  KERNEL max_up_##tag(const Largest<T>::State* partial, T* y, u64 results, u64 blocks, f64 scale) {                   \
    combine<T, Largest<T> >(partial, y, results, blocks, scale);                                                      \
  }
