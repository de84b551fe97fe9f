//! Makes the calls that a sequence of bytes spells, whatever they are, and sums
//! up every answer of the host in one number: the fuzzer compares it between ways
//! of execution.

mod bytes;
mod calls;

use bytes::Bytes;
use calls::Caller;
use quern_udf::bindings::quern::udf::{job, tensors};
use quern_udf::prelude::*;

/// How often the calls are made, with handles of their own: what was prepared in one
/// turn is in use already in the next.
const TURNS: u32 = 2;

procs! {
    /// Makes the calls of the binary parameter `program`.
    nondistributed call {
        input digits { id: int64, flag: bool, text: utf8 }
        input earlier;
        output rows { n: int64, word: utf8 null, x: float32 }
        output kept: models { loss: float64 }
    }

    /// Saves two models, for `call` to load.
    nondistributed save {
        output kept: models { loss: float64 }
    }
}

fn save(p: &Proc) -> Result {
    let tensor = Tensor::from_slice(&[2, 3], &[0.5f32, 1.0, -1.0, 2.0, 0.0, 3.0])?;
    let tensors = ["x", "w"].map(|name| (name.to_owned(), tensor.clone()));
    for (name, loss) in [("x", 0.5), ("w", 0.25)] {
        p.output("kept")?.save_tensors(name, &tensors, &[("loss", &loss), ("n", &name)])?;
    }
    Ok(())
}

fn call(p: &Proc) -> Result {
    let program = job::param_binary("program").unwrap_or_default();
    let (mut digest, mut calls, mut failed) = (0, 0, None);
    for _ in 0..TURNS {
        let mut caller = Caller::new();
        let mut bytes = Bytes::new(&program);
        while !bytes.is_empty() {
            caller.call(&mut bytes);
        }
        // A program that failed is told by a later call; by which one is not defined.
        failed = tensors::sync().err();
        if failed.is_some() {
            break;
        }
        caller.read_all();
        digest = caller.digest() ^ u64::rotate_left(digest, 1);
        calls += caller.calls();
    }
    match failed {
        None => p.result("answers", format!("{digest:016x} {calls}")),
        Some(error) => p.result("answers", format!("{:?}: {}", error.code, error.message)),
    }
}
