//! Sample tables: every column type, with and without nulls, from a number.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{concat_batches, take};
use quern::base::{Column, ColumnType, Schema, Sharding};
use quern::storage::{AppendTo, Disk, ROW_ID_COLUMN, ScanOptions, Storage};

/// A small generator of numbers (SplitMix64), so that tests need no crate.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A type of each kind, in its spelling.
pub(super) const TYPES: [&str; 27] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "decimal(18,4)",
    "decimal(38,2)",
    "utf8",
    "binary",
    "date",
    "time",
    "timestamp",
    "uuid",
    "ipv4",
    "json",
    "list(int32)",
    "list(list(float16))",
    "tensor(uint8,[2,3])",
    "tensor(float32,[5])",
    "tensor(bool,[3])",
];

pub(super) fn parse(text: &str) -> ColumnType {
    text.parse().unwrap()
}

/// A schema of columns `name type`, nullable when the type ends in `?`.
pub(super) fn schema(columns: &[(&str, &str)]) -> Schema {
    let columns = columns.iter().map(|(name, text)| Column {
        name: (*name).to_owned(),
        column_type: parse(text.trim_end_matches('?')),
        nullable: text.ends_with('?'),
    });
    Schema::new(columns.collect()).unwrap()
}

/// A schema with a column of every type, required and optional.
pub(super) fn every_type(lists: bool) -> Schema {
    let types = TYPES.iter().filter(|text| lists || !text.starts_with("list"));
    let columns = types.enumerate().flat_map(|(i, text)| {
        [false, true].map(|nullable| Column {
            name: format!("c{i}{}", if nullable { "_null" } else { "" }),
            column_type: parse(text),
            nullable,
        })
    });
    Schema::new(columns.collect()).unwrap()
}

/// Rows of made-up values. Optional columns lack about a third of them.
pub(super) fn rows(schema: &Schema, n: usize, seed: u64) -> RecordBatch {
    let mut numbers = Numbers(seed);
    let columns = schema.columns().iter().map(|column| {
        let values = values(&column.column_type, n, &mut numbers);
        if column.nullable { without_some(&values, &mut numbers) } else { values }
    });
    RecordBatch::try_new(schema.to_arrow(), columns.collect()).unwrap()
}

fn values(column_type: &ColumnType, n: usize, numbers: &mut Numbers) -> ArrayRef {
    use arrow::array::*;
    use quern::base::DType;
    let mut draw = |end: u64| -> Vec<u64> { (0..n).map(|_| numbers.below(end)).collect() };
    match column_type {
        ColumnType::Number(DType::F16) => Arc::new(Float16Array::from_iter_values(
            draw(2000).iter().map(|v| half::f16::from_f32(*v as f32 / 8.0 - 100.0)),
        )),
        ColumnType::Number(DType::F32) => Arc::new(Float32Array::from_iter_values(
            draw(2000).iter().map(|v| if *v == 7 { f32::NEG_INFINITY } else { *v as f32 / 7.0 - 100.0 }),
        )),
        ColumnType::Number(DType::F64) => Arc::new(Float64Array::from_iter_values(
            draw(2000).iter().map(|v| if *v == 7 { 1e300 } else { *v as f64 / 7.0 - 100.0 }),
        )),
        ColumnType::Utf8 => Arc::new(StringArray::from_iter_values(draw(99).iter().map(|v| format!("é'\"{v}\n")))),
        ColumnType::Json => {
            Arc::new(StringArray::from_iter_values(draw(99).iter().map(|v| format!("{{\"a\":[{v}]}}"))))
        }
        ColumnType::Binary => {
            Arc::new(LargeBinaryArray::from_iter_values(draw(255).iter().map(|v| vec![*v as u8; *v as usize % 9])))
        }
        ColumnType::Uuid => Arc::new(
            FixedSizeBinaryArray::try_from_iter(draw(u64::MAX).iter().map(|v| (u128::from(*v) << 60).to_be_bytes()))
                .unwrap(),
        ),
        ColumnType::List(item) => {
            let lengths: Vec<usize> = draw(4).iter().map(|v| *v as usize).collect();
            let inner = values(item, lengths.iter().sum(), numbers);
            let inner = without_some(&inner, numbers);
            let arrow::datatypes::DataType::List(field) = column_type.arrow_type() else { panic!("not a list") };
            Arc::new(ListArray::new(field, arrow::buffer::OffsetBuffer::from_lengths(lengths), inner, None))
        }
        ColumnType::Tensor { dtype, shape } => {
            let inner = values(&ColumnType::Number(*dtype), n * shape.iter().product::<usize>(), numbers);
            let arrow::datatypes::DataType::FixedSizeList(field, length) = column_type.arrow_type() else {
                panic!("not a tensor")
            };
            Arc::new(FixedSizeListArray::new(field, length, inner, None))
        }
        ColumnType::Decimal128 { precision, scale } => Arc::new(
            Decimal128Array::from_iter_values(draw(1 << 40).iter().map(|v| i128::from(*v) - (1 << 39)))
                .with_precision_and_scale(*precision, *scale)
                .unwrap(),
        ),
        ColumnType::Number(DType::U64) => {
            Arc::new(UInt64Array::from_iter_values(draw(u64::MAX).iter().map(|v| v | 1 << 63)))
        }
        ColumnType::Number(DType::Bool) => Arc::new(BooleanArray::from_iter(draw(2).iter().map(|v| Some(*v == 1)))),
        other => {
            let end = match other {
                ColumnType::Time => 86_400_000_000,
                ColumnType::Timestamp => 4_000_000_000_000_000,
                ColumnType::Date => 30_000,
                _ => 100,
            };
            let wide: ArrayRef = Arc::new(Int64Array::from_iter_values(draw(end).iter().map(|v| *v as i64)));
            let wide = match other {
                ColumnType::Date => arrow::compute::cast(&wide, &arrow::datatypes::DataType::Int32).unwrap(),
                _ => wide,
            };
            arrow::compute::cast(&wide, &other.arrow_type()).unwrap()
        }
    }
}

/// The array with about a third of its values taken out.
fn without_some(array: &ArrayRef, numbers: &mut Numbers) -> ArrayRef {
    if array.is_empty() {
        return array.clone();
    }
    let present = BooleanBuffer::from_iter((0..array.len()).map(|_| numbers.below(3) > 0));
    let holes = NullBuffer::new(present);
    let source = arrow::array::UInt32Array::new((0..array.len() as u32).collect(), Some(holes));
    let taken = take(array, &source, None).unwrap();
    if taken.null_count() == array.len() { new_null_array(array.data_type(), array.len()) } else { taken }
}

pub(super) fn open(folder: &Path) -> Storage {
    Storage::open(folder, Arc::new(Disk)).unwrap()
}

/// Appends one batch in a commit of its own.
pub(super) fn create(storage: &Storage, table: &str, schema: &Schema, sharding: Sharding, shards: u32) {
    let mut write = storage.begin();
    write.create_table(table, schema, sharding, shards).unwrap();
    write.commit().unwrap();
}

pub(super) fn append(storage: &Storage, table: &str, to: AppendTo, batch: &RecordBatch) {
    let mut write = storage.begin();
    let n = write.append(table, to, [Ok(batch.clone())]).unwrap();
    assert_eq!(n, batch.num_rows() as u64);
    write.commit().unwrap();
}

/// All rows of a table, in one batch.
pub(super) fn all(storage: &Storage, table: &str) -> RecordBatch {
    read(storage, table, &ScanOptions::default())
}

/// What a scan of the newest snapshot gives, in one batch.
pub(super) fn read(storage: &Storage, table: &str, options: &ScanOptions) -> RecordBatch {
    let snapshot = storage.snapshot().unwrap();
    let table = snapshot.table(table).unwrap();
    let scan = storage.scan_with(&snapshot, &table, options).unwrap();
    let schema = scan.schema();
    let batches: Vec<RecordBatch> = scan.collect::<Result<_, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// The ids of all rows of a table.
pub(super) fn row_ids(storage: &Storage, table: &str) -> Vec<u64> {
    let options = ScanOptions { columns: Some(vec![]), row_ids: true, ..ScanOptions::default() };
    let batch = read(storage, table, &options);
    let ids = batch.column_by_name(ROW_ID_COLUMN).unwrap();
    ids.as_any().downcast_ref::<UInt64Array>().unwrap().values().to_vec()
}

/// The values of a column `int64`.
pub(super) fn numbers(batch: &RecordBatch, column: usize) -> Vec<i64> {
    let array = batch.column(column).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
    array.values().to_vec()
}

/// A batch of one column `int64`.
pub(super) fn counted(schema: &Schema, range: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(range));
    RecordBatch::try_new(schema.to_arrow(), vec![column]).unwrap()
}
