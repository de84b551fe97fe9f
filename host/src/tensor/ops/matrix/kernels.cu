// What follows the product of a `linear`: bias and activation, and rounding where the
// product is in single precision and the result in half.

template <class W> DEVICE W activated(W x, u64 activation) {
  switch (activation) {
    case 1: return x < (W)0 ? (W)0 : x;
    case 2: return sigmoid_of(x);
    case 3: return tanh_of(x);
    default: return x;
  }
}

// y = activation(product + bias) of rows of `columns`; `bias` may be null.
template <class Z, class T> DEVICE void finish(const Z* product, const T* bias, T* y, u64 n, u64 columns, u64 activation) {
  for (u64 i = FIRST; i < n; i += ALL_THREADS) {
    Z z = product[i];
    if (bias) z = z + (Z)As<T>::widen(bias[i % columns]);
    y[i] = As<T>::narrow(activated(z, activation));
  }
}

#define FINISHES(tag, T)                                                                                              \
  KERNEL finish_##tag(const As<T>::Work* product, const T* bias, T* y, u64 n, u64 columns, u64 activation) {          \
    finish<As<T>::Work, T>(product, bias, y, n, columns, activation);                                                 \
  }
