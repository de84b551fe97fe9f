//! One value for one row, given as text or bytes, in the form a column stores.

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use std::sync::Arc;

use super::store::RawColumn;
use crate::base::{Column, ColumnType, DType, Error, Result};

/// One value for one row of an output.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// No value: null, or the default of the type.
    Default,
    /// Text that is read as the column's type.
    Text(&'a str),
    /// The bytes as the column stores them: packed for fixed width.
    Bytes(&'a [u8]),
}

/// A cell in the layout of column buffers.
pub(super) struct Encoded {
    bytes: Vec<u8>,
    offsets: Option<[u8; 16]>,
}

impl Encoded {
    pub(super) fn as_raw(&self) -> RawColumn<'_> {
        let offsets = self.offsets.as_ref().map(|o| o.as_slice());
        RawColumn { rows: 1, validity: None, offsets, values: &self.bytes }
    }
}

impl Cell<'_> {
    /// As a row of `column`; nothing for the default.
    pub(super) fn encode(&self, column: &Column) -> Result<Option<Encoded>> {
        let bytes = match self {
            Self::Default => return Ok(None),
            Self::Bytes(bytes) => bytes.to_vec(),
            Self::Text(text) => parse(column, text)?,
        };
        let offsets = column.column_type.row_bytes().is_none().then(|| {
            let mut offsets = [0; 16];
            offsets[8..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            offsets
        });
        Ok(Some(Encoded { bytes, offsets }))
    }
}

/// The stored bytes of a value that is written as text.
fn parse(column: &Column, text: &str) -> Result<Vec<u8>> {
    let unfit = || {
        let shown: String = text.chars().take(64).collect();
        Error::TypeMismatch(format!("column `{}` is {}, it cannot hold `{shown}`", column.name, column.column_type))
    };
    match &column.column_type {
        ColumnType::Utf8 | ColumnType::Json | ColumnType::Binary => Ok(text.as_bytes().to_vec()),
        ColumnType::Uuid => uuid::Uuid::try_parse(text).map(|id| id.as_bytes().to_vec()).map_err(|_| unfit()),
        ColumnType::Ipv4 => {
            let address: std::net::Ipv4Addr = text.parse().map_err(|_| unfit())?;
            Ok(address.to_bits().to_le_bytes().to_vec())
        }
        ColumnType::Number(DType::F16) => {
            let value: f32 = text.parse().map_err(|_| unfit())?;
            Ok(half::f16::from_f32(value).to_le_bytes().to_vec())
        }
        ColumnType::Number(DType::Bool) => text.parse::<bool>().map(|b| vec![u8::from(b)]).map_err(|_| unfit()),
        ColumnType::List(_) | ColumnType::Tensor { .. } => Err(unfit()),
        fixed => by_arrow(text, &fixed.arrow_type()).ok_or_else(unfit),
    }
}

/// Numbers, decimals and dates as Arrow reads them from text.
fn by_arrow(text: &str, arrow_type: &DataType) -> Option<Vec<u8>> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let data = cast_with_options(&array, arrow_type, &options).ok()?.to_data();
    let width = arrow_type.primitive_width()?;
    data.buffers().first()?.as_slice().get(..width).map(<[u8]>::to_vec)
}
