//! Models that are on the device, shared by all runs and never written to. The
//! key is the sha256 of the file, so a model can only be found by who has read
//! its bytes from a table first. On a full GPU those that no run holds give way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::model_file::ModelFile;
use super::recent::Recent;
use crate::base::{DType, Error, Result, sha256_hex_while};
use crate::device::{Buffer, Device, Idle, KillSwitch};

/// Bounded: the models that were not used for longest leave first.
pub struct ModelCache {
    device: Device,
    kept: Arc<Models>,
}

/// The models by the sha256 of their files.
struct Models(Mutex<Recent<CachedModel>>);

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

impl ModelCache {
    /// An empty cache of models on `device`, of at most `capacity_bytes`.
    pub fn new(device: Device, capacity_bytes: u64) -> Self {
        let kept = Arc::new(Models(Mutex::new(Recent::new(capacity_bytes))));
        let weak = Arc::downgrade(&kept);
        device.pool.on_shortage(weak as Weak<dyn Idle>);
        Self { device, kept }
    }

    /// The model whose file is `bytes`, called `what` in errors. `expected` is
    /// the sha256 that was recorded when it was saved. The second value is the
    /// number of bytes that were copied to the device for it.
    pub(super) fn load(
        &self,
        what: &str,
        bytes: &[u8],
        expected: Option<&str>,
        kill: &KillSwitch,
    ) -> Result<(Arc<CachedModel>, u64)> {
        let sha256 = sha256_hex_while(bytes, || kill.check())?;
        if let Some(expected) = expected.filter(|expected| **expected != sha256) {
            return Err(Error::Corrupt {
                what: what.to_owned(),
                reason: format!("its stored bytes have sha256 {sha256}, {expected} was saved; save the model again"),
            });
        }
        if let Some(model) = self.kept.recent().get(&sha256).filter(|model| !model.is_lost()) {
            return Ok((model, 0));
        }
        let model = Arc::new(self.place(what, bytes, kill)?);
        self.kept.recent().put(&sha256, &model, model.size_bytes);
        let copied_bytes = model.size_bytes;
        Ok((model, copied_bytes))
    }

    fn place(&self, what: &str, bytes: &[u8], kill: &KillSwitch) -> Result<CachedModel> {
        let file = ModelFile::read(what, bytes)?;
        let tensors = file.names().iter().zip(file.tensors()).map(|(name, tensor)| {
            kill.check()?;
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
}

impl Models {
    fn recent(&self) -> MutexGuard<'_, Recent<CachedModel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for Models {
    fn idle_bytes(&self) -> u64 {
        self.recent()
            .all()
            .filter(|(_, model, _)| CachedModel::is_idle(model))
            .map(|(_, model, _)| model.held_bytes())
            .sum()
    }

    fn oldest(&self) -> Option<u64> {
        self.recent().all().filter(|(_, model, _)| CachedModel::is_idle(model)).map(|(_, _, used)| used).min()
    }

    fn give_oldest(&self) -> u64 {
        let mut recent = self.recent();
        let idle = recent.all().filter(|(_, model, _)| CachedModel::is_idle(model));
        let oldest = idle.min_by_key(|(_, _, used)| *used).map(|(sha256, _, _)| sha256.to_owned());
        oldest.and_then(|sha256| recent.remove(&sha256)).map_or(0, |model| model.held_bytes())
    }
}

impl CachedModel {
    /// Whether no run holds it or a tensor of it.
    fn is_idle(this: &Arc<Self>) -> bool {
        Arc::strong_count(this) == 1 && this.tensors.iter().all(|tensor| Arc::strong_count(tensor.data.block()) == 1)
    }

    /// Memory of the device that it holds.
    fn held_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.data.block().size_bytes() as u64).sum()
    }

    /// Whether it was lost with its device.
    fn is_lost(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.data.block().check().is_err())
    }
}
