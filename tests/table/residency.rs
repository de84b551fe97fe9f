//! Which columns stay on the device when it is full.

use quern::base::Sharding;
use quern::storage::AppendTo;
use quern::table::Shards;

use super::fixture::{Folder, Row, ids_of, row};

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
