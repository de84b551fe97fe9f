//! The memory that Rust code uses on the heap. What libFuzzer itself uses, for its
//! corpus, is not among it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static USED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes in use.
pub(crate) fn used_bytes() -> usize {
    USED_BYTES.load(Relaxed)
}

/// The system's allocator, counted.
pub(crate) struct Counted;

// SAFETY: it hands every call on to `System`.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED_BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        USED_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
