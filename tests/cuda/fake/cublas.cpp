// A libcublas.so with what Quern calls: products of column-major matrices, in a
// batch, added up in double precision.
#include <cstddef>
#include <cstdint>
#include <cstring>
#define API extern "C" __attribute__((visibility("default")))
extern "C" void shim_submit(void*, void (*)(const void*), const void*, size_t);
extern "C" int shim_inside(uint64_t, size_t);

enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
struct Handle { void* stream; };
struct Product {
  int ta, tb, m, n, k, lda, ldb, ldc, batch, in, out, compute;
  double alpha, beta;
  const void *a, *b;
  void* c;
  long long sa, sb, sc;
};

static size_t width(int type) { return type == F64 ? 8 : type == F32 ? 4 : 2; }
static double get(const void* p, size_t i, int type) {
  switch (type) {
    case F64: return ((const double*)p)[i];
    case F32: return ((const float*)p)[i];
    case BF16: { uint32_t bits = (uint32_t)((const uint16_t*)p)[i] << 16; float f; memcpy(&f, &bits, 4); return f; }
    default: return (float)((const _Float16*)p)[i];
  }
}
// A factor as the units of a GPU see it: FAST_TF32 keeps 10 bits of a fraction, FAST_16BF 7.
static double factor(double value, int type, int compute) {
  if (type != F32 || (compute != 77 && compute != 75)) return value;
  float f = (float)value;
  uint32_t bits, dropped = compute == 77 ? 13 : 16;
  memcpy(&bits, &f, 4);
  if ((bits & 0x7f800000) == 0x7f800000) return value;
  bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1);
  bits = bits >> dropped << dropped;
  memcpy(&f, &bits, 4);
  return f;
}
static void set(void* p, size_t i, int type, double value) {
  float f = (float)value;
  switch (type) {
    case F64: ((double*)p)[i] = value; break;
    case F32: ((float*)p)[i] = f; break;
    case BF16: { uint32_t bits; memcpy(&bits, &f, 4); bits += 0x7fff + (bits >> 16 & 1); ((uint16_t*)p)[i] = bits >> 16; break; }
    default: ((_Float16*)p)[i] = (_Float16)f;
  }
}
static void multiply(const void* argument) {
  const Product& g = *(const Product*)argument;
  for (int z = 0; z < g.batch; z++)
    for (int j = 0; j < g.n; j++)
      for (int i = 0; i < g.m; i++) {
        double sum = 0;
        for (int p = 0; p < g.k; p++)
          sum += factor(get(g.a, z * g.sa + (g.ta ? (size_t)i * g.lda + p : (size_t)p * g.lda + i), g.in), g.in, g.compute) *
                 factor(get(g.b, z * g.sb + (g.tb ? (size_t)p * g.ldb + j : (size_t)j * g.ldb + p), g.in), g.in, g.compute);
        size_t at = z * g.sc + (size_t)j * g.ldc + i;
        set(g.c, at, g.out, g.alpha * sum + (g.beta != 0 ? g.beta * get(g.c, at, g.out) : 0));
      }
}
// Whether all of a batch of matrices of `high` by `wide` lies in device memory.
static bool holds(const void* p, int high, int wide, int ld, long long stride, int batch, int type) {
  if (ld < high) return false;
  size_t elements = (size_t)stride * (batch - 1) + (size_t)ld * (wide - 1) + high;
  return shim_inside((uint64_t)p, elements * width(type));
}

static int fail_create = 0, fail_product = 0;
static int once(int& status) { int answer = status; status = 0; return answer; }
// For tests: the next handle, or the next product, answers this status.
API void fake_blas_fail(int create, int product) { fail_create = create; fail_product = product; }

API int cublasCreate_v2(void** h) { if (int r = once(fail_create)) return r; *h = new Handle{}; return 0; }
API int cublasDestroy_v2(void* h) { delete (Handle*)h; return 0; }
API int cublasSetStream_v2(void* h, void* s) { ((Handle*)h)->stream = s; return 0; }
API int cublasSetWorkspace_v2(void*, void*, size_t) { return 0; }
API int cublasGemmStridedBatchedEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at, int lda, long long sa, const void* b, int bt, int ldb, long long sb, const void* beta, void* c, int ct, int ldc, long long sc, int batch, int compute, int) {
  if (int r = once(fail_product)) return r;
  if (m <= 0 || n <= 0 || k <= 0 || batch <= 0 || at != bt || ((at == F64) != (compute == 70))) return 7;
  bool fits = (ta ? holds(a, k, m, lda, sa, batch, at) : holds(a, m, k, lda, sa, batch, at)) &&
              (tb ? holds(b, n, k, ldb, sb, batch, bt) : holds(b, k, n, ldb, sb, batch, bt)) && holds(c, m, n, ldc, sc, batch, ct);
  if (!fits) return 7;
  bool wide = compute == 70;
  Product g{ta, tb, m, n, k, lda, ldb, ldc, batch, at, ct, compute, wide ? *(const double*)alpha : *(const float*)alpha, wide ? *(const double*)beta : *(const float*)beta, a, b, c, sa, sb, sc};
  shim_submit(((Handle*)h)->stream, multiply, &g, sizeof g);
  return 0;
}
