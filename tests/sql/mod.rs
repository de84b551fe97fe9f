//! SQL and the readers of files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod files;
