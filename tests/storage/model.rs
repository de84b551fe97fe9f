//! Random sequences of operations against a model in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::UInt64Type;
use quern::base::{Schema, Sharding, SnapshotId};
use quern::storage::{AppendTo, ROW_ID_COLUMN, ScanOptions, Snapshot, Storage};

use super::sample::{Numbers, numbers, open, read, rows, schema};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The rows of each table; the first column is a number no two rows share.
type Model = BTreeMap<&'static str, RecordBatch>;

struct World {
    numbers: Numbers,
    schema: Schema,
    model: Model,
    next_id: i64,
    /// What the tables were at some snapshots.
    past: BTreeMap<SnapshotId, Model>,
}

fn by_id(batch: &RecordBatch) -> RecordBatch {
    let order = sort_to_indices(batch.column(0), None, None).unwrap();
    take_record_batch(batch, &order).unwrap()
}

/// Rows without those whose id `gone` names.
fn without(batch: &RecordBatch, gone: &[i64]) -> RecordBatch {
    let keep: Vec<bool> = numbers(batch, 0).iter().map(|id| !gone.contains(id)).collect();
    filter_record_batch(batch, &BooleanArray::from(keep)).unwrap()
}

impl World {
    fn new_rows(&mut self, n: usize) -> RecordBatch {
        let made = rows(&self.schema, n, self.numbers.next());
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(self.next_id..self.next_id + n as i64));
        self.next_id += n as i64;
        let columns = [ids].into_iter().chain(made.columns()[1..].iter().cloned());
        RecordBatch::try_new(self.schema.to_arrow(), columns.collect()).unwrap()
    }

    fn pick(&mut self) -> &'static str {
        NAMES[self.numbers.below(3) as usize]
    }

    /// Does one thing to the storage and the model.
    fn step(&mut self, storage: &Storage) {
        let name = self.pick();
        let mut write = storage.begin();
        let mut next = self.model.clone();
        let mut truncated = false;
        for _ in 0..=self.numbers.below(2) {
            match (self.numbers.below(10), next.contains_key(name)) {
                (_, false) => {
                    let sharding = match self.numbers.below(3) {
                        0 => Sharding::Random,
                        1 => Sharding::Key(vec!["name".into(), "id".into()]),
                        _ => Sharding::Replicated,
                    };
                    write.create_table(name, &self.schema, sharding, 3).unwrap();
                    next.insert(name, RecordBatch::new_empty(self.schema.to_arrow()));
                    break;
                }
                (0, true) => {
                    write.drop_table(name).unwrap();
                    next.remove(name);
                }
                (1, true) => {
                    write.truncate(name).unwrap();
                    truncated = true;
                    next.insert(name, RecordBatch::new_empty(self.schema.to_arrow()));
                }
                // One Write may not delete a row twice: it would be gone at the second.
                (2..5, true) if !truncated => {
                    let (gone, row_ids) = self.some_rows(storage, name);
                    write.delete_rows(name, &row_ids).unwrap();
                    next.insert(name, without(&next[name], &gone));
                    break;
                }
                (what, true) => {
                    let n = if what < 8 { self.numbers.below(20) } else { 500 + self.numbers.below(20_000) };
                    let batch = self.new_rows(n as usize);
                    let middle = batch.num_rows() / 2;
                    let batches = [batch.slice(0, middle), batch.slice(middle, batch.num_rows() - middle)];
                    write.append(name, AppendTo::Deal, batches.map(Ok)).unwrap();
                    next.insert(name, concat_batches(&self.schema.to_arrow(), [&next[name], &batch]).unwrap());
                    break;
                }
            }
        }
        if self.numbers.below(5) == 0 {
            drop(write);
            return;
        }
        let id = write.commit().unwrap();
        self.model = next;
        self.past.insert(id, self.model.clone());
    }

    /// Commits few rows again and again, each time to a file of their own.
    fn add_small_files(&mut self, storage: &Storage, name: &'static str) {
        for _ in 0..8 {
            let n = 1 + self.numbers.below(20);
            let batch = self.new_rows(n as usize);
            let mut write = storage.begin();
            write.append(name, AppendTo::Deal, [Ok(batch.clone())]).unwrap();
            let id = write.commit().unwrap();
            storage.flush_inlined(name).unwrap();
            let all = concat_batches(&self.schema.to_arrow(), [&self.model[name], &batch]).unwrap();
            self.model.insert(name, all);
            self.past.insert(id, self.model.clone());
        }
    }

    /// Some rows of a table: the ids in the model and in storage.
    fn some_rows(&mut self, storage: &Storage, name: &str) -> (Vec<i64>, Vec<u64>) {
        let options = ScanOptions { columns: Some(vec![0]), row_ids: true, ..ScanOptions::default() };
        let found = read(storage, name, &options);
        let row_ids = found.column_by_name(ROW_ID_COLUMN).unwrap().as_primitive::<UInt64Type>().values().to_vec();
        assert!(row_ids.is_sorted(), "seed {:?} {name}: {row_ids:?}", self.numbers.0);
        let one_in = 1 + self.numbers.below(9);
        let pairs = numbers(&found, 0).into_iter().zip(row_ids);
        pairs.filter(|_| self.numbers.below(one_in) == 0).unzip()
    }
}

fn contents(storage: &Storage, snapshot: &Snapshot, name: &str, shard: Option<u32>) -> RecordBatch {
    let table = snapshot.table(name).unwrap();
    let scan = storage.scan(snapshot, &table, shard, None).unwrap();
    let schema = scan.schema();
    concat_batches(&schema, &scan.collect::<Result<Vec<_>, _>>().unwrap()).unwrap()
}

fn assert_same(storage: &Storage, snapshot: &Snapshot, model: &Model) {
    let names: Vec<&str> = snapshot.tables().map(|table| table.name.as_str()).collect();
    assert_eq!(names, model.keys().copied().collect::<Vec<_>>());
    for (name, expected) in model {
        let found = contents(storage, snapshot, name, None);
        assert_eq!(by_id(&found), by_id(expected), "table {name} at {}", snapshot.id);
        let table = snapshot.table(name).unwrap();
        assert_eq!(table.rows, expected.num_rows() as u64);
        let parts: Vec<RecordBatch> =
            (0..table.shards).map(|shard| contents(storage, snapshot, name, Some(shard))).collect();
        let parts = concat_batches(&found.schema(), &parts).unwrap();
        assert_eq!(by_id(&parts), by_id(&found), "shards of {name} at {}", snapshot.id);
    }
}

#[test]
fn random_operations_agree_with_a_model() {
    let mut merged = 0;
    for seed in 0..crate::support::repeats(4, 200) {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = open(folder.path());
        let mut world = World {
            numbers: Numbers(seed),
            schema: schema(&[("id", "int64"), ("name", "utf8?"), ("data", "tensor(float32,[4])?"), ("f", "float16?")]),
            model: Model::new(),
            next_id: 0,
            past: BTreeMap::new(),
        };
        for _ in 0..60 {
            match world.numbers.below(10) {
                0 => {
                    drop(storage);
                    storage = open(folder.path());
                }
                1 | 2 if !world.model.is_empty() => {
                    let names: Vec<&str> = world.model.keys().copied().collect();
                    let name = names[world.numbers.below(names.len() as u64) as usize];
                    storage.flush_inlined(name).unwrap();
                    if world.numbers.below(2) == 0 {
                        world.add_small_files(&storage, name);
                        merged += storage.merge_files(name).unwrap();
                    }
                }
                3 => {
                    storage.remove_replaced(Duration::ZERO).unwrap();
                }
                _ => world.step(&storage),
            }
            assert_same(&storage, &storage.snapshot().unwrap(), &world.model);
        }
        for (id, model) in &world.past {
            assert_same(&storage, &storage.snapshot_at(*id).unwrap(), model);
        }
    }
    assert!(merged > 0, "no files were merged");
}
