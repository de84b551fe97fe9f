//! Where the columns of a table stay: what `ALTER TABLE t SET RESIDENCY` says, and
//! what is held where now.

use std::collections::HashMap;
use std::sync::Arc;

use super::Tables;
use super::home::Home;
use super::resident::expected_row_bytes;
use crate::base::{Error, Residency, Result, TableId};
use crate::storage::TableState;

/// Memory that the columns of a table hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// On the device.
    pub device_bytes: u64,
    /// Beside a device that has its own memory, in the machine's.
    pub host_bytes: u64,
}

impl Tables {
    /// Where the columns of a table stay.
    pub fn residency(&self, table: TableId) -> Result<Residency> {
        self.residencies(|known| known.get(&table).copied().unwrap_or_default())
    }

    /// Whether columns of a table stay on the device; those of a new table do.
    pub fn stays_on_device(&self, table: Option<TableId>) -> Result<bool> {
        let residency = table.map_or(Ok(Residency::Device), |table| self.residency(table))?;
        Ok(matches!(residency, Residency::Device | Residency::Pinned))
    }

    /// Says where the columns of a table stay, in all its shards. What is to leave
    /// does so at once, or with the last run that reads it. An error when a table to
    /// be pinned does not fit beside those that are.
    pub fn set_residency(&self, table: &Arc<TableState>, residency: Residency) -> Result<()> {
        if residency == Residency::Pinned {
            self.check_fits(table)?;
        }
        // What is known here is what was committed last.
        let saying = self.saying();
        let mut write = self.storage().begin();
        write.set_residency(table, residency);
        write.commit()?;
        self.residencies(|known| known.insert(table.id, residency))?;
        drop(saying);
        self.settle();
        Ok(())
    }

    /// Gives up the columns of a table that was dropped.
    pub fn forget(&self, table: TableId) {
        let saying = self.saying();
        // Where nothing could be read nothing was kept either.
        drop(self.residencies(|known| known.insert(table, Residency::Disk)));
        drop(saying);
        self.settle();
    }

    /// What tables hold now, of those that hold something.
    pub fn held(&self) -> HashMap<TableId, Held> {
        let mut held: HashMap<TableId, Held> = HashMap::new();
        self.each_resident(|table, resident| {
            let held = held.entry(table).or_default();
            held.device_bytes += resident.size_bytes(Home::Device);
            held.host_bytes += resident.size_bytes(Home::Host);
        });
        held
    }

    /// Refuses to pin what cannot stay on the device together.
    fn check_fits(&self, table: &Arc<TableState>) -> Result<()> {
        let snapshot = self.storage().snapshot()?;
        let pinned = self.residencies(|known| known.clone())?;
        let is_pinned = |other: &&Arc<TableState>| {
            other.id != table.id && pinned.get(&other.id) == Some(&Residency::Pinned) && self.device_bytes(other) > 0
        };
        let others: Vec<&Arc<TableState>> = snapshot.tables().filter(is_pinned).collect();
        let asked =
            others.iter().fold(self.device_bytes(table), |sum, other| sum.saturating_add(self.device_bytes(other)));
        let device = self.device();
        if asked <= device.memory_bytes {
            return Ok(());
        }
        let (name, place) = (&table.name, &device.name);
        let hint = match others.first() {
            None => format!("table `{name}` is larger than what {place} may hold and cannot be pinned there"),
            Some(first) => format!(
                "table `{name}` does not fit on {place} beside the pinned {}; unpin one with \
                 ALTER TABLE {} SET RESIDENCY device",
                names(others.iter().map(|other| other.name.as_str())),
                first.name
            ),
        };
        Err(Error::Limit {
            limit: "device memory",
            requested: asked,
            allowed: device.memory_bytes,
            unit: "bytes",
            hint,
        })
    }

    /// Memory of the device for all columns of a table that stay there, as far as it
    /// is known before they are read.
    fn device_bytes(&self, table: &TableState) -> u64 {
        let on_device = table.schema.columns().iter().filter(|c| self.homes().of(&c.column_type) == Home::Device);
        on_device.map(|column| expected_row_bytes(column).saturating_mul(table.rows)).fold(0, u64::saturating_add)
    }
}

/// ``table `a` `` or ``tables `a`, `b` ``.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    format!("table{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}
