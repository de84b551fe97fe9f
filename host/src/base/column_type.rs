//! The types of columns: their spelling and their form in Arrow.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::{DType, Error, Result};

/// Longest spelling of a type, which also bounds how deep lists can be nested.
const MAX_SPELLING_BYTES: usize = 256;

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// A number or bool of fixed width (never `bfloat16`, which is for tensors).
    Number(DType),
    /// A decimal of `precision` digits, `scale` of them after the point.
    Decimal128 {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// Text.
    Utf8,
    /// Bytes.
    Binary,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since midnight.
    Time,
    /// Microseconds since 1970-01-01 00:00 UTC.
    Timestamp,
    /// 16 bytes.
    Uuid,
    /// An IPv4 address as a 32-bit number.
    Ipv4,
    /// JSON text.
    Json,
    /// A list of any length.
    List(Box<ColumnType>),
    /// A tensor of one shape in every row.
    Tensor {
        /// Element type.
        dtype: DType,
        /// Shape of one row.
        shape: Vec<usize>,
    },
}

impl ColumnType {
    /// Metadata key of an Arrow field that holds the exact column type.
    pub const TYPE_KEY: &'static str = "quern:type";

    /// Element type and shape of one row when the column is of fixed width and
    /// can be seen as a tensor.
    pub fn row_tensor(&self) -> Option<(DType, &[usize])> {
        match self {
            Self::Number(dtype) => Some((*dtype, &[])),
            Self::Tensor { dtype, shape } => Some((*dtype, shape)),
            Self::Date => Some((DType::I32, &[])),
            Self::Time | Self::Timestamp => Some((DType::I64, &[])),
            Self::Ipv4 => Some((DType::U32, &[])),
            _ => None,
        }
    }

    /// Bytes of one row on a device, when the width is fixed.
    pub fn row_bytes(&self) -> Option<usize> {
        match self {
            Self::Decimal128 { .. } | Self::Uuid => Some(16),
            _ => self.row_tensor().map(|(dtype, shape)| dtype.size_bytes() * shape.iter().product::<usize>()),
        }
    }

    /// The Arrow field of a column of this type.
    pub fn to_arrow(&self, name: &str, nullable: bool) -> Field {
        let mut metadata = HashMap::from([(Self::TYPE_KEY.to_owned(), self.to_string())]);
        let mut extension = |name: &str, text: String| {
            metadata.insert("ARROW:extension:name".to_owned(), name.to_owned());
            metadata.insert("ARROW:extension:metadata".to_owned(), text);
        };
        match self {
            Self::Uuid => extension("arrow.uuid", String::new()),
            Self::Json => extension("arrow.json", String::new()),
            Self::Tensor { shape, .. } => extension("arrow.fixed_shape_tensor", format!("{{\"shape\":{shape:?}}}")),
            _ => {}
        }
        Field::new(name, self.arrow_type(), nullable).with_metadata(metadata)
    }

    /// The Arrow type that holds the values.
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Number(dtype) => number_to_arrow(*dtype),
            Self::Decimal128 { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::Utf8 | Self::Json => DataType::Utf8,
            Self::Binary => DataType::LargeBinary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Ipv4 => DataType::UInt32,
            Self::List(item) => DataType::List(Arc::new(item.to_arrow("item", true))),
            Self::Tensor { dtype, shape } => {
                let length = i32::try_from(shape.iter().product::<usize>()).unwrap_or(i32::MAX);
                DataType::FixedSizeList(Arc::new(Field::new("item", number_to_arrow(*dtype), false)), length)
            }
        }
    }

    /// The column type of an Arrow field: the exact one where the field carries
    /// it, else the one that holds its values without loss.
    pub fn from_arrow(field: &Field) -> Result<Self> {
        if let Some(text) = field.metadata().get(Self::TYPE_KEY)
            && let Ok(exact) = text.parse::<Self>()
            && exact.arrow_type() == *field.data_type()
        {
            return Ok(exact);
        }
        Ok(match field.data_type() {
            DataType::Boolean => Self::Number(DType::Bool),
            DataType::Int8 => Self::Number(DType::I8),
            DataType::Int16 => Self::Number(DType::I16),
            DataType::Int32 => Self::Number(DType::I32),
            DataType::Int64 => Self::Number(DType::I64),
            DataType::UInt8 => Self::Number(DType::U8),
            DataType::UInt16 => Self::Number(DType::U16),
            DataType::UInt32 => Self::Number(DType::U32),
            DataType::UInt64 => Self::Number(DType::U64),
            DataType::Float16 => Self::Number(DType::F16),
            DataType::Float32 => Self::Number(DType::F32),
            DataType::Float64 => Self::Number(DType::F64),
            DataType::Decimal128(precision, scale) => Self::Decimal128 { precision: *precision, scale: *scale },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Utf8,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, _) => Self::Timestamp,
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::FixedSizeBinary(_) => Self::Binary,
            DataType::List(item) | DataType::LargeList(item) => Self::List(Box::new(Self::from_arrow(item)?)),
            DataType::FixedSizeList(item, length) => match Self::from_arrow(item)? {
                Self::Number(dtype) => {
                    Self::Tensor { dtype, shape: vec![usize::try_from(*length).unwrap_or_default()] }
                }
                other => Self::List(Box::new(other)),
            },
            DataType::Dictionary(_, value) => Self::from_arrow(&Field::new("value", value.as_ref().clone(), true))?,
            other => {
                return Err(Error::Unsupported(format!(
                    "column `{}` has Arrow type {other}, which no column type holds",
                    field.name()
                )));
            }
        })
    }
}

/// The Arrow type of numbers; `bfloat16` is kept as its 16 bits.
fn number_to_arrow(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::Boolean,
        DType::I8 => DataType::Int8,
        DType::I16 => DataType::Int16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::U8 => DataType::UInt8,
        DType::U16 | DType::BF16 => DataType::UInt16,
        DType::U32 => DataType::UInt32,
        DType::U64 => DataType::UInt64,
        DType::F16 => DataType::Float16,
        DType::F32 => DataType::Float32,
        DType::F64 => DataType::Float64,
    }
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(dtype) => write!(f, "{dtype}"),
            Self::Decimal128 { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Utf8 => f.write_str("utf8"),
            Self::Binary => f.write_str("binary"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Uuid => f.write_str("uuid"),
            Self::Ipv4 => f.write_str("ipv4"),
            Self::Json => f.write_str("json"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Tensor { dtype, shape } => {
                write!(f, "tensor({dtype},[")?;
                for (i, extent) in shape.iter().enumerate() {
                    write!(f, "{}{extent}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("])")
            }
        }
    }
}

/// Spellings without arguments; the first of a type is the one shown.
const PLAIN: [(&str, ColumnType); 30] = [
    ("bool", ColumnType::Number(DType::Bool)),
    ("boolean", ColumnType::Number(DType::Bool)),
    ("int8", ColumnType::Number(DType::I8)),
    ("tinyint", ColumnType::Number(DType::I8)),
    ("int16", ColumnType::Number(DType::I16)),
    ("smallint", ColumnType::Number(DType::I16)),
    ("int32", ColumnType::Number(DType::I32)),
    ("int", ColumnType::Number(DType::I32)),
    ("integer", ColumnType::Number(DType::I32)),
    ("int64", ColumnType::Number(DType::I64)),
    ("bigint", ColumnType::Number(DType::I64)),
    ("uint8", ColumnType::Number(DType::U8)),
    ("uint16", ColumnType::Number(DType::U16)),
    ("uint32", ColumnType::Number(DType::U32)),
    ("uint64", ColumnType::Number(DType::U64)),
    ("float16", ColumnType::Number(DType::F16)),
    ("float32", ColumnType::Number(DType::F32)),
    ("real", ColumnType::Number(DType::F32)),
    ("float64", ColumnType::Number(DType::F64)),
    ("double", ColumnType::Number(DType::F64)),
    ("utf8", ColumnType::Utf8),
    ("varchar", ColumnType::Utf8),
    ("text", ColumnType::Utf8),
    ("binary", ColumnType::Binary),
    ("date", ColumnType::Date),
    ("time", ColumnType::Time),
    ("timestamp", ColumnType::Timestamp),
    ("uuid", ColumnType::Uuid),
    ("ipv4", ColumnType::Ipv4),
    ("json", ColumnType::Json),
];

impl std::str::FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_SPELLING_BYTES {
            return Err(Error::Invalid(format!(
                "a column type has at most {MAX_SPELLING_BYTES} bytes, not {}",
                text.len()
            )));
        }
        let text: String = text.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
        if let Some((_, found)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(found.clone());
        }
        let argument = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let malformed = |form: &str| Error::Invalid(format!("column type `{text}` is malformed; write {form}"));
        if let Some(item) = argument("list") {
            return Ok(Self::List(Box::new(item.parse()?)));
        }
        if let Some(numbers) = argument("decimal") {
            let form = "decimal(precision,scale), for example decimal(18,4)";
            let (precision, scale) = numbers.split_once(',').unwrap_or((numbers, "0"));
            let precision: u8 = precision.parse().map_err(|_| malformed(form))?;
            let scale: i8 = scale.parse().map_err(|_| malformed(form))?;
            let digits = i16::from(precision);
            if !(1..=38).contains(&precision) || !(0..=digits).contains(&i16::from(scale)) {
                return Err(malformed(form));
            }
            return Ok(Self::Decimal128 { precision, scale });
        }
        if let Some(inside) = argument("tensor") {
            let form = "tensor(element type,[extents]), for example tensor(uint8,[28,28])";
            let (dtype, extents) = inside.split_once(",[").ok_or_else(|| malformed(form))?;
            let extents = extents.strip_suffix(']').ok_or_else(|| malformed(form))?;
            let shape = extents
                .split(',')
                .filter(|extent| !extent.is_empty())
                .map(|extent| extent.parse::<u32>().map(|e| e as usize).map_err(|_| malformed(form)))
                .collect::<Result<Vec<_>>>()?;
            let elements = shape.iter().try_fold(1usize, |n, e| n.checked_mul(*e)).unwrap_or(usize::MAX);
            if elements == 0 || elements > 1 << 28 {
                return Err(Error::OutOfRange(format!("column type `{text}`: a row must hold 1 to 2^28 elements")));
            }
            return Ok(Self::Tensor { dtype: dtype.parse()?, shape });
        }
        let names = PLAIN.iter().map(|(name, _)| *name).chain(["list(…)", "decimal(…)", "tensor(…)"]);
        Err(Error::not_found("column type", &text, None, names))
    }
}
