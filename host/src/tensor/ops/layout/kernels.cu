// Moves. U is an unsigned integer of the size of what is moved: an element, or
// several neighbours at once.

// Fills y in order, reading x along `strides`. The loop over dimensions is unrolled, so
// that which one is read is known: else all are copied to memory of the thread first.
template <class U> DEVICE void transpose(const U* x, U* y, u64 n, u64 rank, const Dims& shape, const Dims& strides) {
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    u64 rest = i, at = 0;
#pragma unroll
    for (int d = 7; d >= 0; d--)
      if (d < rank) {
        at += rest % shape.n[d] * strides.n[d];
        rest /= shape.n[d];
      }
    y[i] = x[at];
  }
}

// Elements [start, start + run / scale) of an axis: rows of `run` units out of rows of
// `whole`. `start` is the operation's parameter, a position is `scale` units.
template <class U> DEVICE void slice(const U* x, U* y, u64 rows, u64 whole, u64 run, const u64* start, u64 scale) {
  const u64 n = rows * run, from = start[0] * scale;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) y[i] = x[i / run * whole + from + i % run];
}

// The reverse: rows of `run` units inside zero rows of `whole`.
template <class U> DEVICE void pad(const U* x, U* y, u64 rows, u64 whole, u64 run, const u64* start, u64 scale) {
  const u64 n = rows * whole, from = start[0] * scale;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 at = i % whole;
    y[i] = at >= from && at < from + run ? x[i / whole * run + at - from] : (U)0;
  }
}

// One part of a concatenation: rows of `run` units to unit `to` of rows of `whole`.
template <class U> DEVICE void place(const U* x, U* y, u64 rows, u64 whole, u64 run, u64 to) {
  const u64 n = rows * run;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) y[i / run * whole + to + i % run] = x[i];
}

#define MOVES(tag, U)                                                                                                 \
  KERNEL transpose_##tag(const U* x, U* y, u64 n, u64 rank, Dims shape, Dims strides) {                               \
    transpose<U>(x, y, n, rank, shape, strides);                                                                      \
  }                                                                                                                   \
  KERNEL slice_##tag(const U* x, U* y, u64 rows, u64 whole, u64 run, const u64* start, u64 scale) {                   \
    slice<U>(x, y, rows, whole, run, start, scale);                                                                   \
  }                                                                                                                   \
  KERNEL pad_##tag(const U* x, U* y, u64 rows, u64 whole, u64 run, const u64* start, u64 scale) {                     \
    pad<U>(x, y, rows, whole, run, start, scale);                                                                     \
  }                                                                                                                   \
  KERNEL place_##tag(const U* x, U* y, u64 rows, u64 whole, u64 run, u64 to) { place<U>(x, y, rows, whole, run, to); }
