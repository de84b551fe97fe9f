//! Which shard a row is in: fixed by the format, the same by every way.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use quern::base::Sharding;
use quern::storage::{AppendTo, ScanOptions, shards_of_rows};

use super::sample::{all, append, counted, every_type, numbers, open, read, rows, schema};

fn shard(n: u32) -> ScanOptions {
    ScanOptions { shard: Some(n), ..ScanOptions::default() }
}

#[test]
fn the_hash_of_keys_never_changes() {
    let schema = schema(&[("a", "int64?"), ("b", "utf8?")]);
    let keys = Sharding::Key(vec!["a".into(), "b".into()]);
    let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None, Some(1 << 40), None]));
    let b: ArrayRef = Arc::new(StringArray::from(vec![Some(""), Some("x"), None, Some("é"), Some("long text"), None]));
    let batch = RecordBatch::try_new(schema.to_arrow(), vec![a, b]).unwrap();
    let expected: Vec<u32> = (0..6).map(|i| reference(&batch, i, 1000)).collect();
    assert_eq!(shards_of_rows(&schema, &keys, 1000, &batch).unwrap(), expected);
    assert_eq!(expected, PINNED);
}

/// Values of format 1.
const PINNED: [u32; 6] = [48, 579, 45, 799, 981, 677];

/// The documented hash, written down a second time.
fn reference(batch: &RecordBatch, row: usize, shards: u64) -> u32 {
    use arrow::array::{Array, AsArray};
    let mut bytes = Vec::new();
    let a = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
    let b = batch.column(1).as_string::<i32>();
    bytes.push(u8::from(a.is_valid(row)));
    if a.is_valid(row) {
        bytes.extend(a.value(row).to_le_bytes());
    }
    bytes.push(u8::from(b.is_valid(row)));
    if b.is_valid(row) {
        bytes.extend((b.value(row).len() as u64).to_le_bytes());
        bytes.extend(b.value(row).as_bytes());
    }
    let mut hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash ^ (hash >> 33)) % shards) as u32
}

#[test]
fn every_type_of_key_can_be_hashed_and_integers_of_any_width_alike() {
    let schema = every_type(false);
    for column in schema.columns() {
        let keys = Sharding::Key(vec![column.name.clone()]);
        let batch = rows(&schema, 50, 9);
        if !column.column_type.to_string().contains("tensor") && column.column_type.to_string() != "float16" {
            assert_eq!(shards_of_rows(&schema, &keys, 7, &batch).unwrap().len(), 50);
        }
    }
    let narrow = super::sample::schema(&[("k", "uint8")]);
    let wide = super::sample::schema(&[("k", "int64")]);
    let eight: ArrayRef = Arc::new(arrow::array::UInt8Array::from(vec![0, 7, 255]));
    let sixty_four: ArrayRef = Arc::new(Int64Array::from(vec![0, 7, 255]));
    let keys = Sharding::Key(vec!["k".into()]);
    let of = |schema: &quern::base::Schema, array| {
        shards_of_rows(schema, &keys, 64, &RecordBatch::try_new(schema.to_arrow(), vec![array]).unwrap()).unwrap()
    };
    assert_eq!(of(&narrow, eight), of(&wide, sixty_four));
}

#[test]
fn shards_of_a_random_table_part_its_rows_evenly_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 4).unwrap();
    write.append("t", AppendTo::Deal, (0..40).map(|i| Ok(counted(&schema, i * 1001..(i + 1) * 1001)))).unwrap();
    write.commit().unwrap();
    append(&storage, "t", AppendTo::Deal, &counted(&schema, 40_040..40_051));
    let parts = || -> Vec<Vec<i64>> { (0..4).map(|n| numbers(&read(&storage, "t", &shard(n)), 0)).collect() };
    let before = parts();
    let mut together: Vec<i64> = before.concat();
    together.sort_unstable();
    assert_eq!(together, (0..40_051).collect::<Vec<i64>>());
    for part in &before {
        assert!((10_005..=10_020).contains(&part.len()), "{}", part.len());
    }
    // Rows that move from the catalog to files stay in their shards.
    storage.flush_inlined("t").unwrap();
    assert_eq!(parts(), before);
    append(&storage, "t", AppendTo::Shard(2), &counted(&schema, 50_000..50_003));
    assert_eq!(numbers(&read(&storage, "t", &shard(2)), 0)[before[2].len()..], [50_000, 50_001, 50_002]);
    assert_eq!(parts()[1], before[1]);
}

#[test]
fn single_rows_are_dealt_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64"), ("x", "list(int32)?")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 3).unwrap();
    write.append("t", AppendTo::Deal, (0..9).map(|i| Ok(rows(&schema, 1, i)))).unwrap();
    write.commit().unwrap();
    for n in 0..3 {
        assert_eq!(read(&storage, "t", &shard(n)).num_rows(), 3);
    }
}

#[test]
fn keys_say_the_shard_in_files_and_in_the_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("x", "utf8"), ("id", "int64")]);
    let sharding = Sharding::Key(vec!["id".into()]);
    let storage = open(folder.path());
    let batch = rows(&schema, 30_000, 5);
    let mut write = storage.begin();
    write.create_table("t", &schema, sharding.clone(), 5).unwrap();
    write.append("t", AppendTo::Deal, [Ok(batch.clone())]).unwrap();
    write.commit().unwrap();
    let few = rows(&schema, 40, 6);
    append(&storage, "t", AppendTo::Deal, &few);
    assert_eq!(storage.snapshot().unwrap().table("t").unwrap().inlined_rows, 40);
    let check = || {
        let mut total = 0;
        for n in 0..5 {
            let part = read(&storage, "t", &shard(n));
            assert!(shards_of_rows(&schema, &sharding, 5, &part).unwrap().iter().all(|home| *home == n));
            // The key decides also where it is not among the columns read.
            let names = read(&storage, "t", &ScanOptions { columns: Some(vec![0]), ..shard(n) });
            assert_eq!(names, part.project(&[0]).unwrap());
            total += part.num_rows();
        }
        assert_eq!(total, 30_040);
    };
    check();
    storage.flush_inlined("t").unwrap();
    check();
    // A row given for a shard that its key does not belong to.
    let home = shards_of_rows(&schema, &sharding, 5, &few.slice(0, 1)).unwrap()[0];
    let mut write = storage.begin();
    assert!(write.append("t", AppendTo::Shard(home), [Ok(few.slice(0, 1))]).is_ok());
    let error = write.append("t", AppendTo::Shard((home + 1) % 5), [Ok(few.slice(0, 1))]).unwrap_err().to_string();
    assert!(error.ends_with(&format!("has a key that belongs to shard {home}")), "{error}");
}

#[test]
fn every_shard_of_a_replicated_table_is_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Replicated, 4).unwrap();
    write.append("t", AppendTo::Shard(3), [Ok(counted(&schema, 0..50))]).unwrap();
    write.append("t", AppendTo::Deal, [Ok(counted(&schema, 50..60))]).unwrap();
    write.commit().unwrap();
    for n in 0..3 {
        assert_eq!(read(&storage, "t", &shard(n)), all(&storage, "t"));
    }
    assert_eq!(all(&storage, "t").num_rows(), 60);
}

#[test]
fn tables_that_cannot_be_sharded_so_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64"), ("t", "tensor(uint8,[4])")]);
    let storage = open(folder.path());
    let refused =
        |sharding, shards| storage.begin().create_table("t", &schema, sharding, shards).unwrap_err().to_string();
    assert!(refused(Sharding::Key(vec!["t".into()]), 4).contains("cannot be a shard column"));
    assert!(refused(Sharding::Key(vec!["idd".into()]), 4).contains("did you mean `id`?"));
    assert!(refused(Sharding::Key(vec![]), 4).contains("needs at least one column"));
    assert_eq!(refused(Sharding::Random, 0), "table `t`: 0 shards asked, 1 to 65536 allowed");
}
