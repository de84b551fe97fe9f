//! Which columns stay on the device when it is full.

use quern::base::{Residency, Sharding};
use quern::device::{Device, KillSwitch};
use quern::storage::AppendTo;
use quern::table::{ColumnCopy, Shards};

use super::fixture::{Folder, Row, ids_of, row};
use crate::cuda::bench::Fake;

/// Tables `names` of 1,000 rows each on a device of so much memory.
fn folder(memory_bytes: u64, names: &[&str]) -> Folder {
    let folder = Folder::with_memory(memory_bytes);
    for (i, name) in (0..).zip(names) {
        folder.create(name, Sharding::Random, 1);
        let rows: Vec<_> = (i * 1000..(i + 1) * 1000).map(row).collect();
        folder.append(name, AppendTo::Shard(0), &rows);
    }
    folder
}

#[test]
fn the_least_recently_used_columns_leave_first() {
    // Each column `id` takes 8,000 bytes, rounded up: two fit.
    let folder = folder(20_000, &["a", "b", "c"]);
    for name in ["a", "b", "a", "c"] {
        ids_of(&folder.view(name, Shards::All));
        assert!(folder.tables.resident_bytes() <= 20_000);
    }
    let loaded = |name| {
        let view = folder.view(name, Shards::All);
        ids_of(&view);
        view.loaded_bytes()
    };
    assert_eq!(loaded("a"), 0);
    assert_eq!(loaded("c"), 0);
    assert_eq!(loaded("b"), 8000);
}

#[test]
fn columns_that_a_view_holds_are_not_evicted() {
    let folder = folder(20_000, &["a", "b", "c"]);
    let (a, b) = (folder.view("a", Shards::All), folder.view("b", Shards::All));
    let (first, _) = (a.column(0).unwrap(), b.column(0).unwrap());
    let c = folder.view("c", Shards::All);
    let held = folder.tables.resident_bytes();
    assert_eq!(
        c.column(0).unwrap_err().to_string(),
        format!(
            "limit `device memory`: {} bytes asked, 20000 bytes allowed; columns of table `c` \
             do not fit beside those in use; name fewer input columns or wait for other runs",
            held + 8000
        )
    );
    assert_eq!(a.column(0).unwrap().values().as_ptr(), first.values().as_ptr());
    drop(b);
    assert_eq!(ids_of(&c), (2000..3000).collect::<Vec<_>>());
    assert_eq!(ids_of(&a), (0..1000).collect::<Vec<_>>());
    assert_eq!(a.loaded_bytes(), 8000);
}

#[test]
fn memory_of_stale_rows_returns_when_the_last_view_of_them_goes() {
    let folder = folder(1 << 20, &["a"]);
    let old = folder.view("a", Shards::All);
    ids_of(&old);
    let one = folder.tables.resident_bytes();
    let mut write = folder.storage.begin();
    write.delete_rows("a", &[0]).unwrap();
    write.commit().unwrap();
    ids_of(&folder.view("a", Shards::All));
    assert!(folder.tables.resident_bytes() > one);
    drop(old);
    ids_of(&folder.view("a", Shards::All));
    assert!(folder.tables.resident_bytes() <= one);
}

#[test]
fn text_counts_with_the_bytes_it_has() {
    let folder = Folder::with_memory(200_000);
    folder.create("a", Sharding::Random, 1);
    folder.create("b", Sharding::Random, 1);
    let rows = |bytes: usize| [Row { text: Some("x".repeat(bytes)), ..row(1) }];
    folder.append("a", AppendTo::Shard(0), &rows(100_000));
    folder.append("b", AppendTo::Shard(0), &rows(150_000));
    let (a, b) = (folder.view("a", Shards::All), folder.view("b", Shards::All));
    a.column(2).unwrap();
    let told = b.column(2).unwrap_err().to_string();
    assert!(told.starts_with("limit `device memory`: ") && told.contains(" asked, 200000 bytes allowed"), "{told}");
    drop(a);
    assert_eq!(b.column(2).unwrap().row_bytes(0).unwrap().len(), 150_000);
    assert!(folder.tables.resident_bytes() < 200_000 + 65_536, "{}", folder.tables.resident_bytes());
}

impl Folder {
    fn set(&self, table: &str, residency: Residency) -> Result<(), String> {
        let table = self.storage.snapshot().unwrap().table(table).unwrap();
        self.tables.set_residency(&table, residency).map_err(|e| e.to_string())
    }

    /// Device memory that columns of a table hold.
    fn held(&self, table: &str) -> u64 {
        let id = self.storage.snapshot().unwrap().table(table).unwrap().id;
        self.tables.held().get(&id).map_or(0, |held| held.device_bytes)
    }
}

#[test]
fn pinned_columns_stay_and_who_finds_no_room_beside_them_is_told_how_to_unpin() {
    // A row takes 8 + 2 + 24 + 24 + 4 bytes as far as that is known before.
    let folder = folder(64_000, &["a", "b"]);
    folder.set("a", Residency::Pinned).unwrap();
    assert_eq!(
        folder.set("b", Residency::Pinned).unwrap_err(),
        "limit `device memory`: 124000 bytes asked, 64000 bytes allowed; table `b` does not fit on cpu \
         beside the pinned table `a`; unpin one with ALTER TABLE a SET RESIDENCY device"
    );
    super::fixture::rows_of(&folder.view("a", Shards::All));
    let pinned = folder.held("a");
    assert!(pinned > 40_000, "{pinned}");
    let told = (0..5).find_map(|column| folder.view("b", Shards::All).column(column).err()).unwrap().to_string();
    let hint = "64000 bytes allowed; columns of table `b` do not fit beside those in use and the pinned table `a`; \
                unpin with ALTER TABLE a SET RESIDENCY device, name fewer input columns or wait for other runs";
    assert!(told.starts_with("limit `device memory`: ") && told.ends_with(hint), "{told}");
    assert_eq!(folder.held("a"), pinned);
    folder.set("a", Residency::Device).unwrap();
    super::fixture::rows_of(&folder.view("b", Shards::All));
    assert_eq!(folder.held("a"), 0);

    let small = self::folder(50_000, &["a"]);
    assert_eq!(
        small.set("a", Residency::Pinned).unwrap_err(),
        "limit `device memory`: 62000 bytes asked, 50000 bytes allowed; \
         table `a` is larger than what cpu may hold and cannot be pinned there"
    );
}

#[test]
fn what_does_not_fit_anyway_makes_nothing_leave() {
    let folder = folder(20_000, &["a", "b"]);
    ids_of(&folder.view("a", Shards::All));
    let a = folder.held("a");
    let b = folder.view("b", Shards::All);
    let held = b.column(0).unwrap();
    let rows: Vec<_> = (0..3000).map(row).collect();
    folder.create("large", Sharding::Random, 1);
    folder.append("large", AppendTo::Shard(0), &rows);
    assert!(folder.view("large", Shards::All).column(0).is_err());
    assert_eq!((folder.held("a"), held.rows()), (a, 1000));
}

#[test]
fn columns_of_a_table_on_disk_leave_with_the_last_view_and_those_of_a_dropped_one_too() {
    let folder = folder(1 << 20, &["a", "b"]);
    folder.set("a", Residency::Disk).unwrap();
    let (first, second) = (folder.view("a", Shards::All), folder.view("a", Shards::All));
    assert_eq!((ids_of(&first).len(), ids_of(&second).len()), (1000, 1000));
    assert_eq!((first.loaded_bytes(), second.loaded_bytes()), (8000, 0));
    drop(first);
    assert!(folder.held("a") >= 8000);
    drop(second);
    assert_eq!(folder.held("a"), 0);
    ids_of(&folder.view("b", Shards::All));
    assert!(folder.held("b") >= 8000);
    // It holds for what is there already.
    folder.set("b", Residency::Disk).unwrap();
    assert_eq!(folder.held("b"), 0);
    folder.set("b", Residency::Pinned).unwrap();
    ids_of(&folder.view("b", Shards::All));
    let snapshot = folder.storage.snapshot().unwrap();
    folder.tables.forget(snapshot.table("b").unwrap().id);
    assert_eq!(folder.tables.resident_bytes(), 0);
}

#[test]
fn a_pinned_table_that_is_replaced_in_any_way_leaves_with_the_next_view() {
    let folder = folder(1 << 20, &["a", "b"]);
    folder.set("a", Residency::Pinned).unwrap();
    ids_of(&folder.view("a", Shards::All));
    let mut write = folder.storage.begin();
    write.drop_table("a").unwrap();
    write.create_table("a", &super::fixture::schema(), Sharding::Random, 1).unwrap();
    write.commit().unwrap();
    assert!(folder.tables.resident_bytes() >= 8000);
    ids_of(&folder.view("b", Shards::All));
    assert_eq!(folder.tables.resident_bytes(), folder.held("b"));
}

#[test]
fn of_a_pinned_table_stays_what_the_next_view_finds_as_it_was_read_last() {
    let folder = folder(70_000, &["b"]);
    folder.create("a", Sharding::Random, 2);
    for shard in [0, 1] {
        let rows: Vec<_> = (i64::from(shard) * 500..i64::from(shard + 1) * 500).map(row).collect();
        folder.append("a", AppendTo::Shard(shard), &rows);
    }
    folder.set("a", Residency::Pinned).unwrap();
    let whole = super::fixture::rows_of(&folder.view("a", Shards::All)).len();
    let held = folder.held("a");
    assert!(whole == 1000 && held > 40_000, "{whole} rows, {held} bytes");
    folder.append("a", AppendTo::Shard(0), &[row(1000)]);
    // The whole of before the change is found by nobody; then the shards were read last.
    let of = |shards| super::fixture::rows_of(&folder.view("a", shards)).len();
    assert_eq!((of(Shards::One(0)), of(Shards::One(1))), (501, 500));
    assert_eq!((of(Shards::One(0)), of(Shards::One(1)), of(Shards::All)), (501, 500, 1001));
    assert!((0..5).any(|column| folder.view("b", Shards::All).column(column).is_err()));
    let again = folder.view("a", Shards::All);
    assert_eq!((super::fixture::rows_of(&again).len(), again.loaded_bytes()), (1001, 0));
}

/// All columns of a view.
fn copies(view: &quern::table::TableView) -> Vec<ColumnCopy> {
    let copy = |index| view.column(index).unwrap().read(0, view.rows(), &KillSwitch::new()).unwrap();
    (0..5).map(copy).collect()
}

#[test]
fn a_gpu_gets_from_the_machines_memory_what_storage_has_and_of_added_rows_only_those() {
    Fake::PLAIN.run(|| {
        let folders = [Folder::on(Device::cuda(0, 1).unwrap()), Folder::new()];
        let rows = |from: i64| (from..from + 10).map(row).collect::<Vec<_>>();
        for folder in &folders {
            folder.create("a", Sharding::Random, 2);
            folder.append("a", AppendTo::Shard(0), &rows(0));
            folder.append("a", AppendTo::Shard(1), &rows(10));
        }
        let [gpu, cpu] = &folders;
        gpu.set("a", Residency::Host).unwrap();
        let views = |shards| (gpu.view("a", shards), cpu.view("a", shards));
        let (first, on_cpu) = views(Shards::One(0));
        assert_eq!(copies(&first), copies(&on_cpu));
        // Ids, flags with their validity, and pixels; text and files stay on the host.
        assert_eq!(first.loaded_bytes(), 10 * (8 + 2 + 4));
        folders.iter().for_each(|folder| folder.append("a", AppendTo::Shard(0), &rows(20)));
        let (second, on_cpu) = views(Shards::One(0));
        assert_eq!((second.rows(), copies(&second)), (20, copies(&on_cpu)));
        assert_eq!(second.loaded_bytes(), 10 * (8 + 2 + 4));
        assert_eq!(copies(&first)[0].rows, 10);
        for shards in [Shards::All, Shards::InOrder, Shards::One(1)] {
            let (view, on_cpu) = views(shards);
            assert_eq!(copies(&view), copies(&on_cpu), "{shards:?}");
            assert_eq!(view.loaded_bytes(), view.rows() * (8 + 2 + 4));
        }
        drop((first, second));
        assert_eq!(gpu.held("a"), 0);
    });
}
