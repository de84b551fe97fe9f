// A stable radix sort of 64-bit keys with 64-bit values, 4 bits in a pass. A block has
// 256 threads and a tile of 2048 neighbours, a thread 8 of them in order, so equal
// digits keep their order.

#define DIGITS 16
#define THREADS 256
#define EACH 8

DEVICE u32 digit_of(u64 key, u64 shift) { return (u32)(key >> shift) & (DIGITS - 1); }

// Sums before each of `n` counts per thread in place; every thread has `each` of them.
DEVICE void sum_before(u32* counts, u32 each) {
  __shared__ u32 totals[THREADS];
  const u32 t = threadIdx.x;
  u32 own = 0;
  for (u32 i = 0; i < each; i++) own += counts[t * each + i];
  totals[t] = own;
  __syncthreads();
  for (u32 step = 1; step < THREADS; step *= 2) {
    const u32 before = t >= step ? totals[t - step] : 0;
    __syncthreads();
    totals[t] += before;
    __syncthreads();
  }
  u32 sum = totals[t] - own;
  for (u32 i = 0; i < each; i++) {
    const u32 count = counts[t * each + i];
    counts[t * each + i] = sum;
    sum += count;
  }
  __syncthreads();
}

// How often each thread of the tile has each digit: counts[digit][thread].
DEVICE void count_digits(const u64* keys, u64 n, u64 shift, u32* counts) {
  for (u32 d = 0; d < DIGITS; d++) counts[d * THREADS + threadIdx.x] = 0;
  const u64 first = blockIdx.x * (u64)(THREADS * EACH) + threadIdx.x * (u64)EACH;
  for (u64 i = first; i < first + EACH && i < n; i++) counts[digit_of(keys[i], shift) * THREADS + threadIdx.x]++;
  __syncthreads();
}

// histogram[digit][tile]: how often each tile has each digit.
KERNEL sort_count(const u64* keys, u64 n, u64 shift, u64* histogram) {
  __shared__ u32 counts[DIGITS * THREADS];
  count_digits(keys, n, shift, counts);
  if (threadIdx.x < DIGITS) {
    u64 sum = 0;
    for (u32 t = 0; t < THREADS; t++) sum += counts[threadIdx.x * THREADS + t];
    histogram[threadIdx.x * (u64)gridDim.x + blockIdx.x] = sum;
  }
}

// Sums before each of the m numbers; one block.
KERNEL sort_sum(u64* numbers, u64 m) {
  __shared__ u64 totals[THREADS];
  const u64 each = (m + THREADS - 1) / THREADS, from = threadIdx.x * each, to = from + each < m ? from + each : m;
  u64 own = 0;
  for (u64 i = from; i < to; i++) own += numbers[i];
  totals[threadIdx.x] = own;
  __syncthreads();
  u64 sum = 0;
  for (u32 t = 0; t < threadIdx.x; t++) sum += totals[t];
  for (u64 i = from; i < to; i++) {
    const u64 number = numbers[i];
    numbers[i] = sum;
    sum += number;
  }
}

// Moves the elements of each tile to their places.
KERNEL sort_move(const u64* keys, const u64* values, u64 n, u64 shift, const u64* starts, u64* keys_out, u64* values_out) {
  __shared__ u32 counts[DIGITS * THREADS];
  __shared__ u32 first_of[DIGITS];
  count_digits(keys, n, shift, counts);
  sum_before(counts, DIGITS);
  if (threadIdx.x < DIGITS) first_of[threadIdx.x] = counts[threadIdx.x * THREADS];
  __syncthreads();
  const u64 first = blockIdx.x * (u64)(THREADS * EACH) + threadIdx.x * (u64)EACH;
  for (u64 i = first; i < first + EACH && i < n; i++) {
    const u32 digit = digit_of(keys[i], shift);
    const u64 at = starts[digit * (u64)gridDim.x + blockIdx.x] + counts[digit * THREADS + threadIdx.x]++ - first_of[digit];
    keys_out[at] = keys[i];
    values_out[at] = values[i];
  }
}
