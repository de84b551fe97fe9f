//! One proc per way in which a guest can fail or misbehave. What each must lead
//! to is said beside it; the tests of `proc` and `run` hold the host to it.

mod floods;
mod handles;

use std::hint::black_box;

use floods::{
    answers_forever, asks_for_too_much, calls_forever, ignores_the_end, injects, never_repeats, panics_in_drop,
    saves_forever, shouts_forever,
};
use handles::{drops_twice, mixes_handles, uses_what_is_gone};
use quern_udf::prelude::*;

procs! {
    /// Fails with `invalid-argument` and the text of `message`.
    nondistributed returns_error { param message: string = "the moon is in the wrong phase"; }
    /// Traps; the log has `row 7 has no label` and a place in this file.
    nondistributed panics {}
    /// Traps; the log has `attempt to divide by zero`.
    nondistributed divides_by_zero {}
    /// Ends at the deadline or a kill, and in no other way.
    nondistributed loops_forever {}
    /// As `loops_forever`, but spends its time in the host's matrix products.
    nondistributed computes_forever { param size: int = 1000; }
    /// Fails with `out-of-range` or `invalid-argument`, and both shapes in the text.
    nondistributed shape_mismatch {}
    /// Fails after all of `rows` were written: none may be seen.
    nondistributed writes_then_fails { output rows { n: int64 } param count: int = 1000; }
    /// Writes `count` rows, as long as nothing stops it.
    nondistributed writes { output rows { n: int64 } param count: int = 1000; }
    /// Fails with `type-mismatch`: a float32 tensor for an int64 column.
    nondistributed writes_wrong_type { output rows { n: int64 } }
    /// Fails with `not-found`; the text names the column there is.
    nondistributed reads_unknown_column { input rows; }
    /// Runs into the limit `guest_memory_bytes`.
    nondistributed allocates_forever {}
    /// Fails with `quota-exceeded` and `device_bytes`.
    nondistributed fills_the_device {}
    /// Runs into the limit `handles`.
    nondistributed hoards_handles {}
    /// Runs out of stack.
    nondistributed recurses {}
    /// Completes; no more than `log_lines` lines are kept.
    nondistributed talks_too_much { param lines: int = 20000; }

    /// Logs, counts and reports without end.
    nondistributed shouts_forever {}
    /// Calls the host without end.
    nondistributed calls_forever {}
    /// Sets results until one is refused.
    nondistributed answers_forever {}
    /// Saves models until one is refused.
    nondistributed saves_forever { output kept: models {} }
    /// Completes; every step was a program that was not seen before.
    nondistributed never_repeats { param steps: int = 500; }
    /// Fails with `quota-exceeded`: shapes that are far too large.
    nondistributed asks_for_too_much {}
    /// Panics once more while it returns an error.
    nondistributed panics_in_drop {}
    /// Waits to be cancelled, then goes on as if it had not been.
    nondistributed ignores_the_end {}
    /// Uses a table as a tensor.
    nondistributed mixes_handles { output rows { n: int64 } }
    /// Uses a tensor that it has dropped.
    nondistributed uses_what_is_gone {}
    /// Drops a tensor twice.
    nondistributed drops_twice {}
    /// Completes; names and texts are SQL and escapes.
    nondistributed injects { output kept: models {} }
}

fn returns_error(p: &Proc) -> Result {
    bail!("{}", p.param::<String>("message")?)
}

fn panics(_: &Proc) -> Result {
    panic!("row {} has no label", black_box(7))
}

fn divides_by_zero(p: &Proc) -> Result {
    p.result("quotient", black_box(1) / black_box(0))
}

fn loops_forever(_: &Proc) -> Result {
    loop {
        black_box(0);
    }
}

fn computes_forever(p: &Proc) -> Result {
    let size: u32 = p.param("size")?;
    let mut a = Tensor::random_normal(&[size, size], 0.0, 0.03)?;
    loop {
        a = a.matmul(&a)?.tanh()?;
        quern_udf::step()?;
    }
}

fn shape_mismatch(_: &Proc) -> Result {
    Tensor::ones(Float32, &[2, 3])?.matmul(&Tensor::ones(Float32, &[4, 5])?)?.item()?;
    Ok(())
}

fn writes_then_fails(p: &Proc) -> Result {
    writes(p)?;
    bail!("changed its mind after {} rows", p.output("rows")?.rows())
}

fn writes(p: &Proc) -> Result {
    let count: u32 = p.param("count")?;
    let rows = p.output("rows")?;
    rows.resize(count.into())?;
    rows.put("n", 0, &Tensor::range(Int64, 0.0, count, 1.0)?)
}

fn writes_wrong_type(p: &Proc) -> Result {
    let rows = p.output("rows")?;
    rows.resize(3)?;
    rows.put("n", 0, &Tensor::ones(Float32, &[3])?)
}

fn reads_unknown_column(p: &Proc) -> Result {
    p.input("rows")?.tensor("no_such_column")?.item()?;
    Ok(())
}

fn allocates_forever(_: &Proc) -> Result {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
        black_box(&hoard);
    }
}

fn fills_the_device(_: &Proc) -> Result {
    let mut hoard = Vec::new();
    loop {
        hoard.push(Tensor::random_uniform(&[64, 1 << 20], 0.0, 1.0)?);
        quern_udf::sync()?;
    }
}

fn hoards_handles(_: &Proc) -> Result {
    let zero = Tensor::zeros(Float32, &[])?;
    let mut hoard = Vec::new();
    loop {
        hoard.push((&zero + 1.0)?);
    }
}

fn recurses(p: &Proc) -> Result {
    p.result("depth", depth(black_box(0)))
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn depth(n: u64) -> u64 {
    black_box(depth(black_box(n + 1)) + 1)
}

fn talks_too_much(p: &Proc) -> Result {
    for line in 0..p.param::<u32>("lines")? {
        quern_udf::info(format!("line {line}"));
    }
    Ok(())
}
