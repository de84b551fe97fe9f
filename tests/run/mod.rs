//! Runs: what is refused, what is committed, how runs live and end.

mod bytes;
mod commits;
mod crowds;
pub(crate) mod database;
mod distribution;
mod ensembles;
mod failing;
mod fixture;
mod guests;
mod kills;
mod large;
mod lifecycle;
mod limits;
mod policies;
mod requests;
mod resuming;
mod rights;
mod upkeep;
