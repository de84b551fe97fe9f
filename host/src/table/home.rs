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

/// Which of two places is meant for columns that can be tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    /// The device, where they are read.
    Device,
    /// The machine's memory, from where a GPU gets them for each run.
    Host,
}

/// The memory of both.
#[derive(Clone, Debug)]
pub(super) struct Homes {
    tier: Tier,
    device: Arc<Pool>,
    host: Arc<Pool>,
}

impl Homes {
    /// Of a device; the processor's memory is both.
    pub(super) fn new(device: &Device) -> Self {
        let host = if device.is_host() { Arc::clone(&device.pool) } else { Pool::new() };
        Self { tier: Tier::Device, device: Arc::clone(&device.pool), host }
    }

    /// The same memory for columns of this tier.
    pub(super) fn at(&self, tier: Tier) -> Self {
        Self { tier, ..self.clone() }
    }

    /// Where a column of this type is kept.
    pub(super) fn of(&self, column_type: &ColumnType) -> Home {
        match (self.tier, column_type.row_tensor()) {
            (Tier::Host, _) => Home::Host,
            (Tier::Device, None) if !self.device.is_host() => Home::Host,
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
