// Picking and indices. Bad indices are reported by `check` and skipped by the rest.

// report[0] becomes the first position whose index lies outside [0, extent), or the
// largest number when there is none; report[1] the index. One block of 256 threads.
KERNEL check(const void* indices, u64 kind, u64 count, u64 extent, u64* report) {
  __shared__ u64 shared[256];
  u64 first = ~0ull;
  for (u64 i = threadIdx.x; i < count && first == ~0ull; i += blockDim.x)
    if (position_at(indices, kind, i, extent) == extent) first = i;
  shared[threadIdx.x] = first;
  __syncthreads();
  for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half && shared[threadIdx.x + half] < shared[threadIdx.x])
      shared[threadIdx.x] = shared[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    report[0] = shared[0];
    report[1] = shared[0] == ~0ull ? 0 : (u64)integer_at(indices, kind, shared[0]);
  }
}

// [outer, extent, inner] to [outer, count, inner], moved in units of U.
template <class U> DEVICE void gather(
    const U* x, const void* indices, u64 kind, U* y, u64 outer, u64 extent, u64 inner, u64 count) {
  const u64 n = outer * count * inner;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 column = i % inner, row = i / inner;
    const u64 position = position_at(indices, kind, row % count, extent);
    if (position < extent) y[i] = x[(row / count * extent + position) * inner + column];
  }
}

#define GATHERS(tag, U)                                                                                               \
  KERNEL gather_##tag(const U* x, const void* indices, u64 kind, U* y, u64 outer, u64 extent, u64 inner, u64 count) { \
    gather<U>(x, indices, kind, y, outer, extent, inner, count);                                                      \
  }

// Zeros of [outer, extent, inner] plus row i of x [outer, count, inner] at indices[i],
// in the order of i: a thread owns an element of the result and looks at all indices.
template <class T> DEVICE void scatter_add(
    const T* x, const void* indices, u64 kind, T* y, u64 outer, u64 extent, u64 inner, u64 count) {
  const u64 n = outer * extent * inner;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 column = i % inner, row = i / inner, position = row % extent;
    const T* source = x + row / extent * count * inner + column;
    typename As<T>::Work sum = As<T>::widen(T());
    for (u64 k = 0; k < count; k++)
      if (position_at(indices, kind, k, extent) == position)
        sum = As<T>::widen(As<T>::narrow(plus(sum, As<T>::widen(source[k * inner]))));
    y[i] = As<T>::narrow(sum);
  }
}

// The same from `sorted` positions and their `origins`, as `sort` leaves them.
template <class T> DEVICE void scatter_sorted(
    const T* x, const u64* sorted, const u64* origins, T* y, u64 outer, u64 extent, u64 inner, u64 count) {
  const u64 n = outer * extent * inner;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 column = i % inner, row = i / inner, position = row % extent;
    const T* source = x + row / extent * count * inner + column;
    u64 low = 0, high = count;
    while (low < high) {
      const u64 middle = (low + high) / 2;
      if (sorted[middle] < position) low = middle + 1;
      else high = middle;
    }
    typename As<T>::Work sum = As<T>::widen(T());
    for (u64 k = low; k < count && sorted[k] == position; k++)
      sum = As<T>::widen(As<T>::narrow(plus(sum, As<T>::widen(source[origins[k] * inner]))));
    y[i] = As<T>::narrow(sum);
  }
}

#define SCATTERS(tag, T)                                                                                              \
  KERNEL scatter_add_##tag(const T* x, const void* indices, u64 kind, T* y, u64 outer, u64 extent, u64 inner,         \
                           u64 count) {                                                                               \
    scatter_add<T>(x, indices, kind, y, outer, extent, inner, count);                                                 \
  }                                                                                                                   \
  KERNEL scatter_sorted_##tag(const T* x, const u64* sorted, const u64* origins, T* y, u64 outer, u64 extent,         \
                              u64 inner, u64 count) {                                                                 \
    scatter_sorted<T>(x, sorted, origins, y, outer, extent, inner, count);                                            \
  }

// Positions as keys to sort by; an index outside sorts behind all.
KERNEL positions(const void* indices, u64 kind, u64 count, u64 extent, u64* keys, u64* origins) {
  for (u64 i = FIRST; i < count; i += ALL_THREADS) {
    keys[i] = position_at(indices, kind, i, extent);
    origins[i] = i;
  }
}

// The first largest of each lane of [outer, extent, inner]; NaN counts as largest.
// blockDim.x threads, a power of two, have a lane; a block has blockDim.y.
template <class T> DEVICE void arg_max(const T* x, i64* y, u64 lanes, u64 extent, u64 inner) {
  typedef typename As<T>::Work W;
  __shared__ W values[256];
  __shared__ u64 places[256];
  const u32 t = threadIdx.y * blockDim.x + threadIdx.x;
  for (u64 base = blockIdx.x * (u64)blockDim.y; base < lanes; base += gridDim.x * (u64)blockDim.y) {
    const u64 number = base + threadIdx.y, lane = number / inner * extent * inner + number % inner;
    W best = W();
    u64 place = ~0ull;
    if (number < lanes)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) {
        const W value = As<T>::widen(x[lane + i * inner]);
        if (place == ~0ull || value > best || (value != value && best == best)) best = value, place = i;
      }
    values[t] = best;
    places[t] = place;
    __syncthreads();
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
      if (threadIdx.x < half && places[t + half] != ~0ull) {
        const W other = values[t + half];
        const bool better = other > values[t] || (other != other && values[t] == values[t]);
        const bool equal = other == values[t] || (other != other && values[t] != values[t]);
        if (places[t] == ~0ull || better || (equal && places[t + half] < places[t]))
          values[t] = other, places[t] = places[t + half];
      }
      __syncthreads();
    }
    if (number < lanes && threadIdx.x == 0) y[number] = (i64)places[t];
    __syncthreads();
  }
}

#define ARG_MAXIMA(tag, T)                                                                                            \
  KERNEL arg_max_##tag(const T* x, i64* y, u64 lanes, u64 extent, u64 inner) { arg_max<T>(x, y, lanes, extent, inner); }

template <class T> DEVICE void one_hot(const void* ids, u64 kind, T* y, u64 count, u64 classes) {
  typedef typename As<T>::Work W;
  const u64 n = count * classes;
  for (u64 i = FIRST; i < n; i += ALL_THREADS)
    y[i] = As<T>::narrow((W)(position_at(ids, kind, i / classes, classes) == i % classes ? 1 : 0));
}

#define ONE_HOTS(tag, T)                                                                                              \
  KERNEL one_hot_##tag(const void* ids, u64 kind, T* y, u64 count, u64 classes) { one_hot<T>(ids, kind, y, count, classes); }
