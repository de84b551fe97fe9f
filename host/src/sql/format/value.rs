//! One value as text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Float16Type, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write;

use crate::base::{ColumnType, Error, Result};

/// Elements of a tensor or list that a table still shows.
const SHOWN_ELEMENTS: usize = 16;
/// Bytes of a binary value that a table still shows.
const SHOWN_BYTES: usize = 16;

/// How much of a large value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All of it.
    Full,
    /// Its type and size, when it is large.
    Preview,
}

/// Writes the values of one column as text.
pub struct ColumnText<'a> {
    array: &'a ArrayRef,
    kind: Kind<'a>,
    detail: Detail,
}

/// What decides the form of a value.
enum Kind<'a> {
    Binary,
    Uuid,
    Ipv4,
    /// A list, with its element column and, for tensors, the shape of one row.
    List {
        items: Box<ColumnList>,
        shape: Option<Vec<usize>>,
        item_type: String,
    },
    /// Text that needs no conversion.
    Text,
    /// A float16.
    Half,
    Plain(ArrayFormatter<'a>),
}

/// The elements of a list column and where each row's begin.
struct ColumnList {
    values: ArrayRef,
    field: Field,
    offsets: Vec<usize>,
}

impl<'a> ColumnText<'a> {
    /// One writer per column of `batch`.
    pub fn of_batch(schema: &Schema, batch: &'a RecordBatch, detail: Detail) -> Result<Vec<Self>> {
        schema.fields().iter().zip(batch.columns()).map(|(field, array)| Self::new(field, array, detail)).collect()
    }

    /// A writer of `array`, whose exact type `field` tells.
    pub fn new(field: &Field, array: &'a ArrayRef, detail: Detail) -> Result<Self> {
        let exact = ColumnType::from_arrow(field).ok();
        let kind = match (array.data_type(), &exact) {
            (DataType::FixedSizeBinary(16), Some(ColumnType::Uuid)) => Kind::Uuid,
            (DataType::UInt32, Some(ColumnType::Ipv4)) => Kind::Ipv4,
            (DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_), _) => {
                Kind::Binary
            }
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _) => Kind::Text,
            (DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _), _) => list(array, exact)?,
            (DataType::Float16, _) => Kind::Half,
            _ => Kind::Plain(plain(array)?),
        };
        Ok(Self { array, kind, detail })
    }

    /// Appends the value of `row` to `text`; `false` when there is none.
    pub fn push(&self, row: usize, text: &mut String) -> Result<bool> {
        if self.array.is_null(row) {
            return Ok(false);
        }
        match &self.kind {
            Kind::Text => text.push_str(text_at(self.array, row)),
            Kind::Binary => push_binary(binary_at(self.array, row), self.detail, text),
            Kind::Uuid => {
                let bytes = binary_at(self.array, row);
                text.push_str(&uuid::Uuid::from_slice(bytes).unwrap_or_default().to_string());
            }
            Kind::Ipv4 => {
                let bits = self.array.as_primitive::<arrow::datatypes::UInt32Type>().value(row);
                text.push_str(&std::net::Ipv4Addr::from(bits).to_string());
            }
            Kind::List { items, shape, item_type } => self.push_list(items, shape.as_deref(), item_type, row, text)?,
            Kind::Half => {
                let value = self.array.as_primitive::<Float16Type>().value(row);
                // As wider floats are written: a whole one with `.0`.
                let fraction = if value.is_finite() && value.to_f32().fract() == 0.0 { ".0" } else { "" };
                write!(text, "{value}{fraction}").map_err(|e| Error::library("cannot show a value", e))?;
            }
            Kind::Plain(formatter) => {
                write!(text, "{}", formatter.value(row)).map_err(|e| Error::library("cannot show a value", e))?;
            }
        }
        Ok(true)
    }

    /// Whether values are numbers, which tables align to the right.
    pub fn is_number(&self) -> bool {
        self.array.data_type().is_numeric() && !matches!(self.kind, Kind::Ipv4)
    }

    /// Whether the text is valid JSON as it stands.
    pub(super) fn is_json(&self) -> bool {
        match self.kind {
            Kind::List { .. } | Kind::Half => true,
            Kind::Plain(_) => {
                self.array.data_type().is_numeric() && !self.array.data_type().is_decimal()
                    || matches!(self.array.data_type(), DataType::Boolean)
            }
            _ => false,
        }
    }

    /// A list as nested brackets; JSON as well, when its elements are quoted.
    fn push_list(
        &self,
        list: &ColumnList,
        shape: Option<&[usize]>,
        item_type: &str,
        row: usize,
        text: &mut String,
    ) -> Result<()> {
        let (start, end) = (list.offsets[row], list.offsets[row + 1]);
        if self.detail == Detail::Preview && end - start > SHOWN_ELEMENTS {
            match shape {
                Some(shape) => text.push_str(&tensor_name(item_type, shape)),
                None => text.push_str(&format!("list of {} {item_type}", end - start)),
            }
            return Ok(());
        }
        let items = ColumnText::new(&list.field, &list.values, self.detail)?;
        let inner = shape.map(|shape| shape.get(1..).unwrap_or_default()).unwrap_or_default();
        let mut next = start;
        let outer = match inner {
            [] => end - start,
            _ => (end - start) / inner.iter().product::<usize>().max(1),
        };
        push_nested(&items, outer, inner, &mut next, text)
    }
}

/// Appends `count` elements, each nested by the extents of `inner`.
fn push_nested(
    items: &ColumnText<'_>,
    count: usize,
    inner: &[usize],
    next: &mut usize,
    text: &mut String,
) -> Result<()> {
    text.push('[');
    for i in 0..count {
        if i > 0 {
            text.push(',');
        }
        match inner {
            [extent, rest @ ..] => push_nested(items, *extent, rest, next, text)?,
            [] => {
                push_element(items, *next, text)?;
                *next += 1;
            }
        }
    }
    text.push(']');
    Ok(())
}

/// Appends one element of a list in JSON's form.
fn push_element(items: &ColumnText<'_>, row: usize, text: &mut String) -> Result<()> {
    super::json::push_value(items, row, text)
}

/// Appends binary as hexadecimal digits, or its size.
fn push_binary(bytes: &[u8], detail: Detail, text: &mut String) {
    if detail == Detail::Preview && bytes.len() > SHOWN_BYTES {
        text.push_str(&format!("{} bytes", bytes.len()));
        return;
    }
    text.push_str("\\x");
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
}

/// The elements of a list column.
fn list(array: &ArrayRef, exact: Option<ColumnType>) -> Result<Kind<'static>> {
    let (values, item, offsets): (ArrayRef, &Field, Vec<usize>) = match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            (list.values().clone(), item, list.offsets().iter().map(|o| *o as usize).collect())
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            (list.values().clone(), item, list.offsets().iter().map(|o| *o as usize).collect())
        }
        DataType::FixedSizeList(item, _) => {
            let list = array.as_fixed_size_list();
            let width = list.value_length() as usize;
            (list.values().clone(), item, (0..=list.len()).map(|row| row * width).collect())
        }
        other => return Err(Error::Internal(format!("{other} is no list"))),
    };
    let item_type = ColumnType::from_arrow(item).map_or_else(|_| item.data_type().to_string(), |t| t.to_string());
    let shape = match exact {
        Some(ColumnType::Tensor { shape, .. }) => Some(shape),
        _ => None,
    };
    let items = Box::new(ColumnList { values, field: item.clone(), offsets });
    Ok(Kind::List { items, shape, item_type })
}

/// `tensor(uint8,[28,28])`.
fn tensor_name(item_type: &str, shape: &[usize]) -> String {
    let extents: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("tensor({item_type},[{}])", extents.join(","))
}

/// Arrow's formatter with times as SQL writes them.
fn plain(array: &ArrayRef) -> Result<ArrayFormatter<'_>> {
    let options = const {
        FormatOptions::new()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
    };
    ArrayFormatter::try_new(array.as_ref(), &options).map_err(|e| Error::library("cannot show a column", e))
}

/// The text of a row of any text column.
pub(super) fn text_at(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => "",
    }
}

/// The bytes of a row of any binary column.
fn binary_at(array: &ArrayRef, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => &[],
    }
}
