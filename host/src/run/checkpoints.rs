//! Checkpoints of an instance, kept by storage.

use super::history::now_us;
use crate::base::{Result, RunId};
use crate::proc::Checkpoints;
use crate::storage::{CheckpointBounds, CheckpointRecord, Storage};

/// Keeps those of one instance, and finds those of the one it resumes.
pub(super) struct Keeper {
    pub(super) storage: Storage,
    pub(super) run: RunId,
    pub(super) resume: Option<RunId>,
    pub(super) shard: u32,
    pub(super) bounds: CheckpointBounds,
}

impl Checkpoints for Keeper {
    fn keep(&self, name: &str, file: &[u8], sha256: &str) -> Result<()> {
        let record = CheckpointRecord {
            run: self.run,
            shard: self.shard,
            name: name.to_owned(),
            file: String::new(),
            sha256: sha256.to_owned(),
            size_bytes: file.len() as u64,
            created_us: now_us(),
        };
        self.storage.keep_checkpoint(&record, file, self.bounds)
    }

    fn resumed(&self, name: &str) -> Result<Option<(Vec<u8>, String)>> {
        let Some(run) = self.resume else { return Ok(None) };
        let Some(record) = self.storage.newest_checkpoint(run, self.shard, name)? else { return Ok(None) };
        Ok(Some((self.storage.checkpoint_bytes(&record)?, record.sha256)))
    }
}
