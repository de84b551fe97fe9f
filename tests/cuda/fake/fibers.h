// Executes the blocks of a kernel on the processor: each CUDA thread is a fiber, a
// barrier switches to the next. The order in which fibers go on can be chosen, so
// that a missing barrier shows. What can only be a fault of the kernel ends the
// process, with the reason: a barrier that not all threads reach, a lane outside
// the mask it names.
#pragma once
#include "shim.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <sys/mman.h>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define SHIM_ASAN 1
#else
#define SHIM_ASAN 0
#endif

extern "C" void shim_switch(void** save, void* to);
asm(R"(.text
.globl shim_switch
.type shim_switch,@function
shim_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi); movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size shim_switch,.-shim_switch
)");
extern "C" { __attribute__((visibility("default"))) __thread ShimThread* shim_thread = nullptr; }

namespace fibers {

[[noreturn]] inline void fault(const char* why) { fprintf(stderr, "fake GPU: %s\n", why); abort(); }

enum State : uint8_t { READY, AT_BARRIER, IN_WARP, DONE };
// Lanes of a warp that wait for each other under one mask.
struct Group { unsigned mask = 0, arrived = 0, generation = 0; uint64_t values[2][32]; };
struct Warp { unsigned alive = 0; Group groups[4]; };
struct Fiber { ShimThread at; void* stack_pointer = nullptr; char* stack = nullptr; void* asan = nullptr; State state = DONE; int lane = 0, warp = 0; };
constexpr size_t STACK_BYTES = 64 << 10;

// One thread of the processor that executes blocks.
struct Worker {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<char> shared;
  void* back = nullptr;
  void* back_asan = nullptr;
  const void* back_stack = nullptr;
  size_t back_size = 0;
  Fiber* current = nullptr;
  void (*kernel)(void**) = nullptr;
  void** params = nullptr;
  unsigned order = 0;
  uint64_t progress = 0;
  int count = 0, all = 1, any = 0, reduced[3] = {};

  void leave() {
    Fiber* me = current;
#if SHIM_ASAN
    __sanitizer_start_switch_fiber(me->state == DONE ? nullptr : &me->asan, back_stack, back_size);
#endif
    shim_switch(&me->stack_pointer, back);
#if SHIM_ASAN
    __sanitizer_finish_switch_fiber(me->asan, &back_stack, &back_size);
#endif
  }
  void enter(Fiber& fiber) {
    current = &fiber;
    shim_thread = &fiber.at;
#if SHIM_ASAN
    __sanitizer_start_switch_fiber(&back_asan, fiber.stack, STACK_BYTES);
#endif
    shim_switch(&back, fiber.stack_pointer);
#if SHIM_ASAN
    __sanitizer_finish_switch_fiber(back_asan, nullptr, nullptr);
#endif
  }
  void release(Warp& warp) {
    for (auto& g : warp.groups)
      if (g.mask && g.arrived && (g.arrived & warp.alive) == (g.mask & warp.alive)) { g.arrived = 0; g.generation++; progress++; }
  }
  Group& group(Warp& warp, unsigned mask) {
    for (auto& g : warp.groups) if (g.mask == mask) return g;
    for (auto& g : warp.groups) if (!g.mask || !g.arrived) { g.mask = mask; return g; }
    fault("more than 4 masks at a time in one warp");
  }
  void prepare(ShimThread at, unsigned shared_bytes);
  void run(ShimThread at, unsigned shared_bytes);
};
inline thread_local Worker* worker = nullptr;

inline void begin() {
  Worker* w = worker;
#if SHIM_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &w->back_stack, &w->back_size);
#endif
  w->kernel(w->params);
  Fiber* me = w->current;
  me->state = DONE;
  w->progress++;
  Warp& warp = w->warps[me->warp];
  warp.alive &= ~(1u << me->lane);
  w->release(warp);
  w->leave();
  __builtin_unreachable();
}

inline void Worker::prepare(ShimThread at, unsigned shared_bytes) {
  shim_dim size = at.block_size;
  unsigned n = size.x * size.y * size.z;
  if (fibers.size() < n) fibers.resize(n);
  warps.assign((n + 31) / 32, Warp{});
  shared.assign(shared_bytes + 64, (char)0xCB);  // so that reading what nobody wrote shows
  at.shared = (void*)(((uintptr_t)shared.data() + 63) & ~63ull);
  for (unsigned i = 0; i < n; i++) {
    Fiber& fiber = fibers[i];
    if (!fiber.stack)
      fiber.stack = (char*)mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    fiber.at = at;
    fiber.at.thread = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    fiber.state = READY;
    fiber.lane = i & 31;
    fiber.warp = i / 32;
    warps[fiber.warp].alive |= 1u << fiber.lane;
    uint64_t* top = (uint64_t*)(fiber.stack + STACK_BYTES - 64);
    *--top = 0;
    *--top = (uint64_t)(void*)begin;
    for (int j = 0; j < 6; j++) *--top = 0;
    fiber.stack_pointer = top;
  }
}

// Executes one block. Order 0 goes through the threads forwards, 1 backwards, a
// larger one with that stride.
inline void Worker::run(ShimThread at, unsigned shared_bytes) {
  prepare(at, shared_bytes);
  unsigned n = at.block_size.x * at.block_size.y * at.block_size.z, stride = order;
  while (stride > 1 && std::gcd(stride, n) != 1) stride++;  // each thread once
  for (;;) {
    uint64_t before = progress;
    for (unsigned j = 0; j < n; j++) {
      unsigned i = order == 0 ? j : order == 1 ? n - 1 - j : (unsigned)(((uint64_t)j * stride + stride) % n);
      if (fibers[i].state == READY || fibers[i].state == IN_WARP) enter(fibers[i]);
    }
    unsigned alive = 0, waiting = 0;
    for (unsigned i = 0; i < n; i++) {
      alive += fibers[i].state != DONE;
      waiting += fibers[i].state == AT_BARRIER;
    }
    if (!alive) return;
    if (waiting == alive) {
      reduced[0] = count; reduced[1] = all; reduced[2] = any;
      count = 0; all = 1; any = 0;
      for (unsigned i = 0; i < n; i++) if (fibers[i].state == AT_BARRIER) fibers[i].state = READY;
    } else if (progress == before) {
      fault("deadlock: a barrier or an exchange in a warp that not all its threads reach");
    }
  }
}

// Waits for the other lanes of `mask`; all see each other's values then.
inline Group& meet(unsigned mask, uint64_t value, unsigned& generation) {
  Worker* w = worker;
  Fiber* me = w->current;
  Warp& warp = w->warps[me->warp];
  if (!(mask >> me->lane & 1)) fault("an exchange in a warp by a lane that is not in the mask");
  Group& g = w->group(warp, mask);
  generation = g.generation;
  g.values[generation & 1][me->lane] = value;
  g.arrived |= 1u << me->lane;
  w->release(warp);
  while (g.generation == generation) { me->state = IN_WARP; w->leave(); }
  me->state = READY;
  return g;
}

}  // namespace fibers

#define SHIM_API extern "C" __attribute__((visibility("default")))
SHIM_API void shim_trap(const char* why) { fibers::fault(why); }
SHIM_API void shim_barrier() {
  fibers::worker->progress++;
  fibers::worker->current->state = fibers::AT_BARRIER;
  fibers::worker->leave();
}
SHIM_API int shim_barrier_reduce(int p, int how) {
  fibers::Worker* w = fibers::worker;
  w->count += p; w->all &= p; w->any |= p;
  shim_barrier();
  return w->reduced[how];
}
SHIM_API uint64_t shim_exchange(unsigned mask, uint64_t value, int lane) {
  unsigned generation;
  fibers::Group& g = fibers::meet(mask, value, generation);
  return g.values[generation & 1][lane & 31];
}
SHIM_API unsigned shim_ballot(unsigned mask, int p) {
  unsigned alive = fibers::worker->warps[fibers::worker->current->warp].alive, generation, bits = 0;
  fibers::Group& g = fibers::meet(mask, p != 0, generation);
  for (int i = 0; i < 32; i++) if ((mask & alive) >> i & 1) bits |= (unsigned)(g.values[generation & 1][i] & 1) << i;
  return bits;
}
