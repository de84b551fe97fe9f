//! Rows on devices. [`Tables`] keeps columns of shards on a device: each is one
//! growable buffer that is loaded from storage at first use and appended in
//! place, so that a snapshot is a prefix of it and becomes a tensor without a
//! copy; columns that cannot be tensors stay in the machine's memory. A [`TableView`]
//! is what an instance sees; while it lives its columns are not evicted. An
//! [`OutputTable`] holds the rows that an instance makes; what it wrote on a GPU stays
//! there and is published after the commit.

mod bytes;
mod cache;
mod cell;
mod check;
mod column;
mod growing;
mod home;
mod kept;
mod lease;
mod output;
mod publish;
mod residency;
mod resident;
mod store;
mod view;

pub use cache::{Shards, Tables};
pub use cell::Cell;
pub use column::{ColumnCopy, DeviceColumn};
pub use kept::{KeptOutput, KeptRows};
pub use output::{OutputBudget, OutputTable};
pub use residency::Held;
pub use store::RawColumn;
pub use view::TableView;

/// Bytes that are copied between two looks at the kill switch.
const COPIED_BYTES: usize = 16 << 20;
