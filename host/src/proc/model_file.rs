//! Model files: named tensors in the safetensors format
//! (<https://github.com/huggingface/safetensors#format>): the length of the
//! header (8 bytes), the header in JSON, the tensors' bytes without gaps.
//!
//! Files are written here and not by the `safetensors` crate, whose hash maps
//! give another order at each start: the same model is always the same bytes.
//! They are read by the crate, which checks every size and offset.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::base::{DType, Error, Result};
use crate::device::KillSwitch;

/// Metadata key that keeps the order of `save`, since the file's order is by
/// alignment.
const ORDER_KEY: &str = "quern.tensors";

/// Bytes that are copied between two looks at the kill switch.
const PIECE_BYTES: usize = 4 << 20;

/// One tensor of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelTensor<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Element type.
    pub(super) dtype: DType,
    /// Shape; empty for a scalar.
    pub(super) shape: &'a [usize],
    /// Packed little-endian bytes, row-major.
    pub(super) data: &'a [u8],
}

/// A model file that was read.
pub(super) struct ModelFile<'a> {
    tensors: SafeTensors<'a>,
    /// Names of the tensors in the order of `save`.
    names: Vec<String>,
    /// What was given at `save`, by key.
    metadata: Vec<(String, String)>,
}

impl<'a> ModelFile<'a> {
    /// The bytes of a file with these tensors, unless `kill` is thrown meanwhile.
    /// Refuses names that occur twice.
    pub(super) fn write(
        tensors: &[ModelTensor<'_>],
        metadata: &[(String, String)],
        kill: &KillSwitch,
    ) -> Result<Vec<u8>> {
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name).collect();
        let mut about = Map::from_iter([(ORDER_KEY.to_owned(), json!(json!(names).to_string()))]);
        for (key, value) in metadata {
            if about.insert(key.clone(), Value::from(value.as_str())).is_some() {
                return Err(Error::Exists { kind: "metadata", name: key.clone() });
            }
        }
        let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(about))]);
        // The widest first keeps every tensor aligned, which readers map in place.
        let mut placed: Vec<&ModelTensor<'_>> = tensors.iter().collect();
        placed.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.size_bytes()));
        let mut end = 0;
        for tensor in &placed {
            let begin = end;
            end += tensor.data.len();
            let entry = json!({
                "dtype": dtype_to_file(tensor.dtype).to_string(),
                "shape": tensor.shape,
                "data_offsets": [begin, end],
            });
            if header.insert(tensor.name.to_owned(), entry).is_some() {
                return Err(Error::Exists { kind: "tensor", name: tensor.name.to_owned() });
            }
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = Vec::with_capacity(8 + header.len() + end);
        file.extend_from_slice(&(header.len() as u64).to_le_bytes());
        file.extend_from_slice(&header);
        for piece in placed.iter().flat_map(|tensor| tensor.data.chunks(PIECE_BYTES)) {
            kill.check()?;
            file.extend_from_slice(piece);
        }
        Ok(file)
    }

    /// Reads a file, called `what` in errors.
    pub(super) fn read(what: &str, bytes: &'a [u8]) -> Result<Self> {
        let corrupt = |reason: String| Error::Corrupt { what: what.to_owned(), reason };
        let unreadable = |e: safetensors::SafeTensorError| corrupt(format!("it is not a safetensors file ({e})"));
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let mut about: HashMap<String, String> = header.metadata().clone().unwrap_or_default();
        let saved: Option<Vec<String>> = about.remove(ORDER_KEY).and_then(|text| serde_json::from_str(&text).ok());
        let stored = header.offset_keys();
        let names = saved.filter(|saved| same_names(saved, &stored)).unwrap_or(stored);
        let mut metadata: Vec<(String, String)> = about.into_iter().collect();
        metadata.sort();
        Ok(Self { tensors, names, metadata })
    }

    /// Names of the tensors in the order of `save`.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What was given at `save`, sorted by key.
    pub(super) fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Every tensor in the order of `save`: element type, shape, bytes.
    pub(super) fn tensors(&self) -> impl Iterator<Item = Result<(DType, Vec<usize>, &'a [u8])>> {
        self.names.iter().map(|name| {
            let view = self.tensors.tensor(name).map_err(|e| Error::Internal(format!("tensor `{name}`: {e}")))?;
            let dtype = dtype_from_file(view.dtype()).ok_or_else(|| {
                Error::Unsupported(format!("tensor `{name}` of the model has element type {}", view.dtype()))
            })?;
            Ok((dtype, view.shape().to_vec(), view.data()))
        })
    }
}

fn same_names(a: &[String], b: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    sorted(a) == sorted(b)
}

fn dtype_to_file(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::I8 => Dtype::I8,
        DType::I16 => Dtype::I16,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
        DType::U16 => Dtype::U16,
        DType::U32 => Dtype::U32,
        DType::U64 => Dtype::U64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn dtype_from_file(dtype: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|known| dtype_to_file(*known) == dtype)
}
