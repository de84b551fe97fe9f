// Philox, Box-Muller and sort keys, with the same bits as cpu.rs: only operations of
// doubles that IEEE 754 defines, in the same order, without contraction.

struct Block { u32 word[4]; };

// 128 random bits; params: seed, call, stream.
DEVICE Block draw(const u64* params, u64 block) {
  u32 c0 = (u32)block, c1 = (u32)params[1], c2 = (u32)(params[1] >> 32), c3 = (u32)params[2];
  u32 k0 = (u32)params[0], k1 = (u32)(params[0] >> 32);
  for (int round = 0; round < 10; round++) {
    const u64 p0 = (u64)c0 * 0xD2511F53u, p1 = (u64)c2 * 0xCD9E8D57u;
    const u32 n0 = (u32)(p1 >> 32) ^ c1 ^ k0, n2 = (u32)(p0 >> 32) ^ c3 ^ k1;
    c0 = n0, c1 = (u32)p1, c2 = n2, c3 = (u32)p0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  Block result;
  result.word[0] = c0, result.word[1] = c1, result.word[2] = c2, result.word[3] = c3;
  return result;
}

DEVICE u64 pair(const Block& b, int i) { return (u64)b.word[2 * i] | (u64)b.word[2 * i + 1] << 32; }

template <class T> DEVICE void uniform(const u64* params, T* y, u64 n) {
  typedef typename As<T>::Work W;
  const f64 low = scalar(params, 3), high = scalar(params, 4);
  // Rounding to a short type may reach `high`, which is excluded.
  const W last = As<T>::widen(As<T>::narrow((W)high));
  for (u64 i = FIRST; i < (n + 3) / 4; i += ALL_THREADS) {
    const Block b = draw(params, i);
    for (u64 k = 0; k < 4 && 4 * i + k < n; k++) {
      const f64 u = (f64)b.word[k] * (1.0 / 4294967296.0);
      const T x = As<T>::narrow((W)(low + (high - low) * u));
      y[4 * i + k] = As<T>::widen(x) < last ? x : As<T>::narrow((W)low);
    }
  }
}

// Natural logarithm of a normal positive number, as in cpu.rs.
DEVICE f64 exact_log(f64 x) {
  const u64 bits = bits_of_f64(x);
  f64 exponent = (f64)((i64)(bits >> 52) - 1023);
  f64 m = f64_of_bits((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m >= 1.41421356237309504880) {
    m *= 0.5;
    exponent += 1.0;
  }
  const f64 s = (m - 1.0) / (m + 1.0), z = s * s;
  f64 p = 1.0 / 23.0;
  for (f64 k = 21.0; k >= 1.0; k -= 2.0) p = p * z + 1.0 / k;
  return exponent * 0.693147180559945309417 + 2.0 * s * p;
}

template <class T> DEVICE void normal(const u64* params, T* y, u64 n) {
  typedef typename As<T>::Work W;
  const f64 unit = 1.0 / 9007199254740992.0, mean = scalar(params, 3), deviation = scalar(params, 4);
  for (u64 i = FIRST; i < (n + 1) / 2; i += ALL_THREADS) {
    const Block b = draw(params, i);
    const f64 u = (f64)((pair(b, 0) >> 11) + 1) * unit, turn = (f64)(pair(b, 1) >> 11) * unit;
    const f64 radius = sqrt(-2.0 * exact_log(u));
    const f64 quarter = floor(turn * 4.0 + 0.5), x = (turn - quarter * 0.25) * 6.28318530717958647693, z = x * x;
    f64 sine = 1.0, cosine = 1.0;
    for (f64 k = 17.0; k >= 3.0; k -= 2.0) sine = 1.0 - sine * z / (k * (k - 1.0));
    for (f64 k = 16.0; k >= 2.0; k -= 2.0) cosine = 1.0 - cosine * z / (k * (k - 1.0));
    sine = sine * x;
    const int side = (int)quarter & 3;
    const f64 along = side == 0 ? cosine : side == 1 ? -sine : side == 2 ? -cosine : sine;
    const f64 up = side == 0 ? sine : side == 1 ? cosine : side == 2 ? -sine : -cosine;
    y[2 * i] = As<T>::narrow((W)(mean + deviation * (radius * along)));
    if (2 * i + 1 < n) y[2 * i + 1] = As<T>::narrow((W)(mean + deviation * (radius * up)));
  }
}

#define DISTRIBUTIONS(tag, T)                                                                                         \
  KERNEL uniform_##tag(const u64* params, T* y, u64 n) { uniform<T>(params, y, n); }                                  \
  KERNEL normal_##tag(const u64* params, T* y, u64 n) { normal<T>(params, y, n); }

// Sort keys and the numbers they order.
KERNEL keys(const u64* params, u64* sorted, u64* origins, u64 n) {
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const Block b = draw(params, i / 2);
    sorted[i] = pair(b, (int)(i & 1));
    origins[i] = i;
  }
}
