//! Models that are on the device, shared by all runs and never written to. The
//! key is the sha256 of the file, so a model can only be found by who has read
//! its bytes from a table first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::sha256_hex;
use super::model_file::ModelFile;
use crate::base::{DType, Error, Result};
use crate::device::{Buffer, Device};

/// Bounded: the models that were not used for longest leave first.
pub struct ModelCache {
    device: Device,
    capacity_bytes: u64,
    kept: Mutex<Kept>,
}

/// A model on the device.
pub(super) struct CachedModel {
    /// What was given at `save`.
    pub(super) metadata: Vec<(String, String)>,
    /// The tensors in the order of `save`.
    pub(super) tensors: Vec<CachedTensor>,
    size_bytes: u64,
}

/// A tensor of a model on the device.
pub(super) struct CachedTensor {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) data: Buffer,
}

#[derive(Default)]
struct Kept {
    models: HashMap<String, (Arc<CachedModel>, u64)>,
    clock: u64,
    used_bytes: u64,
}

impl ModelCache {
    /// An empty cache of models on `device`, of at most `capacity_bytes`.
    pub fn new(device: Device, capacity_bytes: u64) -> Self {
        Self { device, capacity_bytes, kept: Mutex::default() }
    }

    /// The model whose file is `bytes`, called `what` in errors. `expected` is
    /// the sha256 that was recorded when it was saved. The second value is the
    /// number of bytes that were copied to the device for it.
    pub(super) fn load(&self, what: &str, bytes: &[u8], expected: Option<&str>) -> Result<(Arc<CachedModel>, u64)> {
        let sha256 = sha256_hex(bytes);
        if let Some(expected) = expected.filter(|expected| **expected != sha256) {
            return Err(Error::Corrupt {
                what: what.to_owned(),
                reason: format!("its stored bytes have sha256 {sha256}, {expected} was saved; save the model again"),
            });
        }
        if let Some(model) = self.kept().get(&sha256) {
            return Ok((model, 0));
        }
        let model = Arc::new(self.place(what, bytes)?);
        self.kept().put(sha256, &model, self.capacity_bytes);
        let copied_bytes = model.size_bytes;
        Ok((model, copied_bytes))
    }

    fn place(&self, what: &str, bytes: &[u8]) -> Result<CachedModel> {
        let file = ModelFile::read(what, bytes)?;
        let tensors = file.names().iter().zip(file.tensors()).map(|(name, tensor)| {
            let (dtype, shape, data) = tensor?;
            let data = match dtype {
                // The device computes with 0 and 1 only, a file may hold anything.
                DType::Bool => {
                    let truths: Vec<u8> = data.iter().map(|byte| u8::from(*byte != 0)).collect();
                    Buffer::from_slice(&self.device.pool, &truths)?
                }
                _ => Buffer::from_slice(&self.device.pool, data)?,
            };
            Ok(CachedTensor { name: name.clone(), dtype, shape, data })
        });
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let size_bytes = tensors.iter().map(|tensor| tensor.data.len() as u64).sum();
        Ok(CachedModel { metadata: file.metadata().to_vec(), tensors, size_bytes })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedModel {
    /// Whether it was lost with its device.
    fn is_lost(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.data.block().check().is_err())
    }
}

impl Kept {
    fn get(&mut self, sha256: &str) -> Option<Arc<CachedModel>> {
        self.clock += 1;
        let (model, used) = self.models.get_mut(sha256)?;
        *used = self.clock;
        let model = model.clone();
        if model.is_lost() {
            self.remove(sha256);
            return None;
        }
        Some(model)
    }

    fn put(&mut self, sha256: String, model: &Arc<CachedModel>, capacity_bytes: u64) {
        self.clock += 1;
        if model.size_bytes > capacity_bytes {
            return;
        }
        while self.used_bytes + model.size_bytes > capacity_bytes {
            let Some(oldest) = self.models.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.remove(&sha256);
        self.used_bytes += model.size_bytes;
        self.models.insert(sha256, (model.clone(), self.clock));
    }

    fn remove(&mut self, sha256: &str) {
        if let Some((model, _)) = self.models.remove(sha256) {
            self.used_bytes -= model.size_bytes;
        }
    }
}
