//! The time of the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 by the system's clock; 0 where it stands before that.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
