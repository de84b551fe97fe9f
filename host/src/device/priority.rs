//! Threads that compute make way for those that answer users.

/// How much nicer than the rest of the process they are (`man 2 setpriority`).
const NICENESS: i32 = 5;

/// Lowers the priority of the calling thread, for good.
pub fn lower_priority() {
    // SAFETY: changes a number of the calling thread only; a refusal changes nothing.
    unsafe {
        let thread = libc::gettid().unsigned_abs();
        libc::setpriority(libc::PRIO_PROCESS, thread, NICENESS);
    }
}
