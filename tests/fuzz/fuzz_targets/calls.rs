//! Arbitrary sequences of calls across the boundary, as bytes: the tests' own
//! entry, driven by libFuzzer.

#![no_main]

#[allow(dead_code)]
#[path = "../../support.rs"]
mod support;

#[allow(dead_code, unused_imports)]
#[path = "../../proc/mod.rs"]
mod proc;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proc::sequences::sequence(data));
