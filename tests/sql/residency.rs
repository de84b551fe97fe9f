//! `ALTER TABLE … SET RESIDENCY`.

use super::fixture::Folder;

#[test]
fn where_the_columns_of_a_table_stay_is_said_shown_and_kept() {
    let f = Folder::new();
    f.run("CREATE TABLE t (n bigint); CREATE TABLE u (n bigint)");
    for (statement, word) in [
        ("ALTER TABLE t SET RESIDENCY host", "host"),
        ("alter table main.t residency = 'Disk'", "disk"),
        ("ALTER TABLE t SET RESIDENCY = device", "device"),
        ("ALTER TABLE t SET RESIDENCY pinned", "pinned"),
    ] {
        assert_eq!(f.run(statement), format!("table `t`: residency {word}"));
        assert_eq!(
            f.rows("SELECT table_name, residency FROM quern.tables"),
            [format!("t|{word}"), "u|device".to_owned()]
        );
    }
    let told = ["t|pinned|true|cpu|0", "u|device|false|cpu|0"];
    assert_eq!(f.rows("SELECT * FROM quern.residency"), told);
    let f = f.reopened();
    assert_eq!(f.rows("SELECT * FROM quern.residency"), told);
    // It goes with the table.
    f.run("DROP TABLE t; CREATE TABLE t (n bigint); CREATE OR REPLACE TABLE u (n bigint)");
    assert_eq!(f.rows("SELECT table_name, residency FROM quern.tables"), ["t|device", "u|device"]);
}

#[test]
fn what_cannot_be_said_of_a_table_is_refused() {
    let f = Folder::new();
    f.run("CREATE TABLE t (n bigint); CREATE USER ana");
    let only = "ALTER TABLE only sets where columns stay: ALTER TABLE t SET RESIDENCY device, pinned, host or disk; \
                for other columns CREATE TABLE new AS SELECT … FROM old, then DROP TABLE old";
    for (statement, message) in [
        ("ALTER TABLE t SET RESIDENCY vram", "`vram` is no residency; say device, pinned, host or disk"),
        (
            "ALTER TABLE t SET RESIDENCY 1",
            "expected device, pinned, host or disk, but there is `1` at line 1, column 29",
        ),
        ("ALTER TABLE t SET RESIDENCY", "expected device, pinned, host or disk, but the text ends"),
        ("ALTER TABLE t ADD COLUMN m int", only),
        ("ALTER TABLE tt SET RESIDENCY disk", "no table `tt`; did you mean `t`?"),
        (
            "ALTER TABLE quern.runs SET RESIDENCY disk",
            "`quern.runs` cannot be written: schema `quern` is the system's own",
        ),
    ] {
        assert_eq!(f.error(statement), message, "{statement}");
    }
    assert_eq!(
        f.answer_to("ana", "ALTER TABLE t SET RESIDENCY disk"),
        "user `ana` may not alter, drop or replace table `t`, which is not its own; \
         only its owner and the folder's owner may"
    );
    assert_eq!(f.rows("SELECT residency FROM quern.tables"), ["device"]);
    assert_eq!(
        f.answer_to("ana", "CREATE TABLE own (n int); ALTER TABLE own SET RESIDENCY disk"),
        "table `own`: residency disk"
    );
    assert_eq!(f.answer_to("ana", "SELECT * FROM quern.residency"), "own|disk|false|cpu|0");
}
