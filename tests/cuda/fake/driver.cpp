// A libcuda.so that has one device: the processor. Only what Quern calls is there.
//
// It is strict where a GPU is: work waits in its stream until somebody waits for
// it, memory holds 0xCB until it is written, copies and launches are checked, and
// after an error that loses the device every call answers that error until the
// context is reset. Copies are counted, and any call can be made to fail.
#include "fibers.h"
#include <dlfcn.h>
#include <unistd.h>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

typedef int Result;
typedef uint64_t Address;
enum : int {
  OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901
};
typedef std::function<void()> Work;

struct Stream { bool capturing = false, broken = false; std::vector<Work> captured; };
struct Event { std::chrono::steady_clock::time_point time; bool recorded = false; };
struct Graph { std::vector<Work> work; };
struct Function { void (*call)(void**); int (*sizes)(size_t*); };
struct Module { void* library; std::map<std::string, Function*> functions; };

// What tests read: in the order of `Counts` in bench.rs.
struct Counts { uint64_t calls, uploaded, downloaded, copied, launches, replays, live_bytes, live_objects, resets; };

// Never destroyed: a device's thread may still use them while the process ends.
static auto& lock = *new std::recursive_mutex;
static Counts counts;
static auto& waiting = *new std::deque<Work>;                // of all streams, in order
static auto& memory = *new std::map<Address, size_t>;        // allocations
static auto& pinned = *new std::map<char*, size_t>;          // host memory that stays where it is
static auto& objects = *new std::set<void*>;                 // streams, events, modules, graphs
static int retained = 0, sticky = OK;
static void* capturing_stream = nullptr;
static uint64_t fail_at = 0; static int fail_with = OK;
static int fail_graph = OK;                                  // what the next launch of a graph answers
static unsigned slow_us = 0;                                 // how long each kernel takes besides
static thread_local void* current = nullptr;
static size_t total_bytes() { const char* s = getenv("QUERN_FAKE_MEMORY"); return s ? strtoull(s, nullptr, 10) : 1ull << 30; }

static bool loses(int code) { return code == ILLEGAL_ADDRESS || (code >= 714 && code <= 719) || code == 214 || code == 999; }

// Every call begins with this: it is counted, and may be made to fail.
static Result begin(bool needs_context) {
  counts.calls++;
  if (fail_at && counts.calls == fail_at) {
    if (loses(fail_with) && needs_context) sticky = fail_with;
    return fail_with;
  }
  if (sticky && needs_context) return sticky;
  return needs_context && !retained ? INVALID_CONTEXT : OK;
}
#define BEGIN(needs_context) std::lock_guard<std::recursive_mutex> held(lock); if (Result r = begin(needs_context)) return r
#define CALL BEGIN(true)
#define API SHIM_API

static void drain() { while (!waiting.empty()) { Work w = std::move(waiting.front()); waiting.pop_front(); w(); } }
static void submit(void* s, Work w) {
  Stream* stream = (Stream*)s;
  if (stream->capturing) stream->captured.push_back(std::move(w)); else waiting.push_back(std::move(w));
}
// What cannot be done while a stream records ends the recording.
static Result unsafe_call(void* s) {
  for (void* o : objects) if (o == s && ((Stream*)o)->capturing) { ((Stream*)o)->broken = true; return CAPTURE_UNSUPPORTED; }
  return OK;
}
static bool inside(Address p, size_t n) {
  auto i = memory.upper_bound(p);
  if (i == memory.begin()) return false;
  --i;
  return p + n <= i->first + i->second;
}
static bool is_pinned(const void* p, size_t n) {
  auto i = pinned.upper_bound((char*)p);
  if (i == pinned.begin()) return false;
  --i;
  return (char*)p + n <= i->first + i->second;
}
template <class T> static T* made(T* object) { objects.insert(object); counts.live_objects = objects.size(); return object; }
template <class T> static bool destroyed(void* object) {
  if (!objects.erase(object)) return false;
  counts.live_objects = objects.size();
  delete (T*)object;
  return true;
}

// ---- for tests
API void fake_counts(Counts* out) { std::lock_guard<std::recursive_mutex> held(lock); *out = counts; }
API void fake_fail_at(uint64_t call, int code) { std::lock_guard<std::recursive_mutex> held(lock); fail_at = call ? counts.calls + call : 0; fail_with = code; }
API void fake_fail_graph(int code) { std::lock_guard<std::recursive_mutex> held(lock); fail_graph = code; }
API void fake_slow(unsigned us) { std::lock_guard<std::recursive_mutex> held(lock); slow_us = us; }
API int fake_failed() { std::lock_guard<std::recursive_mutex> held(lock); return fail_at && counts.calls >= fail_at; }
// For the fake cuBLAS: work on a stream, with its argument copied.
API void shim_submit(void* s, void (*f)(const void*), const void* argument, size_t n) {
  std::lock_guard<std::recursive_mutex> held(lock);
  std::vector<char> copy((const char*)argument, (const char*)argument + n);
  counts.launches++;
  submit(s, [=] { f(copy.data()); });
}
API int shim_inside(Address p, size_t n) { std::lock_guard<std::recursive_mutex> held(lock); return inside(p, n); }

// ---- device and context
API Result cuInit(unsigned) { BEGIN(false); return getenv("QUERN_FAKE_NO_DEVICE") ? NO_DEVICE : OK; }
API Result cuDriverGetVersion(int* v) { BEGIN(false); *v = 13000; return OK; }
API Result cuDeviceGetCount(int* n) { BEGIN(false); *n = 1; return OK; }
API Result cuDeviceGet(int* d, int i) { BEGIN(false); if (i) return 101; *d = 0; return OK; }
API Result cuDeviceGetName(char* s, int n, int) { BEGIN(false); snprintf(s, n, "fake GPU"); return OK; }
API Result cuDeviceTotalMem_v2(size_t* n, int) { BEGIN(false); *n = total_bytes(); return OK; }
API Result cuDeviceGetAttribute(int* v, int a, int) { BEGIN(false); *v = a == 75 ? 9 : 0; return OK; }
API Result cuDevicePrimaryCtxRetain(void** c, int) { BEGIN(false); retained++; *c = &retained; return OK; }
static void forget_all() {
  waiting.clear();
  for (auto& m : memory) free((void*)m.first);
  memory.clear();
  for (auto& p : pinned) free(p.first);
  pinned.clear();
  capturing_stream = nullptr;
  objects.clear();  // leaked: who still holds one gets INVALID_HANDLE, not a crash
  counts.live_bytes = counts.live_objects = 0;
}
API Result cuDevicePrimaryCtxRelease_v2(int) {
  BEGIN(false);
  if (retained && --retained == 0) { drain(); forget_all(); }
  return OK;
}
API Result cuDevicePrimaryCtxReset_v2(int) {
  std::lock_guard<std::recursive_mutex> held(lock);
  counts.calls++; counts.resets++;
  sticky = OK;
  forget_all();
  return OK;
}
API Result cuCtxSetCurrent(void* c) { CALL; current = c; return OK; }
API Result cuMemGetInfo_v2(size_t* f, size_t* t) { CALL; *t = total_bytes(); *f = *t - counts.live_bytes; return OK; }

// ---- memory
API Result cuMemAlloc_v2(Address* p, size_t n) {
  CALL;
  if (!current) return INVALID_CONTEXT;
  if (Result r = unsafe_call(capturing_stream)) return r;
  if (!n) return INVALID_VALUE;
  if (counts.live_bytes + n > total_bytes()) return OUT_OF_MEMORY;
  void* q = nullptr;
  if (posix_memalign(&q, 256, n)) return OUT_OF_MEMORY;
  memset(q, 0xCB, n);
  memory[(Address)q] = n;
  counts.live_bytes += n;
  *p = (Address)q;
  return OK;
}
API Result cuMemFree_v2(Address p) {
  CALL;
  drain();
  auto i = memory.find(p);
  if (i == memory.end()) return INVALID_VALUE;
  counts.live_bytes -= i->second;
  memory.erase(i);
  free((void*)p);
  return OK;
}
API Result cuMemHostAlloc(void** p, size_t n, unsigned) {
  CALL;
  if (posix_memalign(p, 4096, n ? n : 1)) return OUT_OF_MEMORY;
  pinned[(char*)*p] = n;
  return OK;
}
API Result cuMemFreeHost(void* p) {
  CALL;
  drain();
  if (!pinned.erase((char*)p)) return INVALID_VALUE;
  free(p);
  return OK;
}
API Result cuMemcpyHtoDAsync_v2(Address d, const void* s, size_t n, void* st) {
  CALL;
  if (!objects.count(st)) return INVALID_HANDLE;
  if (!inside(d, n)) return INVALID_VALUE;
  counts.uploaded += n;
  submit(st, [=] { memcpy((void*)d, s, n); });
  if (!is_pinned(s, n)) drain();
  return OK;
}
API Result cuMemcpyDtoHAsync_v2(void* d, Address s, size_t n, void* st) {
  CALL;
  if (!objects.count(st)) return INVALID_HANDLE;
  if (!inside(s, n)) return INVALID_VALUE;
  counts.downloaded += n;
  submit(st, [=] { memcpy(d, (void*)s, n); });
  if (!is_pinned(d, n)) drain();
  return OK;
}
API Result cuMemcpyDtoDAsync_v2(Address d, Address s, size_t n, void* st) {
  CALL;
  if (!objects.count(st)) return INVALID_HANDLE;
  if (!inside(d, n) || !inside(s, n)) return INVALID_VALUE;
  submit(st, [=] { counts.copied += n; memmove((void*)d, (void*)s, n); });
  return OK;
}
API Result cuMemsetD8Async(Address d, unsigned char v, size_t n, void* st) {
  CALL;
  if (!objects.count(st)) return INVALID_HANDLE;
  if (!inside(d, n)) return INVALID_VALUE;
  submit(st, [=] { memset((void*)d, v, n); });
  return OK;
}

// ---- streams and events
API Result cuStreamCreate(void** s, unsigned) { CALL; *s = made(new Stream); return OK; }
API Result cuStreamDestroy_v2(void* s) { CALL; drain(); return destroyed<Stream>(s) ? OK : INVALID_HANDLE; }
API Result cuStreamSynchronize(void* s) { CALL; if (!objects.count(s)) return INVALID_HANDLE; if (Result r = unsafe_call(s)) return r; drain(); return sticky; }
API Result cuEventCreate(void** e, unsigned) { CALL; *e = made(new Event); return OK; }
API Result cuEventDestroy_v2(void* e) { CALL; drain(); return destroyed<Event>(e) ? OK : INVALID_HANDLE; }
API Result cuEventRecord(void* e, void* s) {
  CALL;
  if (!objects.count(e) || !objects.count(s)) return INVALID_HANDLE;
  Event* event = (Event*)e;
  event->recorded = true;
  submit(s, [=] { event->time = std::chrono::steady_clock::now(); });
  return OK;
}
API Result cuEventQuery(void* e) { CALL; if (!objects.count(e)) return INVALID_HANDLE; drain(); return sticky; }
API Result cuEventSynchronize(void* e) { CALL; if (!objects.count(e)) return INVALID_HANDLE; drain(); return sticky; }
API Result cuEventElapsedTime_v2(float* ms, void* a, void* b) {
  CALL;
  if (!objects.count(a) || !objects.count(b) || !((Event*)a)->recorded || !((Event*)b)->recorded) return INVALID_HANDLE;
  *ms = std::chrono::duration<float, std::milli>(((Event*)b)->time - ((Event*)a)->time).count();
  return OK;
}

// ---- kernels: an image is "QFAKE", its length, and a library of nvrtc.cpp
API Result cuModuleLoadData(void** m, const void* image) {
  CALL;
  uint64_t n;
  if (memcmp(image, "QFAKE\0\0\0", 8)) return INVALID_IMAGE;
  memcpy(&n, (const char*)image + 8, 8);
  // Where the kernels of this test are kept; what a killed process leaves goes with them.
  std::string path = std::string(getenv("QUERN_FAKE_KERNELS") ? getenv("QUERN_FAKE_KERNELS") : ".") + "/loaded-XXXXXX";
  int file = mkstemp(path.data());
  if (file < 0 || write(file, (const char*)image + 16, n) != (ssize_t)n) return INVALID_IMAGE;
  close(file);
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) fprintf(stderr, "fake GPU: %s\n", dlerror());
  unlink(path.c_str());
  if (!library) return INVALID_IMAGE;
  *m = made(new Module{library, {}});
  return OK;
}
API Result cuModuleUnload(void* m) { CALL; drain(); return destroyed<Module>(m) ? OK : INVALID_HANDLE; }
API Result cuModuleGetFunction(void** f, void* m, const char* name) {
  CALL;
  if (!objects.count(m)) return INVALID_HANDLE;
  Module* module = (Module*)m;
  void* call = dlsym(module->library, (std::string("shim_call_") + name).c_str());
  void* sizes = dlsym(module->library, (std::string("shim_sizes_") + name).c_str());
  if (!call || !sizes) return NOT_FOUND;
  Function*& function = module->functions[name];
  if (!function) function = new Function{(void (*)(void**))call, (int (*)(size_t*))sizes};
  *f = function;
  return OK;
}
API Result cuFuncSetAttribute(void*, int, int) { CALL; return OK; }
static void execute(Function* f, shim_dim grid, shim_dim block, unsigned shared, void** params) {
  static unsigned n_workers = getenv("QUERN_FAKE_THREADS") ? atoi(getenv("QUERN_FAKE_THREADS")) : 1;
  static unsigned order = getenv("QUERN_FAKE_ORDER") ? atoi(getenv("QUERN_FAKE_ORDER")) : 0;
  uint64_t total = (uint64_t)grid.x * grid.y * grid.z;
  std::atomic<uint64_t> next{0};
  auto work = [&] {
    static thread_local fibers::Worker own;
    fibers::worker = &own;
    own.kernel = f->call; own.params = params; own.order = order;
    for (uint64_t j; (j = next++) < total;) {
      uint64_t i = order == 1 ? total - 1 - j : j;
      own.run({{}, {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / ((uint64_t)grid.x * grid.y))}, block, grid, nullptr}, shared);
    }
  };
  if (n_workers <= 1 || total < 2) return work();
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < n_workers; i++) workers.emplace_back(work);
  for (auto& w : workers) w.join();
}
API Result cuLaunchKernel(void* fn, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* st, void** params, void**) {
  CALL;
  if (!objects.count(st)) return INVALID_HANDLE;
  if (!gx || !gy || !gz || !bx || !by || !bz || (uint64_t)bx * by * bz > 1024 || gy > 65535 || gz > 65535 || shared > 232448) return INVALID_VALUE;
  Function* f = (Function*)fn;
  size_t sizes[64];
  int n = f->sizes(sizes);
  std::vector<std::vector<char>> copies(n);
  for (int i = 0; i < n; i++) copies[i].assign((char*)params[i], (char*)params[i] + sizes[i]);
  counts.launches++;
  shim_dim grid{gx, gy, gz}, block{bx, by, bz};
  submit(st, [=]() mutable {
    std::vector<void*> pointers;
    for (auto& c : copies) pointers.push_back(c.data());
    execute(f, grid, block, shared, pointers.data());
    if (slow_us) usleep(slow_us);
  });
  return OK;
}

// ---- graphs
API Result cuStreamBeginCapture_v2(void* s, int) { CALL; if (!objects.count(s) || ((Stream*)s)->capturing) return INVALID_HANDLE; *(Stream*)s = {true, false, {}}; capturing_stream = s; return OK; }
API Result cuStreamEndCapture(void* s, void** g) {
  BEGIN(true);
  Stream* stream = (Stream*)s;
  if (!objects.count(s) || !stream->capturing) return INVALID_HANDLE;
  bool broken = stream->broken;
  capturing_stream = nullptr;
  *g = broken ? nullptr : made(new Graph{std::move(stream->captured)});
  *stream = {};
  return broken ? CAPTURE_INVALIDATED : OK;
}
API Result cuGraphInstantiateWithFlags(void** x, void* g, unsigned long long) { CALL; if (!objects.count(g)) return INVALID_HANDLE; *x = made(new Graph(*(Graph*)g)); return OK; }
API Result cuGraphLaunch(void* x, void* s) {
  CALL;
  if (!objects.count(x) || !objects.count(s)) return INVALID_HANDLE;
  if (int r = fail_graph) { fail_graph = OK; return r; }
  counts.replays++;
  for (auto& w : ((Graph*)x)->work) submit(s, w);
  return OK;
}
API Result cuGraphDestroy(void* g) { CALL; return destroyed<Graph>(g) ? OK : INVALID_HANDLE; }
API Result cuGraphExecDestroy(void* x) { CALL; drain(); return destroyed<Graph>(x) ? OK : INVALID_HANDLE; }
API Result cuGetErrorName(int code, const char** s) {
  switch (code) {
    case 1: *s = "CUDA_ERROR_INVALID_VALUE"; break;
    case 2: *s = "CUDA_ERROR_OUT_OF_MEMORY"; break;
    case 100: *s = "CUDA_ERROR_NO_DEVICE"; break;
    case 200: *s = "CUDA_ERROR_INVALID_IMAGE"; break;
    case 201: *s = "CUDA_ERROR_INVALID_CONTEXT"; break;
    case 400: *s = "CUDA_ERROR_INVALID_HANDLE"; break;
    case 500: *s = "CUDA_ERROR_NOT_FOUND"; break;
    case 700: *s = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
    case 719: *s = "CUDA_ERROR_LAUNCH_FAILED"; break;
    case 900: *s = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
    case 901: *s = "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"; break;
    case 999: *s = "CUDA_ERROR_UNKNOWN"; break;
    default: *s = "CUDA_ERROR"; break;
  }
  return OK;
}
API Result cuGetErrorString(int code, const char** s) { return cuGetErrorName(code, s); }
