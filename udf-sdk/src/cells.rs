//! Rust values as rows of a column, and back: what `Column::read` and
//! `Column::write` do with Arrow buffers.

use crate::bindings::quern::udf::types::{Buffers, Field};
use crate::{Element, Error, ErrorCode, Result};

/// A Rust type that rows of a column can be read as.
pub trait Cell: Sized {
    /// The column types it holds without loss.
    const COLUMN_TYPES: &'static [&'static str];

    /// Whether it can tell that a row is null.
    const HOLDS_NULL: bool = false;

    /// One value per row. Rows that are null give any value.
    #[doc(hidden)]
    fn decode(buffers: &Buffers) -> Result<Vec<Self>>;
}

/// A Rust type that rows of a column can be written from.
pub trait IntoCell: Sized {
    /// The buffers of these rows.
    #[doc(hidden)]
    fn encode(rows: &[Self]) -> Buffers;
}

/// The rows that `read` copies of a column, once it is clear that `T` holds its type.
pub(crate) fn decode_column<T: Cell>(column: &Field, read: impl FnOnce() -> Result<Buffers>) -> Result<Vec<T>> {
    let Field { name, column_type, .. } = column;
    let mismatch = |message| Err(Error::new(ErrorCode::TypeMismatch, message));
    if !T::COLUMN_TYPES.contains(&column_type.as_str()) {
        let types = T::COLUMN_TYPES.join(" or ");
        return mismatch(format!("column `{name}` is {column_type}, it was read as {types}"));
    }
    let buffers = read()?;
    if buffers.validity.is_some() && !T::HOLDS_NULL {
        return mismatch(format!("column `{name}` has nulls; read it as Option<…>"));
    }
    T::decode(&buffers)
}

macro_rules! numbers {
    ($($rust:ty: $($column_type:literal),+;)*) => {$(
        impl Cell for $rust {
            const COLUMN_TYPES: &'static [&'static str] = &[$($column_type),+];

            fn decode(buffers: &Buffers) -> Result<Vec<Self>> {
                Ok(Self::unpack(&buffers.values))
            }
        }

        impl IntoCell for $rust {
            fn encode(rows: &[Self]) -> Buffers {
                Buffers { rows: rows.len() as u64, validity: None, offsets: None, values: Self::pack(rows) }
            }
        }
    )*};
}

numbers! {
    bool: "bool";
    i8: "int8";
    i16: "int16";
    i32: "int32", "date";
    i64: "int64", "time", "timestamp";
    u8: "uint8";
    u16: "uint16";
    u32: "uint32", "ipv4";
    u64: "uint64";
    f32: "float32";
    f64: "float64";
}

impl Cell for String {
    const COLUMN_TYPES: &'static [&'static str] = &["utf8", "json"];

    fn decode(buffers: &Buffers) -> Result<Vec<Self>> {
        Vec::<u8>::decode(buffers)?.into_iter().map(|bytes| Ok(String::from_utf8(bytes)?)).collect()
    }
}

impl Cell for Vec<u8> {
    const COLUMN_TYPES: &'static [&'static str] = &["binary"];

    fn decode(buffers: &Buffers) -> Result<Vec<Self>> {
        let offsets = i64::unpack(buffers.offsets.as_deref().unwrap_or_default());
        let part = |pair: &[i64]| {
            let [start, end] = pair else { return None };
            let range = usize::try_from(*start).ok()?..usize::try_from(*end).ok()?;
            buffers.values.get(range).map(<[u8]>::to_vec)
        };
        let malformed = || Error::new(ErrorCode::Internal, "offsets do not fit the values");
        offsets.windows(2).map(|pair| part(pair).ok_or_else(malformed)).collect()
    }
}

impl<V: Cell> Cell for Option<V> {
    const COLUMN_TYPES: &'static [&'static str] = V::COLUMN_TYPES;
    const HOLDS_NULL: bool = true;

    fn decode(buffers: &Buffers) -> Result<Vec<Self>> {
        let present = |row: usize| match &buffers.validity {
            Some(bits) => bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1),
            None => true,
        };
        Ok(V::decode(buffers)?.into_iter().enumerate().map(|(row, value)| present(row).then_some(value)).collect())
    }
}

impl IntoCell for &str {
    fn encode(rows: &[Self]) -> Buffers {
        encode_bytes(rows.iter().map(|row| row.as_bytes()))
    }
}

impl IntoCell for String {
    fn encode(rows: &[Self]) -> Buffers {
        encode_bytes(rows.iter().map(String::as_bytes))
    }
}

impl IntoCell for Vec<u8> {
    fn encode(rows: &[Self]) -> Buffers {
        encode_bytes(rows.iter().map(Vec::as_slice))
    }
}

/// Rows of different lengths, one after the other.
fn encode_bytes<'a>(rows: impl ExactSizeIterator<Item = &'a [u8]>) -> Buffers {
    let n_rows = rows.len() as u64;
    let mut offsets = vec![0_i64];
    let mut values = Vec::new();
    for row in rows {
        values.extend_from_slice(row);
        offsets.push(values.len() as i64);
    }
    Buffers { rows: n_rows, validity: None, offsets: Some(i64::pack(&offsets)), values }
}

impl<V: IntoCell + Default + Clone> IntoCell for Option<V> {
    fn encode(rows: &[Self]) -> Buffers {
        let mut bits = vec![0_u8; rows.len().div_ceil(8)];
        for (row, _) in rows.iter().enumerate().filter(|(_, value)| value.is_some()) {
            if let Some(byte) = bits.get_mut(row / 8) {
                *byte |= 1 << (row % 8);
            }
        }
        let values: Vec<V> = rows.iter().map(|value| value.clone().unwrap_or_default()).collect();
        Buffers { validity: Some(bits), ..V::encode(&values) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_travels_as_offsets_and_bytes() {
        let buffers = <&str>::encode(&["mühle", "", "x"]);
        assert_eq!((buffers.rows, buffers.values.as_slice()), (3, "mühlex".as_bytes()));
        assert_eq!(i64::unpack(buffers.offsets.as_deref().unwrap()), [0, 6, 6, 7]);
        assert_eq!(String::decode(&buffers).unwrap(), ["mühle", "", "x"]);
    }

    #[test]
    fn nulls_travel_as_bits() {
        let rows: Vec<Option<i32>> = (0..10).map(|i| (i % 3 != 1).then_some(i)).collect();
        let buffers = Option::encode(&rows);
        assert_eq!(buffers.validity.as_deref(), Some([0b0110_1101, 0b11].as_slice()));
        assert_eq!(Option::<i32>::decode(&buffers).unwrap(), rows);
    }

    #[test]
    fn columns_that_the_type_does_not_hold_are_refused_by_name() {
        let column = Field { name: "age".into(), column_type: "int32".into(), nullable: true };
        let with_null = || Ok(Option::encode(&[Some(1), None]));
        let refusal = |error: Error| (error.code, error.message);
        let read_as_text = decode_column::<String>(&column, || unreachable!()).map_err(refusal);
        let message = "column `age` is int32, it was read as utf8 or json".to_owned();
        assert_eq!(read_as_text, Err((ErrorCode::TypeMismatch, message)));
        let message = "column `age` has nulls; read it as Option<…>".to_owned();
        let without_null = decode_column::<i32>(&column, with_null).map_err(refusal);
        assert_eq!(without_null, Err((ErrorCode::TypeMismatch, message)));
        assert_eq!(decode_column(&column, with_null).map_err(refusal), Ok(vec![Some(1), None]));
    }

    #[test]
    fn offsets_outside_the_values_are_an_error() {
        let buffers = Buffers { rows: 1, validity: None, offsets: Some(i64::pack(&[0, 9])), values: vec![1] };
        assert!(Vec::<u8>::decode(&buffers).is_err());
    }
}
