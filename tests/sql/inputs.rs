//! Which rows each instance of a distributed proc sees of inputs that are named
//! in SQL. The procs are Rust here.

use super::fixture::Folder;

/// A folder with procs, and tables of numbers n: `seven` by key in 7 shards,
/// `dealt` in 3, `all` replicated.
fn tables() -> Folder {
    let f = Folder::new().with_procs().with_pairs();
    f.run("CREATE TABLE seven (n bigint, txt text) SHARD BY (n) SHARDS 7");
    f.run("INSERT INTO seven SELECT x, 'x' || x FROM generate_series(1, 50) AS g(x)");
    f.run("CREATE TABLE dealt (n bigint) SHARDS 3");
    f.run("INSERT INTO dealt SELECT x FROM generate_series(101, 130) AS g(x)");
    f.run("CREATE TABLE every (n bigint) REPLICATED");
    f.run("INSERT INTO every VALUES (1000)");
    f
}

/// Executes a proc over these inputs; what each instance made.
fn made(f: &Folder, proc: &str, inputs: &str) -> Vec<Vec<i64>> {
    f.run(&format!(
        "EXECUTE FUNCTION {proc} (INPUT_TABLE_NAMES => INPUT_TABLES({inputs}), \
         OUTPUT_TABLE_NAMES => OUTPUT_TABLES('made'))"
    ));
    let made = f.shards("made");
    f.run("DROP TABLE made");
    assert_eq!(f.rows("SELECT table_name FROM quern.tables WHERE table_name LIKE 'quern_input%'"), [""; 0]);
    made
}

/// Of each shard, the rows that pass, changed.
fn each(shards: &[Vec<i64>], keep: impl Fn(i64) -> bool, change: impl Fn(i64) -> i64) -> Vec<Vec<i64>> {
    shards.iter().map(|rows| rows.iter().copied().filter(|n| keep(*n)).map(&change).collect()).collect()
}

/// Both, shard by shard, in order.
fn beside(left: &[Vec<i64>], right: &[Vec<i64>]) -> Vec<Vec<i64>> {
    assert_eq!(left.len(), right.len());
    let both = left.iter().zip(right).map(|(left, right)| {
        let mut rows = [left.as_slice(), right].concat();
        rows.sort_unstable();
        rows
    });
    both.collect()
}

#[test]
fn every_row_that_is_filtered_or_projected_stays_in_its_shard() {
    let f = tables();
    for table in ["seven", "dealt"] {
        let whole = f.shards(table);
        let twice = |n: i64| n * 2;
        assert!(whole.iter().filter(|rows| !rows.is_empty()).count() > 1, "{whole:?}");
        assert_eq!(made(&f, "double", table), each(&whole, |_| true, twice));
        assert_eq!(made(&f, "double", &format!("SELECT * FROM {table}")), each(&whole, |_| true, twice));
        assert_eq!(made(&f, "double", &format!("SELECT n FROM {table} WHERE n % 3 = 1")), {
            each(&whole, |n| n % 3 == 1, twice)
        });
        assert_eq!(made(&f, "double", &format!("SELECT n + 7 AS n FROM {table} t WHERE n > 5 AND n < 120")), {
            each(&whole, |n| n > 5 && n < 120, |n| (n + 7) * 2)
        });
        assert_eq!(made(&f, "double", &format!("SELECT n FROM {table} WHERE false")), vec![vec![0; 0]; whole.len()]);
    }
    // By another column than the one that the rows are sharded by.
    let by_text = each(&f.shards("seven"), |n| (40..50).contains(&n) || n == 4, |n| n * 2);
    assert_eq!(made(&f, "double", "SELECT n FROM seven WHERE txt LIKE 'x4%'"), by_text);
}

#[test]
fn a_further_input_with_other_shards_is_dealt_to_the_instances_of_the_first() {
    let f = tables();
    let seven = f.shards("seven");
    let added = each(&made(&f, "both", "seven, dealt"), |n| n > 100, |n| n);
    assert_eq!(beside(&seven, &added), made(&f, "both", "seven, dealt"));
    assert_eq!(added.len(), 7);
    let mut all = added.concat();
    all.sort_unstable();
    assert_eq!(all, (101..=130).collect::<Vec<_>>(), "each row is seen once");
    assert!(added.iter().filter(|rows| !rows.is_empty()).count() > 1, "{added:?}");
    // So are those of a filter.
    let some = each(&made(&f, "both", "seven, (SELECT n FROM dealt WHERE n > 120)"), |n| n > 100, |n| n).concat();
    assert_eq!((some.len(), some.iter().sum::<i64>()), (10, (121..=130).sum()));
    // A replicated one is whole in all.
    assert_eq!(made(&f, "both", "seven, every"), beside(&seven, &vec![vec![1000]; 7]));
    assert_eq!(
        f.rows("SELECT DISTINCT inputs FROM quern.runs WHERE inputs LIKE '%dealt%' AND inputs NOT LIKE '%query%'"),
        ["[{\"table\":\"seven\",\"columns\":null},{\"table\":\"dealt\",\"columns\":null}]"]
    );
}

#[test]
fn rows_of_tables_with_one_key_meet_also_when_their_shards_differ() {
    let f = tables();
    f.run("CREATE TABLE five (id bigint, n bigint) SHARD BY (id) SHARDS 5");
    f.run("INSERT INTO five SELECT x, x + 500 FROM generate_series(1, 50) AS g(x)");
    let seven = f.shards("seven");
    let expected = beside(&seven, &each(&seven, |_| true, |n| n + 500));
    assert_eq!(made(&f, "both", "seven, five"), expected);
    // Also when the proc does not see the key, and when rows are filtered.
    assert_eq!(made(&f, "both", "seven, (SELECT n FROM five)"), expected);
}
