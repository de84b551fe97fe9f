//! Storage: what was committed is there after reopening, for us and for
//! DuckDB; what was not is not, whatever failed.

mod background;
mod disk;
mod duckdb;
mod failures;
mod folder;
mod merge;
mod model;
mod power;
mod records;
mod rows;
mod sample;
mod shards;
mod stories;
mod upgrade;
