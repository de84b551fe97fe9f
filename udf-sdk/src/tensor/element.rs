//! Rust's numbers as elements of tensors and columns.

use crate::DType;

/// A Rust type that is stored as elements of one [`DType`].
pub trait Element: Copy {
    /// The element type.
    const DTYPE: DType;

    /// Elements from packed little-endian bytes; a rest that is not a whole
    /// element is dropped.
    fn unpack(bytes: &[u8]) -> Vec<Self>;

    /// Packed little-endian bytes.
    fn pack(values: &[Self]) -> Vec<u8>;
}

/// The element type as columns spell it: `uint8`.
pub(crate) fn spelling(element: DType) -> &'static str {
    match element {
        DType::Boolean => "bool",
        DType::Int8 => "int8",
        DType::Int16 => "int16",
        DType::Int32 => "int32",
        DType::Int64 => "int64",
        DType::Uint8 => "uint8",
        DType::Uint16 => "uint16",
        DType::Uint32 => "uint32",
        DType::Uint64 => "uint64",
        DType::Float16 => "float16",
        DType::Bfloat16 => "bfloat16",
        DType::Float32 => "float32",
        DType::Float64 => "float64",
    }
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => {$(
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;

            fn unpack(bytes: &[u8]) -> Vec<Self> {
                const SIZE: usize = size_of::<$rust>();
                bytes.as_chunks::<SIZE>().0.iter().map(|c| <$rust>::from_le_bytes(*c)).collect()
            }

            fn pack(values: &[Self]) -> Vec<u8> {
                values.iter().flat_map(|v| v.to_le_bytes()).collect()
            }
        }
    )*};
}

elements!(
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    f32 => Float32, f64 => Float64
);

impl Element for bool {
    const DTYPE: DType = DType::Boolean;

    fn unpack(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|b| *b != 0).collect()
    }

    fn pack(values: &[Self]) -> Vec<u8> {
        values.iter().map(|v| u8::from(*v)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_packed_little_endian() {
        assert_eq!(i32::pack(&[1, -2]), [1, 0, 0, 0, 254, 255, 255, 255]);
        assert_eq!(i32::unpack(&[1, 0, 0, 0, 254, 255, 255, 255]), [1, -2]);
        assert_eq!(f64::unpack(&f64::pack(&[0.1, -3.5])), [0.1, -3.5]);
        assert_eq!(bool::unpack(&[0, 1, 2]), [false, true, true]);
    }
}
