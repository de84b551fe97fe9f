//! wasmtime's settings, and the bounds that lie in them.

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::root_cause;
use crate::base::{Error, Result};

/// Instances that can exist at once in this process, over all its folders.
pub const MAX_INSTANCES: u32 = 256;
/// Elements of one guest table; the limit `table_elements` is below, and counts
/// all tables of an instance.
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
/// Modules of one component, as they are instantiated; the encoder of Rust procs makes 3.
const MAX_MODULES: u32 = 16;
/// Memories and tables of one component; Rust procs have 1 and 2. With these
/// bounds no component can use up the places of others.
const MAX_MEMORIES: u32 = 2;
const MAX_TABLES: u32 = 8;
/// Guest stack, `stack_bytes` in messages; a deeper recursion ends the
/// instance. It is fixed, because a guest's stack lies on that of its thread and
/// wasmtime knows one size for all guests of an engine.
pub(in crate::proc) const STACK_BYTES: usize = 512 << 10;

/// An engine that compiles as the one of this process does, and executes nothing.
pub(in crate::proc) fn compiler() -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(&language()).map_err(|e| Error::Internal(root_cause(&e)))
}

/// wasmtime's settings: a pool, so that an instance starts in microseconds; no
/// concurrency support, which halves the cost of a call of the host; only features
/// of WebAssembly that procs need and that have long been in use.
pub(super) fn pooled() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_MODULES * MAX_INSTANCES)
        .total_memories(MAX_MEMORIES * MAX_INSTANCES)
        .total_tables(MAX_TABLES * MAX_INSTANCES)
        .max_core_instances_per_component(MAX_MODULES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .total_stacks(0)
        .total_gc_heaps(0)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(64 << 10)
        .max_unused_warm_slots(16);
    let mut config = language();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The settings that compiled code depends on.
fn language() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false);
    config
}
