//! Rows of outputs on the GPU where tensors wrote them. They stay there until the
//! run ends, come to the host once, and after the commit they are the columns that
//! the next run reads. Where quota or device have no room the host takes the rows
//! at once, as it does on the processor.

use std::sync::Arc;

use crate::base::{Error, Result};
use crate::device::{Buffer, Charge, ColumnBuffer, KillSwitch, Pool, Quota};

/// Bytes that are copied between two looks at the kill switch.
const COPIED_BYTES: usize = 16 << 20;

/// The GPU on which rows can stay, and the quota that they count against.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) quota: Quota,
}

/// The bytes of one output column of fixed width.
#[derive(Debug)]
pub(super) struct DeviceRows {
    bytes: ColumnBuffer,
    place: Place,
    charges: Vec<Charge>,
}

/// Rows that an instance made, as far as they are on a device still.
#[derive(Debug, Default)]
pub struct KeptRows {
    pub(super) rows: u64,
    /// In the order of the output's columns.
    pub(super) columns: Vec<Option<ColumnBuffer>>,
}

impl KeptRows {
    /// Whether no column is.
    pub fn is_empty(&self) -> bool {
        self.columns.iter().all(Option::is_none)
    }
}

impl DeviceRows {
    /// So many zeros; none where there is no room.
    pub(super) fn new(place: &Place, length: usize) -> Result<Option<Self>> {
        let made = || -> Result<Self> {
            let charge = place.quota.charge(length as u64)?;
            let mut bytes = ColumnBuffer::new(&place.pool, length)?;
            bytes.append_filled(0, length)?;
            Ok(Self { bytes, place: place.clone(), charges: vec![charge] })
        };
        room(made())
    }

    /// Sets the length; new bytes are zero. Whether there was room.
    pub(super) fn resize(&mut self, length: usize) -> Result<bool> {
        let Some(further) = length.checked_sub(self.bytes.len()) else {
            self.bytes.truncate(length);
            return Ok(true);
        };
        let mut grown = || -> Result<()> {
            let charged: u64 = self.charges.iter().map(Charge::bytes).sum();
            self.charges.push(self.place.quota.charge((length as u64).saturating_sub(charged))?);
            self.bytes.append_filled(0, further)
        };
        Ok(room(grown())?.is_some())
    }

    /// Overwrites bytes from `at` on.
    pub(super) fn write(&mut self, at: usize, source: &Buffer) -> Result<()> {
        self.bytes.overwrite(at, source)
    }

    /// Copies all bytes to the host.
    pub(super) fn read_into(&self, target: &mut [u8], kill: &KillSwitch) -> Result<()> {
        let (mut at, bytes) = (0, self.bytes.view());
        for to in target.chunks_mut(COPIED_BYTES) {
            kill.check()?;
            bytes.slice(at, to.len())?.read_into(to)?;
            at += to.len();
        }
        Ok(())
    }

    /// The bytes, no longer counted against the quota of their run.
    pub(super) fn into_bytes(self) -> ColumnBuffer {
        self.bytes
    }
}

/// None where quota or device have no room.
fn room<T>(made: Result<T>) -> Result<Option<T>> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(Error::Limit { .. } | Error::OutOfMemory { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}
