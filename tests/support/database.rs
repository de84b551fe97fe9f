//! A folder with tables for instances to read.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use quern::base::{Column, Error, Schema, Sharding};
use quern::device::Device;
use quern::storage::{AppendTo, Disk, Storage};
use quern::table::{OutputTable, Shards, TableView, Tables};

use super::instance::executor;

/// A data folder that goes away with it.
pub(crate) struct Database {
    storage: Storage,
    tables: Tables,
    _folder: tempfile::TempDir,
}

impl Database {
    pub(crate) fn new() -> Self {
        Self::on(executor().device())
    }

    /// One whose columns lie on this device.
    pub(crate) fn on(device: &Device) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path(), Arc::new(Disk)).unwrap();
        let tables = Tables::new(storage.clone(), device.clone());
        Self { storage, tables, _folder: folder }
    }

    /// A table `digits` with ten rows in one shard; every third flag is null.
    pub(crate) fn digits(&self) -> TableView {
        let columns = [("id", "int64", false), ("flag", "bool", true), ("text", "utf8", false)];
        let column = |(name, column_type, nullable): (&str, &str, bool)| Column {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable,
        };
        let schema = Schema::new(columns.into_iter().map(column).collect()).unwrap();
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(0..10)),
            Arc::new(BooleanArray::from_iter((0..10).map(|i| (i % 3 != 0).then_some(i % 2 == 0)))),
            Arc::new(StringArray::from_iter_values((0..10).map(|i| format!("row {i}")))),
        ];
        let batch = RecordBatch::try_new(schema.to_arrow(), arrays).unwrap();
        self.create("digits", &schema, Sharding::Replicated, vec![batch])
    }

    /// A replicated table with the rows of an output.
    pub(crate) fn commit(&self, name: &str, rows: OutputTable) -> TableView {
        let schema = rows.schema().clone();
        self.create(name, &schema, Sharding::Replicated, rows.into_batches().unwrap())
    }

    /// A table of one shard with these rows.
    pub(crate) fn create(
        &self,
        name: &str,
        schema: &Schema,
        sharding: Sharding,
        batches: Vec<RecordBatch>,
    ) -> TableView {
        let mut write = self.storage.begin();
        write.create_table(name, schema, sharding, 1).unwrap();
        write.commit().unwrap();
        let mut write = self.storage.begin();
        write.append(name, AppendTo::Deal, batches.into_iter().map(Ok::<_, Error>)).unwrap();
        write.commit().unwrap();
        self.view(name)
    }

    /// All rows of a table as they are now.
    pub(crate) fn view(&self, name: &str) -> TableView {
        let snapshot = self.storage.snapshot().unwrap();
        let table = snapshot.table(name).unwrap();
        self.tables.view(&snapshot, &table, Shards::All).unwrap()
    }
}
