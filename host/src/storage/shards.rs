//! Which shard a row belongs to.
//!
//! In a key-sharded table: `mix(fnv1a64(values)) mod shards`. The values are
//! those of the shard columns in order, each as a byte 0 for null, or a byte 1
//! followed by its bytes: integers, bool, date, time, timestamp and ipv4 as 8
//! bytes little-endian (sign- or zero-extended), floats as the 8 bytes of the
//! `f64` (-0 as 0, every NaN as one), decimals as 16 bytes, texts, blobs, json
//! and uuid as their length in 8 bytes and their bytes. `mix` is the finaliser of
//! MurmurHash3 (`fmix64`). This is part of the format: it never changes.
//!
//! In a `random` table: what `quern_shard` says of the file, else row id mod shards.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};

use super::forms::convert;
use crate::base::{Column, ColumnType, DType, Error, Result, Schema, Sharding};

/// The shard of each row of a batch of a key-sharded table; of no other.
pub fn shards_of_rows(schema: &Schema, sharding: &Sharding, shards: u32, batch: &RecordBatch) -> Result<Vec<u32>> {
    let Sharding::Key(keys) = sharding else {
        return Err(Error::Internal("only a key says the shard of a row".into()));
    };
    let columns = key_columns(schema, keys)?;
    let arrays = columns.iter().map(|position| {
        batch.columns().get(*position).cloned().ok_or_else(|| Error::Internal("a shard column is missing".into()))
    });
    by_key(&arrays.collect::<Result<Vec<_>>>()?, batch.num_rows(), shards)
}

/// Positions of the shard columns.
pub(super) fn key_columns(schema: &Schema, keys: &[String]) -> Result<Vec<usize>> {
    keys.iter().map(|key| schema.column("", key).map(|(position, _)| position)).collect()
}

/// Refuses columns that no row can be dealt by.
pub(super) fn check_key(column: &Column) -> Result<()> {
    match column.column_type {
        ColumnType::List(_) | ColumnType::Tensor { .. } | ColumnType::Number(DType::F16 | DType::BF16) => {
            Err(Error::Unsupported(format!(
                "column `{}` of type {} cannot be a shard column; choose one of numbers, text or dates",
                column.name, column.column_type
            )))
        }
        _ => Ok(()),
    }
}

/// The shard of each row from the values of its shard columns.
pub(super) fn by_key(keys: &[ArrayRef], rows: usize, shards: u32) -> Result<Vec<u32>> {
    let mut hashes = vec![Fnv::new(); rows];
    for key in keys {
        add_column(&mut hashes, key)?;
    }
    let shards = u64::from(shards.max(1));
    Ok(hashes.into_iter().map(|hash| u32::try_from(mix(hash.0) % shards).unwrap_or(0)).collect())
}

/// The shard of a row of a `random` table whose file names none.
pub(super) fn by_row_id(row_id: u64, shards: u32) -> u32 {
    u32::try_from(row_id % u64::from(shards.max(1))).unwrap_or(0)
}

fn add_column(hashes: &mut [Fnv], array: &ArrayRef) -> Result<()> {
    match array.data_type() {
        DataType::Float32 | DataType::Float64 => {
            let array = convert(array, &DataType::Float64)?;
            let bits = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 }.to_bits();
            add_values(hashes, array.as_primitive::<Float64Type>().iter(), |hash, value| {
                hash.add(&bits(value).to_le_bytes());
            });
        }
        DataType::UInt64 => {
            add_values(hashes, array.as_primitive::<UInt64Type>().iter(), |hash, value| hash.add(&value.to_le_bytes()));
        }
        DataType::Decimal128(..) => {
            let values = array.as_primitive::<Decimal128Type>().iter();
            add_values(hashes, values, |hash, value| hash.add(&value.to_le_bytes()));
        }
        DataType::Utf8 => {
            add_values(hashes, array.as_string::<i32>().iter(), |hash, text| hash.add_sized(text.as_bytes()))
        }
        DataType::LargeBinary => add_values(hashes, array.as_binary::<i64>().iter(), Fnv::add_sized),
        DataType::FixedSizeBinary(_) => add_values(hashes, array.as_fixed_size_binary().iter(), Fnv::add_sized),
        _ => {
            let narrow = match array.data_type() {
                DataType::Date32 => convert(array, &DataType::Int32)?,
                _ => array.clone(),
            };
            let wide = convert(&narrow, &DataType::Int64)?;
            add_values(hashes, wide.as_primitive::<Int64Type>().iter(), |hash, value| hash.add(&value.to_le_bytes()));
        }
    }
    Ok(())
}

fn add_values<T>(hashes: &mut [Fnv], values: impl Iterator<Item = Option<T>>, add: impl Fn(&mut Fnv, T)) {
    for (hash, value) in hashes.iter_mut().zip(values) {
        match value {
            Some(value) => {
                hash.add(&[1]);
                add(hash, value);
            }
            None => hash.add(&[0]),
        }
    }
}

/// FNV-1a of 64 bits.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn add_sized(&mut self, bytes: &[u8]) {
        self.add(&(bytes.len() as u64).to_le_bytes());
        self.add(bytes);
    }
}

/// `fmix64`: the low bits of FNV alone are poor.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
