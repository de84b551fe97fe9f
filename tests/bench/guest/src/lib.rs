//! Procs that measure the boundary between guest and host: one that does
//! nothing, and loops over calls of the host.

mod work;

use std::hint::black_box;

use quern_udf::prelude::*;

procs! {
    /// Does nothing: its run is the cost of an instance.
    nondistributed empty {}
    /// Asks the host `count` times for the instance's shard.
    nondistributed calls { param count: int = 1000000; }
    /// Asks `count` times for the element type of a tensor: a call with a handle.
    nondistributed handle_calls { param count: int = 1000000; }
    /// Arithmetic and branches.
    nondistributed arithmetic { param count: int = 100000000; }
    /// Writes and reads of its own memory.
    nondistributed memory { param count: int = 10000000; }
}

fn empty(_: &Proc) -> Result {
    Ok(())
}

fn arithmetic(p: &Proc) -> Result {
    black_box(work::collatz(p.param("count")?));
    Ok(())
}

fn memory(p: &Proc) -> Result {
    black_box(work::primes(p.param("count")?));
    Ok(())
}

fn calls(p: &Proc) -> Result {
    for _ in 0..p.param::<u64>("count")? {
        black_box(p.shard());
    }
    Ok(())
}

fn handle_calls(p: &Proc) -> Result {
    let tensor = Tensor::zeros(Float32, &[1])?;
    for _ in 0..p.param::<u64>("count")? {
        black_box(tensor.dtype());
    }
    Ok(())
}
