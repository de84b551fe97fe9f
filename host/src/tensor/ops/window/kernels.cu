// Windows that slide over images [n, height, width, channels]. Every thread owns an
// element of the result and adds up in the order of windows, as the processor does.

// An image and its windows, as `Geometry` in mod.rs.
struct Geometry {
  u64 n, height, width, channels, down, across, kernel_height, kernel_width, stride, padding;
};

// The first window along a dimension that contains padded position `at`.
DEVICE u64 first_window(u64 at, u64 size, u64 stride) { return at + 1 < size ? 0 : (at + 1 - size + stride - 1) / stride; }
// The number of the window behind the last one that does.
DEVICE u64 end_window(u64 at, u64 stride, u64 windows) { return at / stride + 1 < windows ? at / stride + 1 : windows; }

template <class U> DEVICE void unfold(const U* x, U* y, const Geometry& g) {
  const u64 n = g.n * g.down * g.across * g.kernel_height * g.kernel_width * g.channels;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 channel = i % g.channels, kx = i / g.channels % g.kernel_width;
    const u64 ky = i / g.channels / g.kernel_width % g.kernel_height;
    const u64 window = i / g.channels / g.kernel_width / g.kernel_height;
    // Positions before the image wrap around to large numbers.
    const u64 line = window / g.across % g.down * g.stride + ky - g.padding;
    const u64 column = window % g.across * g.stride + kx - g.padding;
    const u64 image = window / g.across / g.down;
    y[i] = line < g.height && column < g.width ? x[((image * g.height + line) * g.width + column) * g.channels + channel] : (U)0;
  }
}

template <class T> DEVICE void fold(const T* patches, T* y, const Geometry& g) {
  typedef typename As<T>::Work W;
  const u64 n = g.n * g.height * g.width * g.channels;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 channel = i % g.channels, pixel = i / g.channels;
    const u64 line = pixel / g.width % g.height + g.padding, column = pixel % g.width + g.padding;
    const u64 image = pixel / g.width / g.height;
    W sum = (W)0;
    for (u64 wy = first_window(line, g.kernel_height, g.stride); wy < end_window(line, g.stride, g.down); wy++)
      for (u64 wx = first_window(column, g.kernel_width, g.stride); wx < end_window(column, g.stride, g.across); wx++) {
        const u64 window = (image * g.down + wy) * g.across + wx;
        const u64 ky = line - wy * g.stride, kx = column - wx * g.stride;
        sum = plus(sum, As<T>::widen(patches[((window * g.kernel_height + ky) * g.kernel_width + kx) * g.channels + channel]));
      }
    y[i] = As<T>::narrow(sum);
  }
}

// The place of the first largest element of a channel under a window.
template <class T> DEVICE u64 largest(const T* x, const Geometry& g, u64 image, u64 wy, u64 wx, u64 channel) {
  typedef typename As<T>::Work W;
  u64 place = ~0ull;
  W best = (W)0;
  for (u64 ky = 0; ky < g.kernel_height; ky++)
    for (u64 kx = 0; kx < g.kernel_width; kx++) {
      const u64 line = wy * g.stride + ky, column = wx * g.stride + kx;
      const u64 at = ((image * g.height + line) * g.width + column) * g.channels + channel;
      const W value = As<T>::widen(x[at]);
      if (place == ~0ull || value > best || (value != value && best == best)) best = value, place = at;
    }
  return place;
}

template <class T> DEVICE void max_pool(const T* x, T* y, const Geometry& g) {
  const u64 n = g.n * g.down * g.across * g.channels;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 window = i / g.channels;
    y[i] = x[largest(x, g, window / g.across / g.down, window / g.across % g.down, window % g.across, i % g.channels)];
  }
}

template <class T> DEVICE void max_pool_gradient(const T* dy, const T* x, T* dx, const Geometry& g) {
  typedef typename As<T>::Work W;
  const u64 n = g.n * g.height * g.width * g.channels;
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    const u64 channel = i % g.channels, pixel = i / g.channels;
    const u64 line = pixel / g.width % g.height, column = pixel % g.width, image = pixel / g.width / g.height;
    W sum = (W)0;
    for (u64 wy = first_window(line, g.kernel_height, g.stride); wy < end_window(line, g.stride, g.down); wy++)
      for (u64 wx = first_window(column, g.kernel_width, g.stride); wx < end_window(column, g.stride, g.across); wx++)
        if (largest(x, g, image, wy, wx, channel) == i) {
          const u64 window = (image * g.down + wy) * g.across + wx;
          sum = As<T>::widen(As<T>::narrow(plus(sum, As<T>::widen(dy[window * g.channels + channel]))));
        }
    dx[i] = As<T>::narrow(sum);
  }
}

#define UNFOLDS(tag, U) \
  KERNEL unfold_##tag(const U* x, U* y, Geometry g) { unfold<U>(x, y, g); }
#define WINDOWS(tag, T)                                                                                               \
  KERNEL fold_##tag(const T* patches, T* y, Geometry g) { fold<T>(patches, y, g); }                                   \
  KERNEL max_pool_##tag(const T* x, T* y, Geometry g) { max_pool<T>(x, y, g); }                                       \
  KERNEL max_pool_gradient_##tag(const T* dy, const T* x, T* dx, Geometry g) { max_pool_gradient<T>(dy, x, dx, g); }
