//! Columns on the device against the same rows in storage.

use quern::base::{ErrorCode, Sharding};
use quern::device::KillSwitch;
use quern::storage::AppendTo;
use quern::table::Shards;

use super::fixture::{Folder, Row, ids_of, row, rows_of, scanned};

fn rows(ids: std::ops::Range<i64>) -> Vec<Row> {
    ids.map(row).collect()
}

#[test]
fn each_shard_shows_the_rows_that_storage_has_there() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 3);
    folder.append("t", AppendTo::Deal, &rows(0..50));
    folder.append("t", AppendTo::Shard(1), &rows(50..90));
    folder.append("t", AppendTo::Deal, &rows(90..101));
    let mut all = Vec::new();
    for shard in 0..3 {
        let seen = rows_of(&folder.view("t", Shards::One(shard)));
        assert_eq!(seen, scanned(&folder, "t", Some(shard)));
        all.extend(seen);
    }
    assert_eq!(rows_of(&folder.view("t", Shards::All)), all);
    all.sort_by_key(|row| row.id);
    assert_eq!(all, rows(0..101));
}

#[test]
fn a_replicated_table_shows_all_rows_in_the_order_they_were_added() {
    let folder = Folder::new();
    folder.create("models", Sharding::Replicated, 7);
    folder.append("models", AppendTo::Deal, &rows(0..4));
    folder.append("models", AppendTo::Shard(0), &rows(4..9));
    for shards in [Shards::One(0), Shards::All] {
        assert_eq!(rows_of(&folder.view("models", shards)), rows(0..9));
    }
}

#[test]
fn later_rows_are_appended_in_place_and_earlier_views_do_not_change() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    folder.append("t", AppendTo::Shard(0), &rows(1..3));
    let before = folder.view("t", Shards::All);
    let old = before.column(0).unwrap();
    let loaded_bytes = before.loaded_bytes();
    folder.append("t", AppendTo::Shard(0), &rows(3..6));

    let after = folder.view("t", Shards::All);
    let new = after.column(0).unwrap();
    // There was room behind the two rows, so that the memory is the same.
    assert_eq!(new.values().as_ptr(), old.values().as_ptr());
    assert_eq!((loaded_bytes, after.loaded_bytes()), (16, 24));
    assert_eq!((ids_of(&before), ids_of(&after)), (vec![1, 2], vec![1, 2, 3, 4, 5]));
    assert_eq!(rows_of(&before), rows(1..3));
    assert_eq!(rows_of(&after), rows(1..6));
    assert_eq!(rows_of(&before), rows(1..3));
    let again = folder.view("t", Shards::All);
    again.column(0).unwrap();
    assert_eq!(again.loaded_bytes(), 0);
}

#[test]
fn nulls_that_come_later_leave_earlier_rows_present() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    let present = |id| Row { flag: Some(true), ..row(id) };
    folder.append("t", AppendTo::Shard(0), &[present(0), present(1)]);
    let before = folder.view("t", Shards::All);
    assert!(before.column(1).unwrap().validity_buffer().is_none());
    folder.append("t", AppendTo::Shard(0), &[Row { flag: None, ..row(2) }, present(3)]);
    let column = folder.view("t", Shards::All).column(1).unwrap();
    assert_eq!(column.validity_buffer().unwrap().as_slice(), [1, 1, 0, 1]);
    assert_eq!((column.null_count(), column.values()), (1, &[1, 1, 0, 1][..]));
    assert!(before.column(1).unwrap().validity_buffer().is_none());
}

#[test]
fn deleted_rows_leave_later_views_and_stay_in_earlier_ones() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 2);
    folder.append("t", AppendTo::Shard(0), &rows(0..6));
    folder.append("t", AppendTo::Shard(1), &rows(6..9));
    let before = folder.view("t", Shards::All);
    assert_eq!(ids_of(&before), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let mut write = folder.storage.begin();
    write.delete_rows("t", &[1, 7]).unwrap();
    write.commit().unwrap();
    assert_eq!(ids_of(&folder.view("t", Shards::One(0))), [0, 2, 3, 4, 5]);
    assert_eq!(ids_of(&folder.view("t", Shards::All)), [0, 2, 3, 4, 5, 6, 8]);
    assert_eq!(rows_of(&before), rows(0..9));
}

#[test]
fn shards_already_on_the_device_are_gathered_there() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 2);
    folder.append("t", AppendTo::Shard(0), &rows(0..3));
    folder.append("t", AppendTo::Shard(1), &rows(3..10));
    let (first, second) = (folder.view("t", Shards::One(0)), folder.view("t", Shards::One(1)));
    let parts = [rows_of(&first), rows_of(&second)].concat();
    let all = folder.view("t", Shards::All);
    assert_eq!(rows_of(&all), parts);
    assert_eq!(all.loaded_bytes(), 0);
    let sizes = |view: &quern::table::TableView| (0..5).map(|i| view.column(i).unwrap().size_bytes()).sum::<u64>();
    assert_eq!(all.gathered_bytes(), sizes(&first) + sizes(&second));
}

#[test]
fn rows_of_several_shards_can_be_seen_in_the_order_they_were_added() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 3);
    for (ten, shard) in [(0, 2), (1, 0), (2, 1), (3, 0)] {
        folder.append("t", AppendTo::Shard(shard), &rows(ten * 10..ten * 10 + 10));
        let view = folder.view("t", Shards::InOrder);
        assert_eq!(ids_of(&view), (0..ten * 10 + 10).collect::<Vec<_>>());
        // Only the new rows had to be loaded.
        assert_eq!(view.loaded_bytes(), 80);
    }
    let all = [10..20, 30..40, 20..30, 0..10].map(rows).concat();
    assert_eq!(rows_of(&folder.view("t", Shards::All)), all);
}

#[test]
fn any_range_of_rows_reads_back_in_arrow_layout() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    folder.append("t", AppendTo::Shard(0), &rows(1..12));
    let view = folder.view("t", Shards::All);
    let texts = view.column(2).unwrap().read(3, 3, &KillSwitch::new()).unwrap();
    assert_eq!(texts.values, b"row 4row 6");
    assert_eq!(texts.validity, Some(vec![0b101]));
    let ends: Vec<u8> = [0i64, 5, 5, 10].iter().flat_map(|end| end.to_le_bytes()).collect();
    assert_eq!(texts.offsets, Some(ends));
    let pixels = view.column(4).unwrap().read(9, 2, &KillSwitch::new()).unwrap();
    assert_eq!((pixels.values, pixels.validity, pixels.offsets), (vec![10, 11, 12, 13, 11, 12, 13, 14], None, None));
    let present = view.column(1).unwrap().read(0, 2, &KillSwitch::new()).unwrap();
    assert_eq!((present.values, present.validity), (vec![0, 1], None));
    let outside = view.column(0).unwrap().read(10, 2, &KillSwitch::new()).unwrap_err();
    assert_eq!(outside.to_string(), "rows 10 to 10 + 2 lie outside a column of 11 rows");
    assert!(view.column(0).unwrap().read(u64::MAX, 2, &KillSwitch::new()).is_err());
}

#[test]
fn a_view_shows_the_chosen_columns_in_the_chosen_order() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    folder.append("t", AppendTo::Shard(0), &rows(1..3));
    let view = folder.view("t", Shards::All).project(&[2, 0]).unwrap();
    let names: Vec<&str> = view.schema().columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["text", "id"]);
    assert_eq!(view.column(0).unwrap().values(), b"row 1row 2");
    assert_eq!(view.column(2).unwrap_err().code(), ErrorCode::OutOfRange);
}

#[test]
fn a_shard_that_is_not_there_is_refused() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 2);
    let snapshot = folder.storage.snapshot().unwrap();
    let table = snapshot.table("t").unwrap();
    let error = folder.tables.view(&snapshot, &table, Shards::One(2)).err().unwrap();
    assert_eq!(error.to_string(), "table `t` has 2 shards, none is number 2");
    assert!(ids_of(&folder.view("t", Shards::One(1))).is_empty());
}

#[test]
fn a_kill_ends_a_load_and_the_next_one_is_whole() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    folder.append("t", AppendTo::Shard(0), &rows(0..5));
    let kill = KillSwitch::new();
    kill.kill(None);
    let view = folder.view("t", Shards::All).with_kill(kill);
    assert_eq!(view.column(0).unwrap_err().code(), ErrorCode::Cancelled);
    assert_eq!(rows_of(&folder.view("t", Shards::All)), rows(0..5));
}

#[test]
fn any_sequence_of_changes_shows_the_same_rows_as_storage() {
    let mut random = 7u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for shards in [1, 2, 5] {
        let folder = Folder::new();
        folder.create("t", Sharding::Key(vec!["id".into()]), shards);
        let mut id = 0;
        let mut kept = Vec::new();
        for _ in 0..12 {
            match next(5) {
                0 => {
                    let all = scanned(&folder, "t", None).len() as u64;
                    if all > 0 {
                        let mut write = folder.storage.begin();
                        let doomed = row_ids(&folder, next(all));
                        write.delete_rows("t", &[doomed]).unwrap();
                        write.commit().unwrap();
                    }
                }
                _ => {
                    let more = i64::try_from(next(40)).unwrap();
                    folder.append("t", AppendTo::Deal, &rows(id..id + more));
                    id += more;
                }
            }
            for shard in 0..shards {
                let view = folder.view("t", Shards::One(shard));
                let expected = scanned(&folder, "t", Some(shard));
                assert_eq!(rows_of(&view), expected);
                kept.push((view, expected));
            }
        }
        for (view, expected) in &kept {
            assert_eq!(rows_of(view), *expected);
        }
    }
}

/// The row id of the `n`th row in the table.
fn row_ids(folder: &Folder, n: u64) -> u64 {
    use arrow::array::AsArray;
    let snapshot = folder.storage.snapshot().unwrap();
    let table = snapshot.table("t").unwrap();
    let options = quern::storage::ScanOptions { row_ids: true, ..Default::default() };
    let scan = folder.storage.scan_with(&snapshot, &table, &options).unwrap();
    let ids = scan.flat_map(|batch| {
        let batch = batch.unwrap();
        batch.columns().last().unwrap().as_primitive::<arrow::datatypes::UInt64Type>().values().to_vec()
    });
    ids.collect::<Vec<_>>()[usize::try_from(n).unwrap()]
}

#[test]
fn threads_that_load_while_rows_are_added_each_see_their_snapshot() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let view = folder.view("t", Shards::One(0));
                    let seen = rows_of(&view);
                    // Shard 0 gets the ids from 0 up, so that every snapshot holds a beginning.
                    assert_eq!(seen, rows(0..i64::try_from(seen.len()).unwrap()));
                    assert_eq!(seen.len() as u64, view.rows());
                }
            });
        }
        for ten in 0..20 {
            folder.append("t", AppendTo::Shard(0), &rows(ten * 10..ten * 10 + 10));
        }
    });
    assert_eq!(rows_of(&folder.view("t", Shards::One(0))), rows(0..200));
}

#[test]
fn an_older_snapshot_that_is_asked_for_later_shows_its_own_rows_and_leaves_others_theirs() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 2);
    for (shard, ids) in [(0, 1..3), (1, 3..5)] {
        folder.append("t", AppendTo::Shard(shard), &rows(ids));
    }
    let before = folder.storage.snapshot().unwrap().id;
    folder.append("t", AppendTo::Shard(0), &rows(5..9));
    for shards in [Shards::One(0), Shards::All, Shards::InOrder] {
        let older = folder.storage.snapshot_at(before).unwrap();
        let view = folder.tables.view(&older, &older.table("t").unwrap(), shards).unwrap();
        let seen = ids_of(&view);
        let now = ids_of(&folder.view("t", shards));
        assert_eq!((seen.len(), now.len()), if shards == Shards::One(0) { (2, 6) } else { (4, 8) }, "{shards:?}");
    }
}

#[test]
fn a_kill_ends_a_copy_of_rows() {
    let folder = Folder::new();
    folder.create("t", Sharding::Random, 1);
    folder.append("t", AppendTo::Shard(0), &rows(0..10));
    let view = folder.view("t", Shards::All);
    let thrown = KillSwitch::new();
    thrown.kill("the test".to_owned());
    for column in 0..5 {
        let told = view.column(column).unwrap().read(0, 10, &thrown).unwrap_err().to_string();
        assert_eq!(told, "the run was killed by the test");
    }
}
