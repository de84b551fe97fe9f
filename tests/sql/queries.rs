//! Queries over tables.

use super::fixture::Folder;

/// 10,000 rows: id, group of ten, a text.
fn numbers() -> Folder {
    let f = Folder::new();
    f.run("CREATE TABLE n (id bigint NOT NULL, grp int NOT NULL, txt text)");
    f.run("INSERT INTO n SELECT x, x % 10, 'row ' || x FROM generate_series(0, 9999) AS g(x)");
    f
}

#[test]
fn groups_joins_windows_and_subqueries_work() {
    let f = numbers();
    assert_eq!(
        f.rows("SELECT grp, count(*), sum(id) FROM n WHERE grp < 3 GROUP BY grp ORDER BY grp"),
        ["0|1000|4995000", "1|1000|4996000", "2|1000|4997000"]
    );
    assert_eq!(
        f.rows("SELECT a.id, b.txt FROM n a JOIN n b ON a.id = b.id + 1 WHERE a.id IN (1, 9999) ORDER BY 1"),
        ["1|row 0", "9999|row 9998"]
    );
    assert_eq!(
        f.rows(
            "WITH w AS (SELECT id, row_number() OVER (PARTITION BY grp ORDER BY id DESC) r FROM n) \
             SELECT id FROM w WHERE r = 1 ORDER BY id LIMIT 2"
        ),
        ["9990", "9991"]
    );
    assert_eq!(f.value("SELECT count(*) FROM n WHERE id = (SELECT max(id) FROM n)"), "1");
    assert_eq!(f.rows("VALUES (1, 'a'), (2, 'b')"), ["1|a", "2|b"]);
    assert_eq!(f.rows("SELECT 1; SELECT 2"), ["2"]);
}

#[test]
fn rows_come_in_the_order_they_were_inserted() {
    let f = numbers();
    let ids: Vec<String> = (0..10_000).map(|id| id.to_string()).collect();
    assert_eq!(f.rows("SELECT id FROM n"), ids);
    assert_eq!(f.rows("SELECT id FROM n WHERE id >= 0 LIMIT 3"), ["0", "1", "2"]);
    assert_eq!(f.rows("SELECT id FROM n LIMIT 2 OFFSET 9000"), ["9000", "9001"]);
}

#[test]
fn a_count_reads_no_file() {
    let f = numbers();
    let plan = f.rows("EXPLAIN SELECT count(*) FROM n").join("\n");
    assert!(!plan.contains("ScanExec"), "{plan}");
    assert_eq!(f.value("SELECT count(*) FROM n"), "10000");
}

#[test]
fn only_the_columns_of_the_query_are_read() {
    let f = numbers();
    let plan = f.rows("EXPLAIN SELECT id FROM n WHERE grp = 1").join("\n");
    assert!(plan.contains("ScanExec: table=n, columns=[id, grp]"), "{plan}");
    let plan = f.rows("EXPLAIN SELECT id FROM n LIMIT 5").join("\n");
    assert!(plan.contains("ScanExec: table=n, columns=[id], limit=5"), "{plan}");
}

#[test]
fn a_query_sees_one_snapshot_while_rows_are_inserted() {
    let f = numbers();
    let quern::sql::Answer::Rows(rows) = f.answer("SELECT id FROM n") else { panic!("no rows") };
    f.run("INSERT INTO n VALUES (10000, 0, 'new')");
    f.run("DELETE FROM n WHERE id < 5000");
    let total: usize = rows.map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(total, 10_000);
    assert_eq!(f.value("SELECT count(*) FROM n"), "5001");
}

#[test]
fn an_answer_that_is_dropped_ends_its_query() {
    let f = numbers();
    for _ in 0..50 {
        let quern::sql::Answer::Rows(mut rows) = f.answer("SELECT a.id FROM n a, n b") else { panic!("no rows") };
        assert!(rows.next().unwrap().unwrap().num_rows() > 0);
    }
    assert_eq!(f.value("SELECT count(*) FROM n"), "10000");
}

#[test]
fn the_first_query_of_a_process_is_quick() {
    let f = numbers().reopened();
    let start = std::time::Instant::now();
    assert_eq!(f.rows("SELECT grp, count(*) FROM n GROUP BY grp ORDER BY grp").len(), 10);
    let first = start.elapsed();
    assert!(first.as_millis() < 500, "the first query took {first:?}");
}

#[test]
fn names_in_quotes_keep_their_capitals() {
    let f = Folder::new();
    f.run("CREATE TABLE \"Big\" (\"Id\" int, other int)");
    f.run("INSERT INTO \"Big\" VALUES (1, 2)");
    assert_eq!(f.rows("SELECT \"Id\", OTHER FROM \"Big\""), ["1|2"]);
    assert_eq!(f.error("SELECT * FROM Big"), "no table `big`; did you mean `\"Big\"`?");
    assert_eq!(f.error("SELECT id FROM \"Big\""), "no column `id` in table `Big`; did you mean `\"Id\"`?");
}

#[test]
fn schemas_main_and_public_are_the_same() {
    let f = Folder::new();
    f.run("CREATE TABLE main.t (a int)");
    f.run("INSERT INTO public.t VALUES (1)");
    assert_eq!(f.rows("SELECT t.a FROM t, main.t AS u, public.t AS v WHERE t.a = u.a AND v.a = u.a"), ["1"]);
    assert_eq!(f.error("SELECT * FROM other.t"), "no schema `other`");
}

#[test]
fn values_written_twice_get_names_of_their_own() {
    let f = numbers();
    let (schema, _) = f.batches("SELECT count(*), COUNT(*), 1, 1, min(grp), min(txt) FROM n");
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["count(*)", "count(*)_2", "1", "1_2", "min(grp)", "min(txt)"]);
    assert_eq!(f.value("SELECT count(*), count(*) FROM n"), "10000|10000");
    assert_eq!(f.value("SELECT id, cast(id AS text), id::double FROM n WHERE id = 3"), "3|3|3.0");
    assert_eq!(f.rows("SELECT DISTINCT id % 3 FROM n ORDER BY id % 3 DESC LIMIT 2"), ["2", "1"]);
    f.run("CREATE TABLE named AS SELECT 'a', id + 1 FROM n LIMIT 1");
    assert_eq!(f.rows("DESCRIBE named"), ["'a'|utf8|false", "id + 1|int64|true"]);
    assert_eq!(f.rows("SELECT id, id FROM n ORDER BY id LIMIT 2"), ["0|0", "1|1"]);
    assert_eq!(
        f.rows("SELECT id, id FROM n WHERE id < 1 UNION ALL SELECT grp, grp FROM n WHERE id = 7 ORDER BY 1"),
        ["0|0", "7|7"]
    );
}
