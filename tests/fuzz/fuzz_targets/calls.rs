//! Arbitrary sequences of calls across the boundary, as bytes: the tests' own
//! entry, driven by libFuzzer.

#![no_main]

#[allow(dead_code, reason = "the rest of it is for the tests")]
#[path = "../../support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::sequence::sequence(data));
