//! `CREATE`, `DROP`, `INSERT`, `DELETE`, `UPDATE`, `IMPORT`.

use super::fixture::Folder;

#[test]
fn a_table_is_created_filled_changed_and_dropped() {
    let f = Folder::new();
    assert_eq!(f.run("CREATE TABLE t (id bigint NOT NULL, name text, score double)"), "created table `t`");
    assert_eq!(
        f.run("INSERT INTO t VALUES (1, 'one', 1.5), (2, 'two', NULL), (3, NULL, -2)"),
        "inserted 3 rows into `t`"
    );
    assert_eq!(f.rows("SELECT * FROM t ORDER BY id"), ["1|one|1.5", "2|two|NULL", "3|NULL|-2.0"]);
    assert_eq!(f.run("DELETE FROM t WHERE name = 'two'"), "deleted 1 row from `t`");
    assert_eq!(f.run("DELETE FROM t WHERE id > 100"), "deleted 0 rows from `t`");
    assert_eq!(f.run("UPDATE t SET score = score * 2, name = 'x' || id WHERE id = 3"), "updated 1 row of `t`");
    assert_eq!(f.rows("SELECT * FROM t ORDER BY id"), ["1|one|1.5", "3|x3|-4.0"]);
    assert_eq!(f.run("TRUNCATE TABLE t"), "deleted 2 rows from `t`");
    assert_eq!(f.value("SELECT count(*) FROM t"), "0");
    assert_eq!(f.run("DROP TABLE t"), "dropped table `t`");
    assert_eq!(f.run("DROP TABLE IF EXISTS t"), "no table to drop");
    assert_eq!(f.error("SELECT * FROM t"), "no table `t`");
}

#[test]
fn rows_and_tables_are_there_after_reopening() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id bigint, data tensor(float32,[2,2])) SHARD BY (id) SHARDS 3");
    f.run("INSERT INTO t VALUES (1, [[1, 2], [3, 4]]), (2, [5, 6, 7, 8.5]), (3, NULL)");
    let f = f.reopened();
    assert_eq!(f.rows("SELECT * FROM t ORDER BY id"), ["1|[[1.0,2.0],[3.0,4.0]]", "2|[[5.0,6.0],[7.0,8.5]]", "3|NULL"]);
    assert_eq!(f.rows("SELECT sharding, shards FROM quern.tables"), ["shard by (id)|3"]);
}

#[test]
fn inserts_name_columns_in_any_order_and_fill_others_with_null() {
    let f = Folder::new();
    f.run("CREATE TABLE t (a int, b text, c bool)");
    f.run("INSERT INTO t (c, a) VALUES (true, 7)");
    f.run("INSERT INTO t (b) SELECT 'from ' || a FROM t");
    assert_eq!(f.rows("SELECT * FROM t"), ["7|NULL|true", "NULL|from 7|NULL"]);
}

#[test]
fn a_failed_insert_leaves_no_rows() {
    let f = Folder::new();
    f.run("CREATE TABLE t (a tinyint NOT NULL)");
    assert_eq!(f.error("INSERT INTO t VALUES (1), (300)"), "table `t`, column `a`: `300` is not int8");
    assert_eq!(f.error("INSERT INTO t VALUES (1), (2.5)"), "table `t`, column `a`: `2.5` is not int8");
    assert_eq!(
        f.error("INSERT INTO t VALUES (1), (NULL)"),
        "table `t`, column `a`: no value, but the column is not null"
    );
    assert_eq!(f.error("INSERT INTO t VALUES (1, 2)"), "table `t`: 2 values given for 1 column");
    assert_eq!(f.error("INSERT INTO t SELECT 1 / (x - x) FROM (VALUES (1)) AS v(x)"), "division by zero");
    assert_eq!(f.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_table_of_a_query_keeps_exact_types() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id uuid, ip ipv4, t tensor(uint8,[2]), j json, d decimal(10,2))");
    f.run("INSERT INTO t VALUES ('67e55044-10b1-426f-9247-bb680e5fe0c8', '10.0.0.1', [1, 2], '{\"a\": [1]}', 12.34)");
    assert_eq!(f.run("CREATE TABLE u AS SELECT *, 1 AS one FROM t"), "created table `u` with 1 row");
    assert_eq!(
        f.rows("DESCRIBE u"),
        [
            "id|uuid|true",
            "ip|ipv4|true",
            "t|tensor(uint8,[2])|true",
            "j|json|true",
            "d|decimal(10,2)|true",
            "one|int64|false"
        ]
    );
    assert_eq!(
        f.rows("SELECT * FROM u WHERE id = '67e55044-10b1-426f-9247-bb680e5fe0c8' AND ip = '10.0.0.1'"),
        ["67e55044-10b1-426f-9247-bb680e5fe0c8|10.0.0.1|[1,2]|{\"a\": [1]}|12.34|1"]
    );
}

#[test]
fn an_update_replaces_rows_in_one_commit() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id int, u uuid)");
    f.run("INSERT INTO t SELECT x, NULL FROM generate_series(1, 1000) AS g(x)");
    let before = f.value("SELECT max(snapshot) FROM quern.snapshots");
    assert_eq!(
        f.run("UPDATE t SET u = '67e55044-10b1-426f-9247-bb680e5fe0c8' WHERE id % 10 = 0"),
        "updated 100 rows of `t`"
    );
    let after = f.value("SELECT max(snapshot) FROM quern.snapshots");
    assert_eq!(before.parse::<u64>().unwrap() + 1, after.parse::<u64>().unwrap());
    assert_eq!(f.rows("SELECT count(*), count(u), sum(id) FROM t"), ["1000|100|500500"]);
}

#[test]
fn older_states_are_read_with_at() {
    let f = Folder::new();
    f.run("CREATE TABLE t (a int)");
    f.run("INSERT INTO t VALUES (1)");
    let version = f.value("SELECT max(snapshot) FROM quern.snapshots");
    f.run("INSERT INTO t VALUES (2)");
    f.run("DELETE FROM t WHERE a = 1");
    assert_eq!(f.rows("SELECT a FROM t"), ["2"]);
    assert_eq!(f.rows(&format!("SELECT o.a FROM t AT (VERSION => {version}) AS o")), ["1"]);
    assert_eq!(f.rows(&format!("SELECT n.a, o.a FROM t n, T at(version=>{version}) o")), ["2|1"]);
    assert_eq!(f.error("SELECT * FROM t AT (VERSION => 999)"), "no snapshot `999`");
}

#[test]
fn a_table_of_models_is_replicated_unless_said_otherwise() {
    let f = Folder::new();
    f.run("CREATE TABLE m (model binary, name text, id uuid, loss double, date_time_created timestamp)");
    f.run("CREATE TABLE r (a int) REPLICATED");
    f.run("CREATE REPLICATED TABLE k (a int)");
    f.run("CREATE TABLE o (a int, b text, SHARD KEY (b))");
    f.run("CREATE TABLE p (a int)");
    assert_eq!(
        f.rows("SELECT table_name, sharding, shards FROM quern.tables"),
        ["k|replicated|1", "m|replicated|1", "o|shard by (b)|4", "p|random|4", "r|replicated|1"]
    );
}

#[test]
fn files_are_imported_by_a_statement() {
    let f = Folder::new();
    let path = f.file("people.csv");
    std::fs::write(&path, "name;age\nAda;36\nGrace;85\n").unwrap();
    let path = path.display();
    assert_eq!(f.run(&format!("IMPORT '{path}' INTO people")), "created table `people`: 2 rows from people.csv");
    assert_eq!(f.run(&format!("COPY people FROM '{path}'")), "added to table `people`: 2 rows from people.csv");
    assert_eq!(f.rows("SELECT name, age, count(*) FROM people GROUP BY ALL ORDER BY age"), ["Ada|36|2", "Grace|85|2"]);
    let statement =
        format!("COPY '{path}' INTO q WITH (header = false, columns = 'column_2=utf8 not null', shards = 2)");
    assert_eq!(f.run(&statement), "created table `q`: 3 rows from people.csv");
    assert_eq!(f.rows("DESCRIBE q"), ["column_1|utf8|true", "column_2|utf8|false"]);
    assert_eq!(
        f.error(&format!("IMPORT '{path}' INTO q WITH (heder = false)")),
        "no option `heder` in IMPORT … WITH; did you mean `header`?"
    );
    assert_eq!(f.error(&format!("IMPORT '{path}' INTO q")), "no column `column_2` in the file");
}
