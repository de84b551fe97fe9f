//! Procs for the tests of `proc`, written against the host's functions as they
//! are, without the checks of the SDK.

mod floods;
mod learning;
mod mistakes;

use floods::{big_call, big_line, big_names, many_metrics, many_results, spares_memory};
use learning::{learn, recall};
use mistakes::{gathers_outside, mistakes, says};
use quern_udf::prelude::*;

procs! {
    /// Makes every call that a guest can get wrong; each result is an error as the guest got it.
    nondistributed mistakes {
        input digits { id: int64, flag: bool, text: utf8 }
        output rows { n: int64, word: utf8 null }
        output kept: models { loss: float64 }
    }
    /// Goes on after a program that failed.
    nondistributed gathers_outside {}
    /// Tells what the host says about the run.
    nondistributed says { param greeting: string = "hello"; param name: string; }

    /// Sets `count` results.
    nondistributed many_results { param count: int; }
    /// Adds `count` metric points and one with a bad name.
    nondistributed many_metrics { param count: int; }
    /// Logs a line of `bytes` bytes, and sets a status with control characters.
    nondistributed big_line { param bytes: int; }
    /// Passes `bytes` bytes in one call.
    nondistributed big_call { param bytes: int; }
    /// Names things with `bytes` bytes.
    nondistributed big_names { param bytes: int; }
    /// Asks for more memory than there is, is refused, and goes on.
    nondistributed spares_memory {}

    /// Trains a small network on random numbers and saves it.
    nondistributed learn { output kept: models { loss: float64 } param steps: int = 30; }
    /// Loads a model and trains on it; tells what it has, before and after.
    nondistributed recall { input kept; param id: string = ""; param name: string = ""; }
}
