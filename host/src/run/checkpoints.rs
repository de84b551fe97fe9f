//! Checkpoints of an instance, kept by storage.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::base::{Limits, Result, RunId, now_us};
use crate::proc::Checkpoints;
use crate::storage::{CheckpointBounds, CheckpointRecord, Storage};

/// Keeps those of one instance, and finds those of the one it resumes.
pub(super) struct StoredCheckpoints {
    pub(super) storage: Storage,
    pub(super) run: RunId,
    pub(super) resume: Option<RunId>,
    pub(super) shard: u32,
    pub(super) bounds: CheckpointBounds,
    /// How many names it may use, and which it has used.
    pub(super) names_allowed: u64,
    pub(super) names: Mutex<HashSet<String>>,
}

impl StoredCheckpoints {
    /// Notes a name; refuses one too many.
    fn note(&self, name: &str) -> Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return Ok(());
        }
        let asked = names.len() as u64 + 1;
        if asked > self.names_allowed {
            return Err(Limits::exceeded("checkpoint_names", asked, self.names_allowed));
        }
        names.insert(name.to_owned());
        Ok(())
    }
}

impl Checkpoints for StoredCheckpoints {
    fn keep(&self, name: &str, file: &[u8], sha256: &str) -> Result<()> {
        self.note(name)?;
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
