//! The layer `server`: who holds a folder, and how the others reach it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connection;
mod frame;
mod lock;
mod rights;
