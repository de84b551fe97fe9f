//! Reading a table's rows: data files and rows kept in the catalog, in the
//! order of row ids, without deleted rows, of one shard or all.

/// The name of the column of row ids that [`ScanOptions::row_ids`] adds, of
/// Arrow type `UInt64`.
pub const ROW_ID_COLUMN: &str = "quern_row_id";

/// What to read of a table.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Only this shard; all rows of a replicated table.
    pub shard: Option<u32>,
    /// Only these columns: positions in the schema, in the order wanted.
    pub columns: Option<Vec<usize>>,
    /// Only rows from this id on.
    pub from_row_id: u64,
    /// With a last column [`ROW_ID_COLUMN`].
    pub row_ids: bool,
}
