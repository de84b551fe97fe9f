//! Runs: what is refused, what is committed, how runs live and end.

mod bytes;
mod commits;
mod database;
mod failing;
mod fixture;
mod guests;
mod lifecycle;
mod limits;
mod policies;
mod requests;
