//! Models that are on the device, shared by all runs and never written to. The
//! key is the sha256 of the file, so a model can only be found by who has read
//! its bytes from a table first.

use std::sync::{Arc, Mutex, PoisonError};

use super::model_file::ModelFile;
use super::recent::Recent;
use crate::base::{DType, Error, Result, sha256_hex_while};
use crate::device::{Buffer, Device, KillSwitch};

/// Bounded: the models that were not used for longest leave first.
pub struct ModelCache {
    device: Device,
    kept: Mutex<Recent<CachedModel>>,
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

impl ModelCache {
    /// An empty cache of models on `device`, of at most `capacity_bytes`.
    pub fn new(device: Device, capacity_bytes: u64) -> Self {
        Self { device, kept: Mutex::new(Recent::new(capacity_bytes)) }
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
        if let Some(model) = self.kept().get(&sha256).filter(|model| !model.is_lost()) {
            return Ok((model, 0));
        }
        let model = Arc::new(self.place(what, bytes, kill)?);
        self.kept().put(&sha256, &model, model.size_bytes);
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

    fn kept(&self) -> std::sync::MutexGuard<'_, Recent<CachedModel>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedModel {
    /// Whether it was lost with its device.
    fn is_lost(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.data.block().check().is_err())
    }
}
