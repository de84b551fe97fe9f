//! All tests of Quern in one binary, so that it links once. One folder per
//! layer, named as in `host/src`.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;
mod tidy;

mod tensor;

mod cuda;

mod storage;

mod table;

mod catalog;

mod proc;

mod guest;

mod run;

mod sql;

mod server;

mod cli;

mod readme;
