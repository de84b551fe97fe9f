// Softmax and its kin. A lane of [outer, extent, inner] belongs to blockDim.x threads,
// a power of two; a block has blockDim.y lanes. Sums are in double precision, in a
// fixed tree.

struct Add { static DEVICE f64 join(f64 a, f64 b) { return a + b; } };
template <class W> struct Larger { static DEVICE W join(W a, W b) { return a > b || a != a ? a : b; } };

// The join over the threads of each lane, known to all of them.
template <class J, class V> DEVICE V across(V value) {
  __shared__ V shared[256];
  const u32 t = threadIdx.y * blockDim.x + threadIdx.x;
  shared[t] = value;
  __syncthreads();
  for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[t] = J::join(shared[t], shared[t + half]);
    __syncthreads();
  }
  const V result = shared[t - threadIdx.x];
  __syncthreads();
  return result;
}

// Calls the body for every lane with `lane` its first element; all threads of a
// block take part in each round, `inside` or not.
#define LANES(lanes, extent, inner)                                                                                   \
  for (u64 base = blockIdx.x * (u64)blockDim.y, number = 0, lane = 0; base < (lanes); base += gridDim.x * (u64)blockDim.y) \
    if (number = base + threadIdx.y, lane = number / (inner) * (extent) * (inner) + number % (inner), true)

template <class T> struct Exponentials {
  typedef typename As<T>::Work W;
  W top;
  f64 sum;
  // The largest of a lane and the sum of e^(x - largest).
  DEVICE Exponentials(const T* x, u64 lane, u64 extent, u64 inner, bool inside) {
    top = inside ? As<T>::widen(x[lane]) : (W)0;
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) top = Larger<W>::join(top, As<T>::widen(x[lane + i * inner]));
    top = across<Larger<W> >(top);
    sum = 0;
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) sum += (f64)exp_of(As<T>::widen(x[lane + i * inner]) - top);
    sum = across<Add>(sum);
  }
};

template <class T> DEVICE void softmax(const T* x, T* y, u64 lanes, u64 extent, u64 inner) {
  typedef typename As<T>::Work W;
  LANES(lanes, extent, inner) {
    const bool inside = number < lanes;
    const Exponentials<T> e(x, lane, extent, inner, inside);
    const W scale = (W)(1.0 / e.sum);
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x)
        y[lane + i * inner] = As<T>::narrow(exp_of(As<T>::widen(x[lane + i * inner]) - e.top) * scale);
  }
}

template <class T> DEVICE void log_softmax(const T* x, T* y, u64 lanes, u64 extent, u64 inner) {
  typedef typename As<T>::Work W;
  LANES(lanes, extent, inner) {
    const bool inside = number < lanes;
    const Exponentials<T> e(x, lane, extent, inner, inside);
    const W log_sum = (W)log(e.sum);
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x)
        y[lane + i * inner] = As<T>::narrow(As<T>::widen(x[lane + i * inner]) - e.top - log_sum);
  }
}

template <class T> DEVICE void softmax_gradient(const T* dy, const T* y, T* dx, u64 lanes, u64 extent, u64 inner) {
  typedef typename As<T>::Work W;
  LANES(lanes, extent, inner) {
    const bool inside = number < lanes;
    f64 dot = 0;
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x)
        dot += (f64)(As<T>::widen(dy[lane + i * inner]) * As<T>::widen(y[lane + i * inner]));
    const W mean = (W)across<Add>(dot);
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) {
        const u64 at = lane + i * inner;
        dx[at] = As<T>::narrow(As<T>::widen(y[at]) * (As<T>::widen(dy[at]) - mean));
      }
  }
}

template <class T> DEVICE void log_softmax_gradient(const T* dy, const T* y, T* dx, u64 lanes, u64 extent, u64 inner) {
  typedef typename As<T>::Work W;
  LANES(lanes, extent, inner) {
    const bool inside = number < lanes;
    f64 sum = 0;
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) sum += (f64)As<T>::widen(dy[lane + i * inner]);
    const W total = (W)across<Add>(sum);
    if (inside)
      for (u64 i = threadIdx.x; i < extent; i += blockDim.x) {
        const u64 at = lane + i * inner;
        dx[at] = As<T>::narrow(As<T>::widen(dy[at]) - exp_of(As<T>::widen(y[at])) * total);
      }
  }
}

// The loss of each row of logits [rows, classes]; NaN where the label is no class.
template <class T> DEVICE void row_losses(const T* x, const void* labels, u64 kind, f64* losses, u64 rows, u64 classes) {
  typedef typename As<T>::Work W;
  LANES(rows, classes, 1) {
    const bool inside = number < rows && classes > 0;
    const Exponentials<T> e(x, lane, classes, 1, inside);
    if (number < rows && threadIdx.x == 0) {
      const u64 label = position_at(labels, kind, number, classes);
      losses[number] = label < classes ? -(f64)(As<T>::widen(x[lane + label]) - e.top - (W)log(e.sum)) : 0.0 / 0.0;
    }
  }
}

// The mean of all losses; one block.
template <class T> DEVICE void mean_loss(const f64* losses, T* y, u64 rows) {
  typedef typename As<T>::Work W;
  f64 sum = 0;
  for (u64 i = threadIdx.x; i < rows; i += blockDim.x) sum += losses[i];
  sum = across<Add>(sum);
  if (threadIdx.x == 0) y[0] = As<T>::narrow((W)(sum / (f64)rows));
}

template <class T> DEVICE void row_gradients(
    const T* d, const T* x, const void* labels, u64 kind, T* dx, u64 rows, u64 classes) {
  typedef typename As<T>::Work W;
  const W share = (W)((f64)As<T>::widen(d[0]) / (f64)rows);
  LANES(rows, classes, 1) {
    const bool inside = number < rows;
    const Exponentials<T> e(x, lane, classes, 1, inside);
    const W scale = (W)(1.0 / e.sum);
    const u64 label = inside ? position_at(labels, kind, number, classes) : 0;
    if (inside)
      for (u64 i = threadIdx.x; i < classes; i += blockDim.x) {
        W p = exp_of(As<T>::widen(x[lane + i]) - e.top) * scale;
        if (i == label) p = p - (W)1;
        if (label == classes) p = (W)(0.0 / 0.0);
        dx[lane + i] = As<T>::narrow(p * share);
      }
  }
}

#define PROBABILITIES(tag, T)                                                                                         \
  KERNEL softmax_##tag(const T* x, T* y, u64 lanes, u64 extent, u64 inner) { softmax<T>(x, y, lanes, extent, inner); } \
  KERNEL log_softmax_##tag(const T* x, T* y, u64 lanes, u64 extent, u64 inner) {                                      \
    log_softmax<T>(x, y, lanes, extent, inner);                                                                       \
  }                                                                                                                   \
  KERNEL softmax_gradient_##tag(const T* dy, const T* y, T* dx, u64 lanes, u64 extent, u64 inner) {                   \
    softmax_gradient<T>(dy, y, dx, lanes, extent, inner);                                                             \
  }                                                                                                                   \
  KERNEL log_softmax_gradient_##tag(const T* dy, const T* y, T* dx, u64 lanes, u64 extent, u64 inner) {               \
    log_softmax_gradient<T>(dy, y, dx, lanes, extent, inner);                                                         \
  }                                                                                                                   \
  KERNEL row_losses_##tag(const T* x, const void* labels, u64 kind, f64* losses, u64 rows, u64 classes) {             \
    row_losses<T>(x, labels, kind, losses, rows, classes);                                                            \
  }                                                                                                                   \
  KERNEL mean_loss_##tag(const f64* losses, T* y, u64 rows) { mean_loss<T>(losses, y, rows); }                        \
  KERNEL row_gradients_##tag(const T* d, const T* x, const void* labels, u64 kind, T* dx, u64 rows, u64 classes) {    \
    row_gradients<T>(d, x, labels, kind, dx, rows, classes);                                                          \
  }
