//! The layer `server`: who holds a folder, and how the others reach it.

mod connection;
mod frame;
mod lock;
mod rights;
