//! Numbers that do not fit fail, with the operation in the text; nothing wraps.

use super::bad_statements::check;
use super::fixture::Folder;

/// A table whose numbers are as large as their types allow, and one of ones.
fn numbers() -> Folder {
    let f = Folder::new();
    f.run("CREATE TABLE n (id int, i8 tinyint, i32 int, i64 bigint, u64 uint64, f32 float, f64 double)");
    f.run("INSERT INTO n VALUES (1, 127, 2147483647, 9223372036854775807, 18446744073709551615, 1.5, 1e300)");
    f.run("INSERT INTO n VALUES (2, 1, 1, 1, 1, 1, 1)");
    f
}

#[test]
fn integer_overflow_names_the_operation() {
    let f = numbers();
    let mut wrong = Vec::new();
    for (statement, message) in [
        (
            "SELECT 9223372036854775807 + 1",
            "integer overflow in 9223372036854775807 + 1; cast to a wider type, such as decimal(38,0)",
        ),
        (
            "SELECT i64 + 1 FROM n",
            "integer overflow in 9223372036854775807 + 1; cast to a wider type, such as decimal(38,0)",
        ),
        (
            "SELECT id FROM n WHERE i64 * 2 > 0",
            "integer overflow in 9223372036854775807 * 2; cast to a wider type, such as decimal(38,0)",
        ),
        ("SELECT i32 + i32 FROM n", "integer overflow in 2147483647 + 2147483647; cast to a wider type, such as int64"),
        (
            "SELECT -9223372036854775807 - i64 FROM n",
            "integer overflow in -9223372036854775807 - 9223372036854775807; cast to a wider type, such as decimal(38,0)",
        ),
        (
            "SELECT -(-i64 - 1) FROM n WHERE id = 1",
            "integer overflow in - -9223372036854775808; cast to a wider type, such as decimal(38,0)",
        ),
        (
            "SELECT (-i64 - 1) / -1 FROM n WHERE id = 1",
            "integer overflow in -9223372036854775808 / -1; cast to a wider type, such as decimal(38,0)",
        ),
        ("SELECT sum(i64) FROM n", "integer overflow in sum(n.i64); cast to a wider type, such as decimal(38,0)"),
        ("SELECT sum(u64) FROM n", "integer overflow in sum(n.u64); cast to a wider type, such as decimal(38,0)"),
        (
            "SELECT 1, sum(i64) FROM n GROUP BY f32 > 0",
            "integer overflow in sum(n.i64); cast to a wider type, such as decimal(38,0)",
        ),
        (
            "SELECT sum(DISTINCT i64) OVER (ORDER BY id ROWS 1 PRECEDING) FROM n",
            "integer overflow in sum(DISTINCT n.i64) ORDER BY [n.id ASC NULLS LAST] \
             ROWS BETWEEN 1 PRECEDING AND CURRENT ROW; cast to a wider type, such as decimal(38,0)",
        ),
    ] {
        check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_fits_is_computed_as_ever() {
    let f = numbers();
    assert_eq!(f.value("SELECT sum(i64), sum(i8), sum(f32) FROM n WHERE id = 1"), "9223372036854775807|127|1.5");
    assert_eq!(f.value("SELECT sum(cast(i64 AS decimal(38,0))) FROM n"), "9223372036854775808");
    assert_eq!(f.value("SELECT sum(DISTINCT i64), sum(id) FROM n WHERE id = 2"), "1|2");
    assert_eq!(f.value("SELECT sum(i64) FROM n WHERE id > 5"), "NULL");
    assert_eq!(f.rows("SELECT sum(id) OVER (ORDER BY id) FROM n ORDER BY id"), ["1", "3"]);
    assert_eq!(f.rows("SELECT sum(id) OVER (ORDER BY id ROWS 1 PRECEDING) - 1 FROM n ORDER BY id"), ["0", "2"]);
    assert_eq!(f.value("SELECT i8 + 1, -i8, i8 * 2 - 1 FROM n WHERE id = 2"), "2|-1|1");
    let (schema, _) = f.batches("SELECT id + 1, -id, cast(f64 AS float) FROM n WHERE id = 2");
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id + 1", "-id", "cast(f64 as float)"], "columns are called what was typed");
}

#[test]
fn an_update_that_overflows_changes_nothing() {
    let f = numbers();
    assert_eq!(
        f.error("UPDATE n SET i64 = i64 + 1"),
        "integer overflow in 9223372036854775807 + 1; cast to a wider type, such as decimal(38,0)"
    );
    assert_eq!(f.error("UPDATE n SET i32 = i32 + 1"), "table `n`, column `i32`: `2147483648` is not int32");
    assert_eq!(f.rows("SELECT i32, i64 FROM n ORDER BY id"), ["2147483647|9223372036854775807", "1|1"]);
}

#[test]
fn a_finite_number_never_becomes_infinite() {
    let f = numbers();
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("INSERT INTO n (f32) VALUES (1e300)", "table `n`, column `f32`: `1e300` is not float32"),
        ("INSERT INTO n (f32) SELECT f64 FROM n", "table `n`, column `f32`: `1e300` is not float32"),
        ("INSERT INTO n (f64) VALUES ('1e400')", "table `n`, column `f64`: `1e400` is not float64"),
        ("SELECT cast(f64 AS float) FROM n", "`1e300` is not float32: it would become infinite; use a wider type"),
        ("SELECT '1e400'::double", "`1e400` is not float64: it would become infinite; use a wider type"),
    ] {
        check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    f.run("INSERT INTO n (id, f32, f64) VALUES (3, 'inf', '-Infinity')");
    assert_eq!(f.value("SELECT f32, f64 FROM n WHERE id = 3"), "inf|-inf");
    f.run("CREATE TABLE h (a float16)");
    assert_eq!(f.error("INSERT INTO h VALUES (65520)"), "table `h`, column `a`: `65520` is not float16");
}

#[test]
fn a_distinct_sum_follows_its_window() {
    let f = Folder::new();
    f.run("CREATE TABLE w (id int, a bigint, b uint64, c smallint)");
    f.run("INSERT INTO w VALUES (1, 5, 5, 5), (2, 5, 5, 5), (3, 7, 7, 7), (4, NULL, NULL, NULL), (5, -5, 5, -5), (6, 7, 7, 7)");
    let sum = |of: &str, rows: &str| {
        f.rows(&format!("SELECT sum(DISTINCT {of}) OVER (ORDER BY id ROWS {rows} PRECEDING) FROM w ORDER BY id"))
    };
    assert_eq!(sum("a", "2"), ["5", "5", "12", "12", "2", "2"]);
    assert_eq!(sum("b", "2"), ["5", "5", "12", "12", "12", "12"]);
    assert_eq!(sum("c", "0"), ["5", "5", "7", "NULL", "-5", "7"]);
}

#[test]
fn a_try_cast_gives_null_for_what_does_not_fit() {
    let f = numbers();
    assert_eq!(f.rows("SELECT try_cast(f64 AS float) FROM n ORDER BY id"), ["NULL", "1.0"]);
    assert_eq!(
        f.value("SELECT try_cast('1e400' AS double), try_cast('-inf' AS double), try_cast('x' AS float), try_cast('2' AS float)"),
        "NULL|-inf|NULL|2.0"
    );
    assert_eq!(f.value("SELECT count(*) FROM n WHERE try_cast(f64 AS float) IS NULL"), "1");
}

#[test]
fn a_plan_shows_operators_as_they_were_typed() {
    let f = numbers();
    let plan = |of: &str| f.rows(&format!("EXPLAIN {of}")).join("\n");
    let shown = plan(
        "SELECT (id + i32) * 2, -id, id - (id - 1), cast(f64 AS float) / 2, try_cast(f64 AS float) \
         FROM n WHERE id * 2 > 3 AND (id + 1) % 2 = 0",
    );
    for part in [
        "Projection: CAST(n.id + n.i32 AS Int64) * Int64(2) AS (id + i32) * 2, - n.id AS -id, ",
        ", CAST(n.f64 AS Float32) / Float32(2) AS cast(f64 as float) / 2, TRY_CAST(n.f64 AS Float32) AS ",
        "expr=[CAST(id@1 + i32@2 AS Int64) * 2 as (id + i32) * 2, - id@1 as -id, ",
        "@0 * 2) > 3 AND (",
        "@0 + 1) % 2 = 0",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(!shown.contains("checked_"), "{shown}");
    let nested = plan("SELECT i32 * (i32 + -i32), 'a, b)' || (i32 - 1) FROM n");
    assert!(
        nested.contains("Projection: n.i32 * (n.i32 + (- n.i32)) AS i32 * (i32 + -i32), Utf8(\"a, b)\") || "),
        "{nested}"
    );
    let measured = plan("ANALYZE SELECT id + 1 FROM n");
    assert!(measured.contains("id") && !measured.contains("checked_"), "{measured}");
}
