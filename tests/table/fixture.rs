//! A folder with tables, and their rows as values to compare.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray,
    UInt8Array,
};
use arrow::datatypes::{DataType, Field};
use quern::base::{Column, Error, Schema, Sharding};
use quern::device::Device;
use quern::storage::{AppendTo, Disk, Storage};
use quern::table::{DeviceColumn, Shards, TableView, Tables};

/// A data folder that goes away with it.
pub(super) struct Folder {
    pub(super) storage: Storage,
    pub(super) tables: Tables,
    _folder: tempfile::TempDir,
}

/// One row of the test table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) flag: Option<bool>,
    pub(super) text: Option<String>,
    pub(super) file: Vec<u8>,
    pub(super) pixels: [u8; 4],
}

/// A row that is told by its id.
pub(super) fn row(id: i64) -> Row {
    Row {
        id,
        flag: (id % 3 != 0).then_some(id % 2 == 0),
        text: (id % 5 != 0).then(|| format!("row {id}")),
        file: vec![id.to_le_bytes()[0]; usize::try_from(id % 4).unwrap()],
        pixels: [0, 1, 2, 3].map(|k| id.to_le_bytes()[0].wrapping_add(k)),
    }
}

pub(super) fn schema() -> Schema {
    let column = |(name, column_type, nullable): (&str, &str, bool)| Column {
        name: name.to_owned(),
        column_type: column_type.parse().unwrap(),
        nullable,
    };
    let columns = [
        ("id", "int64", false),
        ("flag", "bool", true),
        ("text", "utf8", true),
        ("file", "binary", false),
        ("pixels", "tensor(uint8,[2,2])", false),
    ];
    Schema::new(columns.into_iter().map(column).collect()).unwrap()
}

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let pixels = UInt8Array::from_iter_values(rows.iter().flat_map(|row| row.pixels));
    let item = Arc::new(Field::new("item", DataType::UInt8, false));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.flag))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.text.as_deref()))),
        Arc::new(LargeBinaryArray::from_iter_values(rows.iter().map(|row| &row.file))),
        Arc::new(FixedSizeListArray::new(item, 4, Arc::new(pixels), None)),
    ];
    RecordBatch::try_new(schema().to_arrow(), columns).unwrap()
}

impl Folder {
    pub(super) fn new() -> Self {
        Self::with_memory(1 << 30)
    }

    /// With so much device memory.
    pub(super) fn with_memory(bytes: u64) -> Self {
        Self::on(Device::cpu(1, bytes))
    }

    pub(super) fn on(device: Device) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Arc::new(Disk)).unwrap();
        let tables = Tables::new(storage.clone(), device);
        Self { storage, tables, _folder: folder }
    }

    pub(super) fn create(&self, table: &str, sharding: Sharding, shards: u32) {
        let mut write = self.storage.begin();
        write.create_table(table, &schema(), sharding, shards).unwrap();
        write.commit().unwrap();
    }

    pub(super) fn append(&self, table: &str, to: AppendTo, rows: &[Row]) {
        let mut write = self.storage.begin();
        write.append(table, to, [Ok::<_, Error>(batch(rows))]).unwrap();
        write.commit().unwrap();
    }

    pub(super) fn view(&self, table: &str, shards: Shards) -> TableView {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(table).unwrap();
        self.tables.view(&snapshot, &table, shards).unwrap()
    }
}

/// The rows that a view shows, from its columns on the device.
pub(super) fn rows_of(view: &TableView) -> Vec<Row> {
    let columns: Vec<Arc<DeviceColumn>> = (0..5).map(|i| view.column(i).unwrap()).collect();
    let rows = usize::try_from(view.rows()).unwrap();
    assert!(columns.iter().all(|column| column.rows() == view.rows()));
    let cell = |column: usize, row| columns[column].row_bytes(row).unwrap();
    let rows = (0..rows).map(|row| Row {
        id: i64::from_le_bytes(cell(0, row).try_into().unwrap()),
        flag: columns[1].is_present(row).then(|| cell(1, row) == [1]),
        text: columns[2].is_present(row).then(|| String::from_utf8(cell(2, row).to_vec()).unwrap()),
        file: cell(3, row).to_vec(),
        pixels: cell(4, row).try_into().unwrap(),
    });
    rows.collect()
}

/// Ids that a view shows, in order.
pub(super) fn ids_of(view: &TableView) -> Vec<i64> {
    let column = view.column(0).unwrap();
    column.values().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The rows of a shard as storage scans them.
pub(super) fn scanned(folder: &Folder, table: &str, shard: Option<u32>) -> Vec<Row> {
    let snapshot = folder.storage.snapshot().unwrap();
    let state = snapshot.table(table).unwrap();
    let batches = folder.storage.scan(&snapshot, &state, shard, None).unwrap();
    batches.flat_map(|batch| rows_in(&batch.unwrap())).collect()
}

fn rows_in(batch: &RecordBatch) -> Vec<Row> {
    let ids = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    let (flags, texts) = (batch.column(1).as_boolean(), batch.column(2).as_string::<i32>());
    let (files, pixels) = (batch.column(3).as_binary::<i64>(), batch.column(4).as_fixed_size_list());
    let row = |i: usize| Row {
        id: ids.value(i),
        flag: flags.iter().nth(i).unwrap(),
        text: texts.iter().nth(i).unwrap().map(str::to_owned),
        file: files.value(i).to_vec(),
        pixels: pixels.value(i).as_primitive::<arrow::datatypes::UInt8Type>().values()[..].try_into().unwrap(),
    };
    (0..batch.num_rows()).map(row).collect()
}
