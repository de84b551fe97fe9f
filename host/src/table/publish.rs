//! Rows that are committed now and still where they were made become the columns
//! that the next run reads there.

use std::sync::Arc;

use super::Tables;
use super::home::{Home, Tier};
use super::kept::KeptRows;
use super::lease::Lease;
use super::resident::{Part, Published, Source};
use crate::base::{Result, SnapshotId};

impl Tables {
    /// Takes rows over that the snapshot `at` added to a shard of a table, in the
    /// order they have there; without a shard they were dealt. What cannot be taken
    /// over is loaded when it is read: where the table has changed since, keeps
    /// nothing on the device, or divides the rows in another way.
    pub fn publish(&self, at: SnapshotId, table: &str, shard: Option<u32>, added: Vec<KeptRows>) -> Result<()> {
        if added.iter().all(KeptRows::is_empty) {
            return Ok(());
        }
        let snapshot = self.storage().snapshot()?;
        let table = snapshot.table(table)?;
        let stays = self.stays_on_device(Some(table.id))?;
        let shard = if table.shards == 1 { Some(0) } else { shard };
        let Some(shard) = shard.filter(|shard| stays && table.version == at && *shard < table.shards) else {
            return Ok(());
        };
        let source = Source { snapshot: Arc::clone(&snapshot), table: Arc::clone(&table), part: Part::Shard(shard) };
        let n_added: u64 = added.iter().map(|kept| kept.rows).sum();
        // The run is committed, and neither kill nor deadline applies: not many more
        // rows are counted than it added.
        let is_known = || self.resident_there(&source, Tier::Device).is_some_and(|there| there.is_counted());
        let share = table.rows / u64::from(table.shards);
        if table.rewritten != at && share > n_added.saturating_mul(2) && !is_known() {
            return Ok(());
        }
        let resident = self.resident(&source, Tier::Device);
        let lease = Lease::new(self.clone(), Arc::clone(&resident), None);
        let rows = resident.count_rows(self.storage(), &source)?;
        let mut columns: Vec<_> = added.into_iter().map(|kept| (kept.rows, kept.columns.into_iter())).collect();
        for (index, column) in table.schema.columns().iter().enumerate() {
            let pieces = columns.iter_mut().map(|(rows, columns)| Some((*rows, columns.next().flatten()?)));
            let pieces: Vec<_> = pieces.collect();
            let Some(pieces) = pieces.into_iter().collect::<Option<Vec<_>>>() else { continue };
            if self.homes().of(&column.column_type) == Home::Device {
                let bytes = pieces.iter().map(|(_, bytes)| bytes.capacity_bytes() as u64).sum();
                self.make_room(&source, Home::Device, bytes)?;
                resident.publish(index, &Published { tables: self, table: &table, rows, n_added }, pieces)?;
            }
        }
        drop(resident);
        drop(lease);
        Ok(())
    }
}
