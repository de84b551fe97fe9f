//! IDX, the format of the MNIST files: a magic number (element type, number of
//! dimensions), big-endian extents, then the elements row by row.
//!
//! Each file is a column: a file of one dimension is a column of numbers
//! (`label`), one of more is a column of tensors (`data`). Files given together
//! must have as many rows. The number of elements must be exactly what the
//! header says.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use super::file::{Content, corrupt};
use super::{BATCH_ROWS, Source};
use crate::base::{Column, ColumnType, DType, Error, Result, Schema};
use crate::sql::{convert, nested};

/// What to make of IDX files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdxOptions {
    /// Puts a column `id` int64 in front, counted from 0.
    pub ids: bool,
    /// Makes two columns of each file of labels: `onehot_label`, a
    /// tensor(uint8,[classes]), and `readable_label`, an int32.
    pub one_hot_classes: Option<usize>,
}

/// One file behind its header.
struct Array {
    content: Content,
    dtype: DType,
    rows: usize,
    shape: Vec<usize>,
    /// Bytes taken so far, header included.
    read_bytes: u64,
}

/// Most bytes of rows read at a time, where a row is not larger.
const BATCH_BYTES: usize = 64 << 20;

/// Most classes of one-hot labels.
const MAX_CLASSES: usize = 1 << 20;

/// Columns of the files in the order given.
pub(super) fn open(contents: Vec<Content>, options: &IdxOptions) -> Result<Source> {
    let mut arrays = contents.into_iter().map(Array::open).collect::<Result<Vec<_>>>()?;
    let Some(first) = arrays.first() else { return Err(Error::Invalid("no file to read".into())) };
    let rows = first.rows;
    if let Some(other) = arrays.iter().find(|array| array.rows != rows) {
        let reason = format!("it has {} rows, but {} has {rows}", other.rows, first.content.path().display());
        return Err(corrupt(other.content.path(), reason));
    }
    let schema = schema(&arrays, options)?;
    let arrow = schema.to_arrow();
    let batch_rows = batch_rows(&arrays, options)?;
    let options = options.clone();
    let mut next = 0;
    let mut ended = false;
    let batches = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        if next == rows {
            ended = true;
            return arrays.iter_mut().find_map(|array| array.check_end().err()).map(Err);
        }
        let n = batch_rows.min(rows - next);
        let columns = read_columns(&mut arrays, &options, next, n);
        next += n;
        let batch = columns.and_then(|columns| {
            RecordBatch::try_new(arrow.clone(), columns).map_err(|e| Error::Internal(e.to_string()))
        });
        ended = batch.is_err();
        Some(batch)
    });
    Ok(Source::new(schema, Some(rows as u64), batches))
}

/// Rows read at a time: as many as fit into [`BATCH_BYTES`], since a header may
/// claim rows of any size.
fn batch_rows(arrays: &[Array], options: &IdxOptions) -> Result<usize> {
    let classes = options.one_hot_classes.unwrap_or(0);
    if classes > MAX_CLASSES {
        return Err(Error::OutOfRange(format!("{classes} classes asked for one-hot labels, at most {MAX_CLASSES}")));
    }
    let row_bytes = arrays.iter().fold(classes, |sum, array| sum.saturating_add(array.row_bytes()));
    Ok((BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS))
}

/// The columns that the files give.
fn schema(arrays: &[Array], options: &IdxOptions) -> Result<Schema> {
    let mut columns: Vec<Column> = Vec::new();
    let mut push = |name: &str, column_type| {
        let taken = columns.iter().filter(|c| c.name.trim_end_matches(|c: char| c.is_ascii_digit()) == name).count();
        let name = if taken == 0 { name.to_owned() } else { format!("{name}{}", taken + 1) };
        columns.push(Column { name, column_type, nullable: false });
    };
    if options.ids {
        push("id", ColumnType::Number(DType::I64));
    }
    for array in arrays {
        match (array.shape.is_empty(), options.one_hot_classes) {
            (false, _) => push("data", ColumnType::Tensor { dtype: array.dtype, shape: array.shape.clone() }),
            (true, None) => push("label", ColumnType::Number(array.dtype)),
            (true, Some(classes)) => {
                push("onehot_label", ColumnType::Tensor { dtype: DType::U8, shape: vec![classes] });
                push("readable_label", ColumnType::Number(DType::I32));
            }
        }
    }
    Schema::new(columns)
}

/// The columns of the next `n` rows.
fn read_columns(arrays: &mut [Array], options: &IdxOptions, first: usize, n: usize) -> Result<Vec<ArrayRef>> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    if options.ids {
        columns.push(Arc::new(Int64Array::from_iter_values((first..first + n).map(|id| id as i64))));
    }
    for array in arrays {
        let values = array.read(n)?;
        if !array.shape.is_empty() {
            columns.push(tensors(values, array.dtype, array.shape.clone())?);
        } else if let Some(classes) = options.one_hot_classes {
            columns.extend(one_hot(&values, classes, first, array.content.path())?);
        } else {
            columns.push(values);
        }
    }
    Ok(columns)
}

/// Elements as rows of a shape.
fn tensors(values: ArrayRef, dtype: DType, shape: Vec<usize>) -> Result<ArrayRef> {
    let column_type = ColumnType::Tensor { dtype, shape };
    let DataType::FixedSizeList(item, width) = column_type.arrow_type() else {
        return Err(Error::Internal(format!("{column_type} has no Arrow form")));
    };
    let column = FixedSizeListArray::try_new(item, width, values, None);
    Ok(Arc::new(column.map_err(|e| Error::Internal(e.to_string()))?))
}

/// Labels as vectors with a 1 at the label, and as numbers.
fn one_hot(labels: &ArrayRef, classes: usize, first: usize, path: &Path) -> Result<[ArrayRef; 2]> {
    let mismatch = |m: convert::Mismatch| corrupt(path, format!("label of row {}: {}", first + m.row, m.reason));
    let wide = convert::to_column(labels, None, &ColumnType::Number(DType::I64)).map_err(mismatch)?;
    let wide = wide.as_primitive::<Int64Type>().values().clone();
    let mut bits = vec![0u8; wide.len() * classes];
    for (row, label) in wide.iter().enumerate() {
        let slot = usize::try_from(*label).ok().filter(|label| *label < classes);
        match slot.and_then(|label| bits.get_mut(row * classes + label)) {
            Some(bit) => *bit = 1,
            None => {
                let reason = format!("label {label} of row {} is not one of {classes} classes", first + row);
                return Err(corrupt(path, reason));
            }
        }
    }
    let vectors = tensors(numbers(bits, DType::U8)?, DType::U8, vec![classes])?;
    let numbers = convert::to_column(labels, None, &ColumnType::Number(DType::I32)).map_err(mismatch)?;
    Ok([vectors, numbers])
}

impl Array {
    /// Reads and checks the header.
    fn open(mut content: Content) -> Result<Self> {
        let path = content.path().to_owned();
        let mut magic = [0u8; 4];
        let got = content.read_full(&mut magic)?;
        if got < magic.len() {
            return Err(corrupt(&path, format!("truncated: an IDX header has at least 8 bytes, the file has {got}")));
        }
        let [zero, zero2, code, dimensions] = magic;
        let dtype = dtype(code).filter(|_| zero == 0 && zero2 == 0 && (1..=8).contains(&dimensions));
        let Some(dtype) = dtype else {
            let hex: Vec<String> = magic.iter().map(|byte| format!("{byte:02x}")).collect();
            let reason = format!("not an IDX file: it begins with {}, not 00 00, a type and a rank", hex.join(" "));
            return Err(corrupt(&path, reason));
        };
        let mut extents = vec![0u8; usize::from(dimensions) * 4];
        let wanted = extents.len();
        let got = content.read_full(&mut extents)?;
        if got < wanted {
            let reason = format!("truncated: the header has {} bytes, the file has {}", 4 + wanted, 4 + got);
            return Err(corrupt(&path, reason));
        }
        let mut shape: Vec<usize> = extents
            .chunks_exact(4)
            .map(|b| b.iter().fold(0usize, |value, byte| value << 8 | usize::from(*byte)))
            .collect();
        let rows = shape.remove(0);
        let elements = shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        if elements.is_none_or(|n| n == 0 || n > 1 << 28) {
            return Err(corrupt(&path, format!("its rows have shape {shape:?}; 1 to 2^28 elements are possible")));
        }
        let array = Self { content, dtype, rows, shape, read_bytes: 4 + wanted as u64 };
        array.check_size()?;
        Ok(array)
    }

    /// Refuses an uncompressed file whose size is not what the header says.
    fn check_size(&self) -> Result<()> {
        let Some(actual) = self.content.size_bytes else { return Ok(()) };
        let expected = self.expected_bytes();
        match actual.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            order => Err(self.wrong_size(order, actual)),
        }
    }

    /// The error of a file that is too short or too long.
    fn wrong_size(&self, order: std::cmp::Ordering, actual: u64) -> Error {
        let expected = self.expected_bytes();
        let what = if order.is_lt() { "truncated" } else { "too long" };
        let unpacked = if self.content.compressed { " when unpacked" } else { "" };
        let reason = format!(
            "{what}: {} rows of {} bytes take {expected} bytes with the header, the file has {actual}{unpacked}",
            self.rows,
            self.row_bytes()
        );
        corrupt(self.content.path(), reason)
    }

    /// Bytes of one row.
    fn row_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_bytes()
    }

    /// Bytes of the whole file, by its header.
    fn expected_bytes(&self) -> u64 {
        4 + 4 * (self.shape.len() as u64 + 1) + self.rows as u64 * self.row_bytes() as u64
    }

    /// Elements of the next `n` rows.
    fn read(&mut self, n: usize) -> Result<ArrayRef> {
        let mut bytes = vec![0u8; n * self.row_bytes()];
        let got = self.content.read_full(&mut bytes)?;
        if got < bytes.len() {
            return Err(self.wrong_size(std::cmp::Ordering::Less, self.read_bytes + got as u64));
        }
        self.read_bytes += got as u64;
        let size = self.dtype.size_bytes();
        if size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        numbers(bytes, self.dtype)
    }

    /// Refuses bytes behind the last row; also makes gzip check its checksum.
    fn check_end(&mut self) -> Result<()> {
        match self.content.skip_to_end()? {
            0 => Ok(()),
            extra => Err(self.wrong_size(std::cmp::Ordering::Greater, self.read_bytes + extra)),
        }
    }
}

/// Little-endian bytes as an Arrow array.
fn numbers(bytes: Vec<u8>, dtype: DType) -> Result<ArrayRef> {
    nested::numbers_from_bytes(bytes, dtype).map_err(|m| Error::Internal(m.reason))
}

/// The element type behind a type code.
fn dtype(code: u8) -> Option<DType> {
    Some(match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return None,
    })
}
