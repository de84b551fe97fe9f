//! Each mistake in a statement gives one line that says what to do.

use super::fixture::Folder;

/// A folder with table `digits`.
fn digits() -> Folder {
    let f = Folder::new();
    f.run("CREATE TABLE digits (id bigint, label int, data tensor(uint8,[2,2]), u uuid)");
    f.run("INSERT INTO digits VALUES (1, 7, [1, 2, 3, 4], '67e55044-10b1-426f-9247-bb680e5fe0c8')");
    f
}

/// Notes a message that is not the one wanted.
pub(super) fn check(wrong: &mut Vec<String>, of: &str, found: &str, wanted: &str) {
    if found != wanted {
        wrong.push(format!("{of}\n  gave   {found}\n  wanted {wanted}"));
    }
}

#[test]
fn names_that_do_not_exist_come_with_a_suggestion() {
    let f = digits();
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("SELECT labl FROM digits", "no column `labl` in table `digits`; did you mean `label`?"),
        ("SELECT d.labl FROM digits d", "no column `labl` in table `d`; did you mean `label`?"),
        ("SELECT zzz FROM digits", "no column `zzz` in table `digits`"),
        ("SELECT * FROM digts", "no table `digts`; did you mean `digits`?"),
        ("SELECT * FROM quern.rums", "no system table `rums` in schema `quern`; did you mean `runs`?"),
        (
            "SELECT * FROM quern.nope",
            "no system table `nope` in schema `quern`, which has tables, columns, residency, shards, snapshots, components, procs, \
             models, runs, instances, receipts, logs, metrics, results, checkpoints, startup, users, grants, limits, devices",
        ),
        ("SELECT * FROM digits AT (VERSION => 0)", "no table `digits` in snapshot 0"),
        ("SELECT * FROM qern.runs", "no schema `qern`; did you mean `quern`?"),
        ("SELECT sume(id) FROM digits", "no SQL function `sume`; did you mean `sum`?"),
        ("SELCT 1", "no statement `SELCT`; did you mean `SELECT`?"),
        ("INSERT INTO digits (labl) VALUES (1)", "no column `labl` in table `digits`; did you mean `label`?"),
        ("UPDATE digits SET labl = 1", "no column `labl` in table `digits`; did you mean `label`?"),
        ("UPDATE digits SET label = idd", "no column `idd` in table `digits`; did you mean `id`?"),
        ("DELETE FROM digits WHERE labl = 1", "no column `labl` in table `digits`; did you mean `label`?"),
        ("DELETE FROM digit", "no table `digit`; did you mean `digits`?"),
        ("DROP TABLE digit", "no table `digit`; did you mean `digits`?"),
        ("DESCRIBE digit", "no table `digit`; did you mean `digits`?"),
        ("CREATE TABLE t (a flot32)", "no column type `flot32`; did you mean `float32`?"),
        ("CREATE TABLE t (a tensor(uint,[2]))", "no element type `uint`; did you mean `uint8`?"),
        ("CREATE TABLE t (a int) SHARD BY (key)", "no column `key` in table `t`"),
        ("CREATE TABLE digits (a int)", "table `digits` exists already"),
        ("CREATE TABLE t (a int, A int)", "column `a` exists already"),
        ("EXECUTE FUNCTION train", "no proc `train`"),
        ("DROP FUNCTION f", "no component `f`"),
        ("KILL RUN 7", "no run `7`"),
    ] {
        check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn grammar_errors_say_where_and_what_was_expected() {
    let f = digits();
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("SELECT 1 FROM", "expected identifier, but the text ends"),
        ("SELECT 1 FROM digits WHERE label = ", "expected an expression, but the text ends"),
        ("DELETE digits", "expected FROM, but there is `digits` at line 1, column 8"),
        ("CREATE TABLE t", "expected columns in parentheses, or AS and a query, but the text ends"),
        ("CREATE TABLE t (a)", "expected a type for column `a`, but there is `)` at line 1, column 18"),
        ("CREATE TABLE t (a int", "expected a column type, but the text ends"),
        ("DROP digits", "expected TABLE or FUNCTION, but there is `digits` at line 1, column 6"),
        ("INSERT INTO digits\n(1, 2)", "expected identifier, but there is 1 at line 2, column 2"),
        (
            "SHOW ME",
            "expected TABLES, SYSTEM TABLES, COLUMNS FROM, FUNCTIONS, FUNCTION STATUS or GRANTS, but there is `ME` at line 1, column 6",
        ),
        ("KILL RUN abc", "expected the number of a run, but there is `abc` at line 1, column 10"),
        ("SELECT 1 SELECT 2", "expected the end of the statement, but there is `SELECT` at line 1, column 10"),
        ("SELECT 'abc", "unterminated string literal at line 1, column 8"),
        (
            "EXECUTE FUNCTION f(TABLES => 1)",
            "expected INPUT_TABLE_NAMES, OUTPUT_TABLE_NAMES, PARAMS or OPTIONS, but there is `TABLES` at line 1, column 20",
        ),
        ("CREATE FUNCTION f", "expected FILE PATHS 'component.wasm', but the text ends"),
        ("; ; 12", "expected a statement, but there is `12` at line 1, column 5"),
    ] {
        check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(f.sql.execute(" ; ").unwrap().len(), 0);
}

#[test]
fn what_is_not_supported_says_so() {
    let f = digits();
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("BEGIN", "there are no transactions: each statement commits on its own"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW is not supported; there are tables and functions"),
        ("CREATE TABLE t (a int PRIMARY KEY)", "primary and unique keys are not supported yet; leave them out"),
        ("CREATE TABLE t (a int DEFAULT 1)", "column `a`: DEFAULT is not supported; only NOT NULL is"),
        (
            "CREATE TABLE t (a decimal)",
            "column type `decimal` needs its digits: decimal(precision,scale), for example decimal(18,4)",
        ),
        ("CREATE TABLE t (a int) REPLICATED SHARDS 2", "a replicated table has no shards; leave out SHARDS"),
        (
            "CREATE TABLE t (a int) REPLICATED SHARD BY (a)",
            "a table is sharded in one way: SHARD BY (…), RANDOM or REPLICATED",
        ),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'", "files are read with IMPORT 'file' INTO table"),
        ("INSERT INTO quern.runs VALUES (1)", "`quern.runs` cannot be written: schema `quern` is the system's own"),
        ("DROP TABLE quern.runs", "`quern.runs` cannot be written: schema `quern` is the system's own"),
        (
            "DELETE FROM digits AT (VERSION => 1)",
            "table `digits@1` cannot be written: names with `@` stand for older states",
        ),
        (
            "COPY digits TO 'x.csv'",
            "COPY … TO is not supported; write a query's rows with quern sql --format csv > file",
        ),
        (
            "SELECT * FROM information_schema.tables",
            "there is no information_schema; SHOW TABLES and SHOW SYSTEM TABLES list tables, quern.tables and \
             quern.columns hold the same as rows",
        ),
        (
            "SELECT INTERVAL '1 day' < INTERVAL '25 hours'",
            "intervals cannot be compared, for days and months have no fixed length; add each to a timestamp and compare \
             the sums",
        ),
        (
            "SELECT label, count(*) FROM digits",
            "column `digits.label` is neither in GROUP BY nor within an aggregate function such as max(digits.label)",
        ),
        ("SELECT 1 EXCEPT ALL SELECT 1", "EXCEPT ALL is not supported; EXCEPT compares rows without counting them"),
        (
            "SELECT * FROM (SELECT 1 UNION SELECT 1 INTERSECT ALL SELECT 1) t",
            "INTERSECT ALL is not supported; INTERSECT compares rows without counting them",
        ),
        ("SELECT * FROM digits TABLESAMPLE (1)", "TABLESAMPLE is not supported; write WHERE random() < 0.1"),
        ("SELECT * FROM digits SEMI JOIN digits b ON true", "not supported: unsupported JOIN operator Semi"),
        ("EXPLAIN INSERT INTO digits VALUES (1, 1, NULL, NULL)", "DML not supported: Insert Into"),
    ] {
        check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn values_that_do_not_fit_name_table_column_and_value() {
    let f = digits();
    let mut wrong = Vec::new();
    for (values, message) in [
        ("(1, 'abc', NULL, NULL)", "table `digits`, column `label`: `abc` is not int32"),
        ("(1, 3000000000, NULL, NULL)", "table `digits`, column `label`: `3000000000` is not int32"),
        ("(1, 1, [1, 2, 3], NULL)", "table `digits`, column `data`: a list of 3 elements is not tensor(uint8,[2,2])"),
        ("(1, 1, [[1, 2], [3, 256]], NULL)", "table `digits`, column `data`: `256` is not uint8"),
        ("(1, 1, [[1], [2]], NULL)", "table `digits`, column `data`: a list of 2 elements is not tensor(uint8,[2,2])"),
        (
            "(1, 1, [1, 2, 3, NULL], NULL)",
            "table `digits`, column `data`: an element of tensor(uint8,[2,2]) is missing",
        ),
        ("(1, 1, X'0102', NULL)", "table `digits`, column `data`: 2 bytes are not tensor(uint8,[2,2]), which has 4"),
        ("(1, 1, 5, NULL)", "table `digits`, column `data`: int64 cannot become tensor(uint8,[2,2])"),
        ("(1, 1, NULL, 'xyz')", "table `digits`, column `u`: `xyz` is not uuid"),
        ("(1, 1, NULL)", "table `digits`: 3 values given for 4 columns"),
    ] {
        check(&mut wrong, values, &f.error(&format!("INSERT INTO digits VALUES {values}")), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(f.value("SELECT count(*) FROM digits"), "1");
}

#[test]
fn a_function_says_what_it_takes() {
    let f = digits();
    assert_eq!(
        f.error("SELECT sum('x') FROM digits"),
        "function `sum` takes decimal, uint64, int64, float64, duration or interval, not string; cast its argument"
    );
}

#[test]
fn a_column_that_comes_twice_is_named() {
    let f = digits();
    assert_eq!(
        f.error("SELECT *, id FROM digits"),
        "column `digits.id` is named twice; give one of them another name with AS"
    );
}

#[test]
fn errors_while_rows_are_made_are_one_line() {
    let f = digits();
    assert_eq!(f.error("SELECT 1 / (id - id) FROM digits"), "division by zero");
    let found = f.error("SELECT cast('abc' || id AS int) FROM digits");
    assert_eq!(found, "cannot cast string 'abc1' to value of Int32 type");
}
