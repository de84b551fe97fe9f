//! Arbitrary sequences of calls of the host, spelled by bytes that libFuzzer makes
//! up: guided by the branches that the host took, towards those it never took.
//!
//! A finding is a panic of any thread, another answer of unplanned execution
//! (`support::sequence`), or memory that is left over (`heap`).

#![no_main]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a finding is a panic")]

mod heap;
#[allow(dead_code, reason = "the rest of it is for the tests")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Mutex;

use support::sequence::Sequences;

/// Sequences after which all that they worked on gives way to new: remembered
/// programs and memory kept for the next are not left over.
const ROUND: u32 = 10_000;

/// By how much rounds may differ.
const SPARE_BYTES: usize = 4 << 10;

#[global_allocator]
static HEAP: heap::Counted = heap::Counted;

static ROUNDS: Mutex<Rounds> = Mutex::new(Rounds { now: None, sequences: 0, left_bytes: usize::MAX, larger: 0 });

struct Rounds {
    now: Option<Sequences>,
    sequences: u32,
    /// What the last round left on the heap.
    left_bytes: usize,
    /// Rounds in a row that left more than the one before.
    larger: u32,
}

impl Rounds {
    fn compare(&mut self, data: &[u8]) {
        self.now.get_or_insert_with(Sequences::new).compare(data);
        self.sequences += 1;
        if self.sequences.is_multiple_of(ROUND) {
            self.now = None;
            self.weigh();
        }
    }

    /// A round may be the first that makes a buffer which stays; what grows with
    /// every round is not given back.
    fn weigh(&mut self) {
        let before = std::mem::replace(&mut self.left_bytes, heap::used_bytes());
        let grew = self.left_bytes > before.saturating_add(SPARE_BYTES);
        self.larger = if grew { self.larger + 1 } else { 0 };
        println!("{} sequences left {} bytes on the heap", self.sequences, self.left_bytes);
        assert!(self.larger < 3, "three times in a row {ROUND} sequences left more than those before");
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| ROUNDS.lock().unwrap().compare(data));
