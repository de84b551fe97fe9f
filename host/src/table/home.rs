//! Where the rows of a column are kept. Columns that can be tensors are on the
//! device; others would be of no use to a GPU and stay in the machine's memory.

use std::sync::Arc;

use crate::base::ColumnType;
use crate::device::{Device, Pool};

/// Where the rows of a column are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In the device's memory.
    Device,
    /// In the machine's memory beside a device that has its own.
    Host,
}

/// The memory of both.
#[derive(Clone, Debug)]
pub(super) struct Homes {
    device: Arc<Pool>,
    host: Arc<Pool>,
}

impl Homes {
    /// Of a device; the processor's memory is both.
    pub(super) fn new(device: &Device) -> Self {
        let host = if device.is_host() { Arc::clone(&device.pool) } else { Pool::new() };
        Self { device: Arc::clone(&device.pool), host }
    }

    /// Where a column of this type is kept.
    pub(super) fn of(&self, column_type: &ColumnType) -> Home {
        match column_type.row_tensor() {
            None if !self.device.is_host() => Home::Host,
            _ => Home::Device,
        }
    }

    /// The memory there.
    pub(super) fn pool(&self, home: Home) -> &Arc<Pool> {
        match home {
            Home::Device => &self.device,
            Home::Host => &self.host,
        }
    }

    /// Whether the processor can look at what is there.
    pub(super) fn is_visible(&self, home: Home) -> bool {
        self.pool(home).is_host()
    }
}
