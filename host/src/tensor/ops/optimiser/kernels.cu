// Optimisers: one launch for up to 24 variables. A block takes one piece of 1024
// elements of one of them.

#define VARIABLES 24
#define PIECE 1024

// Addresses of the tensors of each group, and the number of the first piece of each
// variable; the entry after the last has the number of pieces.
struct Table {
  u64 count;
  u64 address[4][VARIABLES];
  u64 elements[VARIABLES];
  u64 piece[VARIABLES + 1];
};

// The variable of this block, and its piece.
struct Place {
  u64 variable, from, to;
  DEVICE Place(const Table& table) {
    variable = 0;
    while (variable + 1 < table.count && table.piece[variable + 1] <= blockIdx.x) variable++;
    from = (blockIdx.x - table.piece[variable]) * PIECE;
    to = from + PIECE < table.elements[variable] ? from + PIECE : table.elements[variable];
  }
  template <class T> DEVICE T* tensor(const Table& table, int group) const { return (T*)table.address[group][variable]; }
};

// What is smaller than this is far below what can matter; see `Real` in element.rs.
template <class W> struct Tiny;
template <> struct Tiny<f32> {
  static DEVICE f32 value() { return f32_of_bits((127 - 100) << 23); }
  static DEVICE f32 root() { return f32_of_bits((127 - 63) << 23); }
};
template <> struct Tiny<f64> {
  static DEVICE f64 value() { return f64_of_bits((1023ull - 900) << 52); }
  static DEVICE f64 root() { return f64_of_bits((1023ull - 511) << 52); }
};
template <class W> DEVICE W flushed(W x, W bound) { return (x < 0 ? -x : x) < bound ? (W)0 : x; }

// Groups: variables, first moments, second moments, gradients. Parameters: step, rate,
// beta1, beta2, epsilon, decay.
template <class T> DEVICE void adam(const u64* params, const Table& table) {
  typedef typename As<T>::Work W;
  __shared__ f64 corrections[2];
  const f64 rate = scalar(params, 1), beta1 = scalar(params, 2), beta2 = scalar(params, 3);
  if (threadIdx.x == 0) {
    corrections[0] = rate / (1.0 - pow(beta1, scalar(params, 0)));
    corrections[1] = 1.0 / sqrt(1.0 - pow(beta2, scalar(params, 0)));
  }
  __syncthreads();
  const W step = (W)corrections[0], unbias = (W)corrections[1];
  const W b1 = (W)beta1, c1 = (W)(1.0 - beta1), b2 = (W)beta2, c2 = (W)sqrt(1.0 - beta2);
  const W epsilon = (W)scalar(params, 4), shrink = (W)(rate * scalar(params, 5));
  const W tiny = Tiny<W>::value(), root = Tiny<W>::root(), smallest = root * root;
  const Place place(table);
  T* w = place.tensor<T>(table, 0);
  T* m = place.tensor<T>(table, 1);
  T* v = place.tensor<T>(table, 2);
  const T* gradient = place.tensor<T>(table, 3);
  for (u64 i = place.from + threadIdx.x; i < place.to; i += blockDim.x) {
    const W g = As<T>::widen(gradient[i]), old = As<T>::widen(w[i]);
    const W first = flushed(b1 * As<T>::widen(m[i]) + c1 * g, tiny), scaled = flushed(c2 * g, root);
    const W second = flushed(b2 * As<T>::widen(v[i]) + scaled * scaled, smallest);
    m[i] = As<T>::narrow(first);
    v[i] = As<T>::narrow(second);
    w[i] = As<T>::narrow(old - step * first / (sqrt_of(second) * unbias + epsilon) - shrink * old);
  }
}

// Groups: variables, gradients. Parameters: rate, momentum, decay.
template <class T> DEVICE void sgd(const u64* params, const Table& table) {
  typedef typename As<T>::Work W;
  const W rate = (W)scalar(params, 0), decay = (W)scalar(params, 2);
  const Place place(table);
  T* w = place.tensor<T>(table, 0);
  const T* gradient = place.tensor<T>(table, 1);
  for (u64 i = place.from + threadIdx.x; i < place.to; i += blockDim.x) {
    const W old = As<T>::widen(w[i]);
    w[i] = As<T>::narrow(old - rate * (As<T>::widen(gradient[i]) + decay * old));
  }
}

// Groups: variables, velocities, gradients. Parameters as above.
template <class T> DEVICE void momentum(const u64* params, const Table& table) {
  typedef typename As<T>::Work W;
  const W rate = (W)scalar(params, 0), mu = (W)scalar(params, 1), decay = (W)scalar(params, 2);
  const Place place(table);
  T* w = place.tensor<T>(table, 0);
  T* v = place.tensor<T>(table, 1);
  const T* gradient = place.tensor<T>(table, 2);
  for (u64 i = place.from + threadIdx.x; i < place.to; i += blockDim.x) {
    const W old = As<T>::widen(w[i]);
    const W moved = mu * As<T>::widen(v[i]) + As<T>::widen(gradient[i]) + decay * old;
    const W velocity = flushed(moved, Tiny<W>::value());
    v[i] = As<T>::narrow(velocity);
    w[i] = As<T>::narrow(old - rate * velocity);
  }
}

#define OPTIMISERS(tag, T)                                                                                            \
  KERNEL adam_##tag(const u64* params, Table table) { adam<T>(params, table); }                                       \
  KERNEL sgd_##tag(const u64* params, Table table) { sgd<T>(params, table); }                                         \
  KERNEL momentum_##tag(const u64* params, Table table) { momentum<T>(params, table); }
