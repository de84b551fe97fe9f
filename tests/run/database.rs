//! A folder whose procs are components of this repository's crates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, Int64Array, RecordBatch, UInt8Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use quern::base::{Column, Error, Limits, RunId, Schema, Sharding};
use quern::catalog::{Catalog, NewComponent};
use quern::device::Device;
use quern::proc::{Engine, inspect};
use quern::run::{LocalThreads, RunRequest, RunStatus, Runs};
use quern::sql::ingest::{IdxOptions, Options};
use quern::sql::{Import, ImportMode};
use quern::storage::{AppendTo, Disk, FileLayer, Storage};
use quern::table::Tables;
use quern::tensor::Executor;

use crate::support::components::component;

/// A data folder whose procs are components.
pub(crate) struct Database {
    pub(crate) storage: Storage,
    pub(crate) runs: Runs,
    pub(crate) tables: Tables,
    folder: tempfile::TempDir,
}

impl Database {
    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn new(components: &[(&str, &str)]) -> Self {
        Self::on(Device::cpu(2, 2 << 30), components)
    }

    /// With its columns and tensors on this device.
    pub(crate) fn on(device: Device, components: &[(&str, &str)]) -> Self {
        Self::on_files(device, Arc::new(Disk), components)
    }

    /// The same, with its files in this layer.
    pub(crate) fn on_files(device: Device, files: Arc<dyn FileLayer>, components: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), files).unwrap();
        let catalog = Catalog::new(storage.clone());
        for (name, crate_folder) in components {
            let bytes = component(crate_folder);
            let found = inspect(Engine::get().unwrap(), name, bytes, &Limits::default(), None).unwrap();
            let new = NewComponent { name, procs: &found.procs, sha256: &found.sha256, bytes };
            catalog.create(&new).unwrap();
        }
        let tables = Tables::new(storage.clone(), device);
        let executor = Executor::new(tables.device().clone());
        let threads = LocalThreads::new(&storage, &tables, executor, None).unwrap();
        let runs = Runs::open(&storage, &catalog, Arc::new(threads), &Limits::default()).unwrap();
        Self { storage, runs, tables, folder }
    }

    pub(crate) fn run(&self, request: RunRequest) -> RunStatus {
        let id = self.runs.execute(request).unwrap();
        self.ended(id)
    }

    pub(crate) fn ended(&self, id: RunId) -> RunStatus {
        let status = self.runs.wait(id, Some(Duration::from_secs(60))).unwrap();
        assert!(status.run.state.is_final(), "{status:?}");
        status
    }

    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.storage.snapshot().unwrap().table(name).is_ok()
    }

    /// Points `id`, `x`, `y` with x = id and y = id / 2, dealt to so many shards.
    pub(crate) fn points(&self, name: &str, shards: u32, rows: i64) {
        let column = |name: &str, column_type: &str, nullable| Column {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable,
        };
        let columns = vec![column("id", "int64", false), column("x", "float32", true), column("y", "float32", false)];
        let schema = Schema::new(columns).unwrap();
        let mut write = self.storage.begin();
        write.create_table(name, &schema, Sharding::Random, shards).unwrap();
        let x = (0..rows).map(|id| (id % 10 != 3).then_some(id as f32));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(Float32Array::from_iter(x)),
            Arc::new(Float32Array::from_iter_values((0..rows).map(|id| id as f32 / 2.0))),
        ];
        let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        write.append(name, AppendTo::Deal, [Ok::<_, Error>(batch)]).unwrap();
        write.commit().unwrap();
    }

    /// Images of ten patterns, which are their labels.
    pub(crate) fn images(&self, name: &str, shards: u32, rows: i32) {
        let column = |name: &str, column_type: &str| Column {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: false,
        };
        let columns =
            vec![column("id", "int32"), column("data", "tensor(uint8,[28,28])"), column("readable_label", "int32")];
        let schema = Schema::new(columns).unwrap();
        let mut write = self.storage.begin();
        write.create_table(name, &schema, Sharding::Random, shards).unwrap();
        let pixel = |row: i32, at: i32| if at % 10 == row % 10 { 200 + u8::try_from(row % 50).unwrap() } else { 0 };
        let pixels = UInt8Array::from_iter_values((0..rows).flat_map(|row| (0..784).map(move |at| pixel(row, at))));
        let item = Arc::new(Field::new("item", DataType::UInt8, false));
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(0..rows)),
            Arc::new(FixedSizeListArray::new(item, 784, Arc::new(pixels), None)),
            Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row % 10))),
        ];
        let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        write.append(name, AppendTo::Deal, [Ok::<_, Error>(batch)]).unwrap();
        write.commit().unwrap();
    }

    /// The real digits: `part` is `train` or `t10k`.
    pub(crate) fn digits(&self, name: &str, part: &str, shards: u32) {
        let file = |kind: &str| crate::support::tests_folder().join(format!("data/mnist/{part}-{kind}-ubyte.gz"));
        let names = ["id", "data", "onehot_label", "readable_label"].map(str::to_owned).to_vec();
        let idx = IdxOptions { ids: true, one_hot_classes: Some(10) };
        let import = Import {
            table: name.to_owned(),
            files: vec![file("images-idx3"), file("labels-idx1")],
            mode: ImportMode::Create,
            options: Options { names: Some(names), idx, ..Options::default() },
            sharding: None,
            shards: Some(shards),
        };
        quern::sql::import(&self.storage, &quern::catalog::Rights::owner(), &import, &mut |_| Ok(())).unwrap();
    }

    /// `(id, y)` of a table, by id.
    pub(crate) fn sums(&self, name: &str) -> Vec<(i64, f64)> {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(name).unwrap();
        let batches = self.storage.scan(&snapshot, &table, None, None).unwrap();
        let rows = batches.flat_map(|batch| {
            let batch = batch.unwrap();
            let ids = batch.column(0).as_primitive::<Int64Type>().values().to_vec();
            ids.into_iter().zip(batch.column(1).as_primitive::<Float64Type>().values().to_vec())
        });
        let mut rows: Vec<(i64, f64)> = rows.collect();
        rows.sort_by_key(|(id, _)| *id);
        rows
    }
}
