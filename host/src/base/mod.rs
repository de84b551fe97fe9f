//! What every layer speaks: errors, element and column types, ids, limits and
//! the place of a folder. Knows no files, devices or protocols.

mod clock;
mod column_type;
mod config;
mod digest;
mod dtype;
mod error;
mod ids;
mod limits;
mod poll;
mod residency;
mod schema;

pub use clock::now_us;
pub use column_type::ColumnType;
pub use config::{DEFAULT_FOLDER, FOLDER_VARIABLE, data_folder};
pub use digest::{sha256_hex, sha256_hex_while};
pub use dtype::DType;
pub use error::{Error, ErrorCode, Result, closest};
pub use ids::{RunId, SnapshotId, TableId};
pub use limits::{LimitChanges, Limits, TABLE_COLUMNS};
pub use poll::poll;
pub use residency::Residency;
pub use schema::{Column, DEFAULT_SHARDS, MAX_NAME_BYTES, Schema, Sharding, check_name, check_table_name};
