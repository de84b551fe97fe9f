//! Schema `quern`.

use super::fixture::Folder;

#[test]
fn tables_columns_shards_and_snapshots_are_listed() {
    let f = Folder::new();
    f.run("CREATE TABLE t (id bigint NOT NULL, x tensor(uint8,[2])) SHARD BY (id) SHARDS 2");
    f.run("INSERT INTO t SELECT x, NULL FROM generate_series(1, 1000) AS g(x)");
    assert_eq!(
        f.rows("SELECT table_name, rows, columns, sharding, shards FROM quern.tables"),
        ["t|1000|2|shard by (id)|2"]
    );
    assert_eq!(f.rows("SELECT * FROM quern.columns"), ["t|0|id|int64|false", "t|1|x|tensor(uint8,[2])|true"]);
    assert_eq!(f.rows("SELECT count(*), sum(rows), min(rows) > 300 FROM quern.shards"), ["2|1000|true"]);
    assert_eq!(f.rows("SHOW TABLES").len(), 1);
    assert_eq!(f.rows("SELECT version()"), [concat!("Quern ", env!("CARGO_PKG_VERSION"))]);
    let system = f.rows("SHOW SYSTEM TABLES");
    assert!(system.contains(&"quern.shards|table_name, shard, rows".to_owned()), "{system:?}");
    assert_eq!(f.rows("SHOW COLUMNS FROM t"), ["id|int64|false", "x|tensor(uint8,[2])|true"]);
    let snapshots =
        f.rows("SELECT snapshot, time > TIMESTAMP '2020-01-01 00:00:00' FROM quern.snapshots ORDER BY 1 DESC LIMIT 2");
    assert_eq!(snapshots.len(), 2);
    assert!(snapshots.iter().all(|row| row.ends_with("|true")), "{snapshots:?}");
}

#[test]
fn runs_tell_their_instances_logs_metrics_results_and_receipts() {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE numbers (n bigint) SHARDS 2");
    f.run("INSERT INTO numbers VALUES (1), (2), (3)");
    f.run(
        "EXECUTE FUNCTION double (INPUT_TABLE_NAMES => INPUT_TABLE(numbers), OUTPUT_TABLE_NAMES => OUTPUT_TABLES('o'))",
    );
    assert_eq!(f.rows("SELECT run, shard, state FROM quern.instances"), ["1|0|complete", "1|1|complete"]);
    assert_eq!(f.rows("SELECT run, level, text, count(*) FROM quern.logs GROUP BY ALL"), ["1|info|hello|2"]);
    assert_eq!(
        f.rows("SELECT run, shard, name, step, value FROM quern.metrics ORDER BY shard"),
        ["1|0|loss|1|0.5", "1|1|loss|1|0.5"]
    );
    assert_eq!(f.rows("SELECT sum(rows_out), min(device) FROM quern.receipts"), ["3|cpu"]);
    assert_eq!(f.rows("SELECT name, sum(cast(text AS bigint)) FROM quern.results GROUP BY name"), ["rows|3"]);
    assert_eq!(
        f.rows("SELECT component, version, size_bytes, active, procs FROM quern.components"),
        ["numbers|1|15|true|3"]
    );
    assert_eq!(
        f.rows("SELECT component, proc, mode FROM quern.procs WHERE proc = 'double'"),
        ["numbers|double|distributed"]
    );
    assert_eq!(f.rows("SELECT count(*) FROM quern.models"), ["0"]);
    let f = f.reopened();
    assert_eq!(
        f.rows("SELECT run, state, wall_ms >= 0, finished >= started FROM quern.runs"),
        ["1|complete|true|true"]
    );
    assert_eq!(f.rows("SELECT count(*) FROM quern.logs"), ["2"]);
}

#[test]
fn limits_and_devices_are_listed() {
    let f = Folder::new();
    assert_eq!(f.rows("SELECT value, unit FROM quern.limits WHERE name = 'device_bytes'"), ["4294967296|bytes"]);
    assert_eq!(
        f.rows(
            "SELECT name, kind, state, cores, memory_bytes, tables_bytes, programs_bytes, free_bytes, reason \
             FROM quern.devices WHERE kind = 'cpu'"
        ),
        ["cpu|cpu|used|2|1073741824|0|0|1073741824|NULL"]
    );
    assert_eq!(
        f.rows("DESCRIBE quern.devices"),
        [
            "name|utf8|false",
            "kind|utf8|false",
            "state|utf8|false",
            "model|utf8|true",
            "cores|int64|true",
            "memory_bytes|int64|true",
            "tables_bytes|int64|true",
            "programs_bytes|int64|true",
            "free_bytes|int64|true",
            "reason|utf8|true"
        ]
    );
}

#[test]
fn names_are_there_for_completion() {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE t (\"Odd name\" int)");
    let names = f.sql.names(&quern::sql::Caller::default()).unwrap();
    for name in ["t", "\"Odd name\"", "quern.runs", "numbers.double"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}

#[test]
fn models_are_listed_as_long_as_their_rows_are_there() {
    let f = Folder::new();
    f.run("CREATE TABLE m (id varchar NOT NULL, name varchar NOT NULL)");
    for id in ["a", "b"] {
        f.run(&format!("INSERT INTO m VALUES ('{id}', 'net')"));
        let mut write = f.storage.begin();
        write.put_model(quern::storage::ModelRecord {
            id: id.to_owned(),
            table: "m".to_owned(),
            name: "net".to_owned(),
            sha256: "0".repeat(64),
            size_bytes: 7,
            created_us: 1,
            run: None,
        });
        write.commit().unwrap();
    }
    assert_eq!(f.rows("SELECT id, table_name, size_bytes FROM quern.models"), ["a|m|7", "b|m|7"]);
    f.run("DELETE FROM m WHERE id = 'a'");
    assert_eq!(f.rows("SELECT id FROM quern.models"), ["b"]);
    f.run("TRUNCATE TABLE m");
    assert_eq!(f.value("SELECT count(*) FROM quern.models"), "0");
}
