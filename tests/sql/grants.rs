//! Users, roles and grants: what is refused names the grant that would allow it.

use super::fixture::Folder;

/// A folder with a table, procs, the users `ana` and `bob` and the role `team`.
fn shared() -> Folder {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE t (n bigint NOT NULL)");
    f.run("INSERT INTO t VALUES (1), (2), (3)");
    f.run("CREATE USER ana; CREATE USER bob; CREATE ROLE team");
    f
}

/// Each statement as `ana` and what she is told, word for word.
#[track_caller]
fn told(f: &Folder, statements: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (statement, message) in statements {
        super::bad_statements::check(&mut wrong, statement, &f.answer_to("ana", statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_not_granted_is_refused_with_the_statement_that_grants_it() {
    let f = shared();
    told(
        &f,
        &[
            ("SELECT * FROM t", "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana"),
            (
                "SELECT count(*) FROM t AT (VERSION => 2)",
                "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana",
            ),
            (
                "CREATE TABLE mine AS SELECT * FROM t",
                "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana",
            ),
            (
                "INSERT INTO t VALUES (4)",
                "user `ana` may not insert into table `t`; this allows it: GRANT INSERT ON TABLE t TO ana",
            ),
            (
                "UPDATE t SET n = 0",
                "user `ana` may not update table `t`; this allows it: GRANT UPDATE ON TABLE t TO ana",
            ),
            (
                "DELETE FROM t",
                "user `ana` may not delete from table `t`; this allows it: GRANT DELETE ON TABLE t TO ana",
            ),
            (
                "DROP TABLE t",
                "user `ana` may not alter, drop or replace table `t`, which is not its own; \
                 only its owner and the folder's owner may",
            ),
            (
                "CREATE OR REPLACE TABLE t (a int)",
                "user `ana` may not alter, drop or replace table `t`, which is not its own; \
                 only its owner and the folder's owner may",
            ),
            (
                "EXECUTE FUNCTION double(INPUT_TABLE_NAMES => INPUT_TABLE(t), OUTPUT_TABLE_NAMES => OUTPUT_TABLES('o'))",
                "user `ana` may not execute proc `numbers.double`; \
                 this allows it: GRANT EXECUTE ON FUNCTION numbers.double TO ana",
            ),
            (
                "DROP FUNCTION numbers",
                "user `ana` may not administer `numbers`; this allows it: GRANT ADMIN ON FUNCTION numbers TO ana",
            ),
            (
                "GRANT SELECT ON TABLE t TO bob",
                "user `ana` may not grant or revoke SELECT ON TABLE t; \
                 this allows it: GRANT SELECT ON TABLE t TO ana WITH GRANT OPTION",
            ),
            (
                "CREATE USER eve",
                "user `ana` may not create users and roles; only the folder's owner may, without --user",
            ),
            ("GRANT team TO ana", "user `ana` may not grant roles; only the folder's owner may, without --user"),
        ],
    );
    assert_eq!(f.value("SELECT sum(n) FROM t"), "6", "nothing was changed");
    assert_eq!(f.answer_to("anna", "SELECT 1"), "no user or role `anna`; did you mean `ana`?");
}

#[test]
fn what_was_granted_is_allowed_until_it_is_revoked() {
    let f = shared();
    assert_eq!(f.run("GRANT SELECT, INSERT ON TABLE t TO ana"), "granted SELECT, INSERT on table `t` to `ana`");
    told(&f, &[("INSERT INTO t VALUES (4)", "inserted 1 row into `t`"), ("SELECT sum(n) FROM t", "10")]);
    f.run("GRANT UPDATE, DELETE ON t TO ana");
    told(
        &f,
        &[
            ("UPDATE t SET n = 5 WHERE n = 4", "updated 1 row of `t`"),
            ("DELETE FROM t WHERE n = 5", "deleted 1 row from `t`"),
        ],
    );
    assert_eq!(
        f.rows("SHOW GRANTS FOR ana"),
        [
            "ana|DELETE|table|t|false|owner",
            "ana|INSERT|table|t|false|owner",
            "ana|SELECT|table|t|false|owner",
            "ana|UPDATE|table|t|false|owner"
        ]
    );
    assert_eq!(f.run("REVOKE SELECT ON TABLE t FROM ana"), "revoked SELECT on table `t` from `ana`");
    told(
        &f,
        &[("SELECT * FROM t", "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana")],
    );
    assert_eq!(
        f.error("REVOKE SELECT ON TABLE t FROM ana"),
        "`ana` has no grant SELECT ON TABLE t; SHOW GRANTS lists what it has"
    );
    f.run("DROP USER ana");
    assert_eq!(f.answer_to("ana", "SELECT 1"), "no user or role `ana`");
    assert_eq!(f.rows("SELECT name, role FROM quern.users"), ["bob|false", "team|true"]);
    assert_eq!(f.rows("SELECT * FROM quern.grants"), [""; 0], "the grants of a user go with it");
}

#[test]
fn a_role_gives_its_members_what_it_was_granted() {
    let f = shared();
    f.run("CREATE ROLE readers");
    f.run("GRANT SELECT ON TABLE t TO readers; GRANT readers TO team");
    assert_eq!(f.run("GRANT team TO ana"), "granted role `team` to `ana`");
    told(&f, &[("SELECT count(*) FROM t", "3")]);
    f.run("REVOKE readers FROM team");
    told(
        &f,
        &[("SELECT * FROM t", "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana")],
    );
    assert_eq!(f.error("GRANT bob TO ana"), "`bob` is a user, not a role; CREATE ROLE makes one");
    assert_eq!(f.error("GRANT team TO team"), "role `team` cannot be granted to itself");
    assert_eq!(f.error("GRANT tema TO ana"), "no user or role `tema`; did you mean `team`?");
    assert_eq!(f.error("CREATE USER ana"), "user or role `ana` exists already");
    assert_eq!(f.error("CREATE USER owner"), "`owner` is the folder's owner; choose another name");
}

#[test]
fn a_creator_owns_its_table_and_may_grant_it() {
    let f = shared();
    told(
        &f,
        &[
            ("CREATE TABLE mine (a int); INSERT INTO mine VALUES (7); SELECT a FROM mine", "7"),
            ("GRANT SELECT ON TABLE mine TO bob WITH GRANT OPTION", "granted SELECT on table `mine` to `bob`"),
        ],
    );
    assert_eq!(f.answer_to("bob", "SELECT a FROM mine"), "7");
    assert_eq!(f.answer_to("bob", "GRANT SELECT ON TABLE mine TO team"), "granted SELECT on table `mine` to `team`");
    let f = f.reopened();
    assert_eq!(f.value("SELECT a FROM mine"), "7", "the folder's owner may do everything");
    told(&f, &[("DROP TABLE mine", "dropped table `mine`")]);
    assert_eq!(f.rows("SELECT * FROM quern.grants"), [""; 0], "grants on a table go with it");
    f.run("CREATE TABLE mine (a int)");
    assert_eq!(
        f.answer_to("bob", "SELECT a FROM mine"),
        "user `bob` may not read table `mine`; this allows it: GRANT SELECT ON TABLE mine TO bob"
    );
}

#[test]
fn a_run_needs_its_proc_its_inputs_and_its_outputs() {
    let f = shared();
    let execute =
        "EXECUTE FUNCTION double(INPUT_TABLE_NAMES => INPUT_TABLE(t), OUTPUT_TABLE_NAMES => OUTPUT_TABLES('o'))";
    f.run("GRANT EXECUTE ON FUNCTION double TO ana");
    told(&f, &[(execute, "user `ana` may not read table `t`; this allows it: GRANT SELECT ON TABLE t TO ana")]);
    f.run("GRANT SELECT ON TABLE t TO ana");
    assert!(f.answer_to("ana", execute).starts_with("run 1 of numbers.double complete: 3 rows out"));
    told(&f, &[("SELECT sum(n2) FROM o", "12"), ("SELECT \"user\" FROM quern.runs", "ana")]);
    assert_eq!(f.answer_to("bob", "SELECT count(*) FROM quern.runs"), "0", "runs of others are not shown");
    f.run("CREATE TABLE taken (n2 bigint NOT NULL)");
    told(
        &f,
        &[(
            "EXECUTE FUNCTION double(INPUT_TABLE_NAMES => INPUT_TABLE(SELECT n + 1 AS n FROM t), \
             OUTPUT_TABLE_NAMES => OUTPUT_TABLES('taken'))",
            "user `ana` may not insert into table `taken`; this allows it: GRANT INSERT ON TABLE taken TO ana",
        )],
    );
    assert_eq!(f.rows("SELECT table_name FROM quern.tables ORDER BY 1"), ["o", "t", "taken"], "nothing is left behind");
}

#[test]
fn only_its_user_and_who_administers_the_proc_may_kill_a_run() {
    let f = shared();
    f.run("GRANT EXECUTE ON FUNCTION * TO ana");
    let start = "EXECUTE FUNCTION endless(OPTIONS => KV_PAIRS(wait = 'false'))";
    assert_eq!(f.answer_to("ana", start), "run 1 is queued; SHOW FUNCTION STATUS FOR 1 shows it");
    assert_eq!(
        f.answer_to("bob", "KILL RUN 1"),
        "user `bob` may not look at or kill run 1, which is `ana`'s; \
         this allows it: GRANT ADMIN ON FUNCTION numbers.endless TO bob"
    );
    assert_eq!(f.answer_to("bob", "KILL ALL RUNS"), f.answer_to("bob", "KILL RUN 1"));
    f.run("GRANT ADMIN ON FUNCTION numbers TO team; GRANT team TO bob");
    assert_eq!(f.answer_to("bob", "KILL RUN 1"), "killed run 1");
    assert_eq!(f.answer_to("bob", "DROP FUNCTION numbers"), "dropped component `numbers`");
}

#[test]
fn creating_a_component_needs_a_grant_or_to_administer_it() {
    let f = shared();
    let file = f.file("x.wasm");
    std::fs::write(&file, "not WebAssembly").unwrap();
    let create = |name: &str| format!("CREATE OR REPLACE FUNCTION {name} FILE PATHS '{}'", file.display());
    assert_eq!(
        f.answer_to("ana", &create("fresh")),
        "user `ana` may not create components; this allows it: GRANT CREATE FUNCTION TO ana"
    );
    assert_eq!(f.run("GRANT CREATE FUNCTION TO ana"), "granted CREATE FUNCTION to `ana`");
    let allowed = f.answer_to("ana", &create("fresh"));
    assert!(allowed.contains("is not a usable component"), "{allowed}");
    assert_eq!(
        f.answer_to("ana", &create("numbers")),
        "user `ana` may not administer `numbers`; this allows it: GRANT ADMIN ON FUNCTION numbers TO ana"
    );
}

#[test]
fn grammar_of_grants_says_what_was_expected() {
    let f = shared();
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("GRANT SELECT TO ana", "expected ON, but there is `TO` at line 1, column 14"),
        ("GRANT SELECT ON TABLE t", "expected TO, but the text ends"),
        ("GRANT EXECUTE ON TABLE t TO ana", "expected FUNCTION, but there is `TABLE` at line 1, column 18"),
        (
            "GRANT SELECT, EXECUTE ON t TO ana",
            "expected privileges on tables or on functions, not on both, but there is `t` at line 1, column 26",
        ),
        ("GRANT SELECT ON TABLE nowhere TO ana", "no table `nowhere`"),
        ("GRANT EXECUTE ON FUNCTION duble TO ana", "no proc `duble`; did you mean `double`?"),
        ("GRANT SELECT ON TABLE t TO eve", "no user or role `eve`"),
    ] {
        super::bad_statements::check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_others_store_for_start_up_or_have_run_is_theirs() {
    let f = shared();
    f.run("GRANT EXECUTE ON FUNCTION * TO ana; GRANT EXECUTE ON FUNCTION * TO bob");
    let store = "EXECUTE FUNCTION broken(OPTIONS => KV_PAIRS(execute_at_startup = true))";
    for user in ["ana", "bob"] {
        f.answer_to(user, store);
    }
    f.run(store);
    assert_eq!(f.rows("SELECT id, user FROM quern.startup"), ["1|ana", "2|bob", "3|owner"]);
    assert_eq!(f.answer_to("ana", "SELECT id, user FROM quern.startup"), "1|ana");
    // Executed with the rights of who stored it; who is gone executes nothing.
    f.run("DROP USER bob");
    let execute = |request: quern::run::RunRequest, _: &quern::device::KillSwitch| {
        let rights = quern::catalog::Rights::of(&f.storage, request.user.as_deref())?;
        f.sql.submit(request, &quern::sql::Caller { rights, ..Default::default() })
    };
    f.runs.start_up(&|| true, &execute).unwrap();
    assert_eq!(
        f.rows("SELECT id, last_run, last_error FROM quern.startup"),
        ["1|1|NULL", "2|NULL|no user or role `bob`", "3|2|NULL"]
    );
    f.run("CREATE USER bob; GRANT EXECUTE ON FUNCTION * TO bob");
    let resume = "EXECUTE FUNCTION broken(OPTIONS => KV_PAIRS(resume = 1))";
    assert_eq!(
        f.answer_to("bob", resume),
        "user `bob` may not look at or kill run 1, which is `ana`'s; \
         this allows it: GRANT ADMIN ON FUNCTION numbers.broken TO bob"
    );
    assert_eq!(f.answer_to("ana", resume), "run 1 has kept no checkpoint to resume from");
}

#[test]
fn older_states_are_those_of_the_table_that_has_the_name_now() {
    let f = shared();
    let version = || f.value("SELECT max(snapshot) FROM quern.snapshots");
    f.run("CREATE TABLE secret (n bigint NOT NULL); INSERT INTO secret VALUES (42)");
    let secret = version();
    f.run("DROP TABLE secret");
    f.answer_to("ana", "CREATE TABLE secret (n bigint NOT NULL)");
    let own = version();
    f.answer_to("ana", "INSERT INTO secret VALUES (1)");
    let read = |version: &str| format!("SELECT count(n) FROM secret AT (VERSION => {version})");
    let refused = format!(
        "user `ana` may not read table `secret` of version {secret}: it was another table of that name; \
         only the folder's owner may, without --user"
    );
    told(&f, &[(&read(&secret), &refused), (&read(&own), "0"), ("SELECT n FROM secret", "1")]);
    assert_eq!(f.value(&read(&secret)), "1", "the folder's owner may");
}

#[test]
fn a_grant_takes_nothing_away_and_is_revoked_by_who_gave_it() {
    let f = shared();
    f.run("GRANT SELECT ON t TO bob WITH GRANT OPTION; GRANT SELECT ON t TO ana WITH GRANT OPTION");
    told(
        &f,
        &[
            ("GRANT SELECT ON t TO bob", "granted SELECT on table `t` to `bob`"),
            (
                "REVOKE SELECT ON t FROM bob",
                "user `ana` may not revoke SELECT ON TABLE t from `bob`: `owner` granted it; \
                 only that one and owners may",
            ),
            ("GRANT SELECT ON t TO team", "granted SELECT on table `t` to `team`"),
            ("REVOKE SELECT ON t FROM team", "revoked SELECT on table `t` from `team`"),
        ],
    );
    assert_eq!(f.rows("SHOW GRANTS FOR bob"), ["bob|SELECT|table|t|true|owner"]);
    // What the owner grants as well is the owner's.
    f.answer_to("ana", "GRANT SELECT ON t TO team");
    f.run("GRANT SELECT ON t TO team");
    assert_eq!(f.rows("SHOW GRANTS FOR team"), ["team|SELECT|table|t|false|owner"]);
}

#[test]
fn a_component_is_made_of_stored_bytes_by_who_administers_them() {
    let f = shared();
    f.run("GRANT CREATE FUNCTION TO ana; GRANT EXECUTE ON FUNCTION numbers TO ana");
    let copy = format!("CREATE FUNCTION mine FILE PATHS 'sha256:{}'", "0".repeat(64));
    assert_eq!(
        f.answer_to("ana", &copy),
        "user `ana` may not administer `numbers`; this allows it: GRANT ADMIN ON FUNCTION numbers TO ana"
    );
    f.run("GRANT ADMIN ON FUNCTION numbers TO ana");
    let allowed = f.answer_to("ana", &copy);
    assert!(allowed.contains("is not a usable component"), "{allowed}");
}

#[test]
fn lists_show_what_something_was_granted_on() {
    let f = shared();
    f.run("CREATE TABLE secret (s text); GRANT EXECUTE ON FUNCTION double TO team; GRANT team TO ana");
    let lists = [
        ("SELECT table_name FROM quern.tables ORDER BY 1", "", "t"),
        ("SHOW TABLES", "", "t|3|1|random|4|"),
        ("SELECT table_name, column_name FROM quern.columns", "", "t|n"),
        ("SELECT DISTINCT table_name FROM quern.shards", "", "t"),
        ("SELECT component FROM quern.components", "numbers", "numbers"),
        ("SELECT proc FROM quern.procs", "double", "double"),
        (
            "SELECT grantee, privilege FROM quern.grants ORDER BY 1, 2",
            "ana|MEMBER; team|EXECUTE",
            "ana|INSERT; ana|MEMBER; team|EXECUTE",
        ),
    ];
    for (statement, before, _) in lists {
        assert_eq!(f.answer_to("ana", statement), before, "{statement}");
        let nothing = f.answer_to("bob", statement);
        assert_eq!(nothing, "", "{statement}");
    }
    f.run("GRANT INSERT ON TABLE t TO ana");
    for (statement, _, after) in lists {
        let found = f.answer_to("ana", statement);
        assert!(found.starts_with(after), "{statement}: {found}");
        assert!(!found.contains("secret"), "{statement}: {found}");
    }
    let rights = quern::catalog::Rights::of(&f.storage, Some("ana")).unwrap();
    let names = f.sql.names(&quern::sql::Caller { rights, ..Default::default() }).unwrap();
    assert!(names.contains(&"t".to_owned()) && names.contains(&"numbers.double".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name == "secret" || name == "numbers.broken"), "{names:?}");
    assert_eq!(f.rows("SELECT table_name FROM quern.tables ORDER BY 1"), ["secret", "t"], "the owner sees all");
}

#[test]
fn users_import_no_files_of_the_data_folder() {
    let f = shared();
    f.run("CREATE TABLE secret (n bigint NOT NULL)");
    let rows = (0..200_000).map(|n| format!("({n})")).collect::<Vec<_>>().join(", ");
    f.run(&format!("INSERT INTO secret VALUES {rows}"));
    let folder = f.storage.folder().to_owned();
    let file = walk(&folder).into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet")).unwrap();
    let link = f.file("link.parquet");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let around = folder.join("..").join(folder.file_name().unwrap()).join(file.strip_prefix(&folder).unwrap());
    f.run("GRANT CREATE FUNCTION TO ana");
    for path in [&file, &link, &around] {
        let (path, refused) = (
            path.display(),
            format!(
                "user `ana` may not read `{}`, which lies in the data folder; SELECT reads its tables",
                path.display()
            ),
        );
        assert_eq!(f.answer_to("ana", &format!("IMPORT INTO mine FROM '{path}'")), refused);
        assert_eq!(f.answer_to("ana", &format!("CREATE FUNCTION mine FILE PATHS '{path}'")), refused);
    }
    let own = f.file("own.csv");
    std::fs::write(&own, "a\n1\n").unwrap();
    let import = format!("IMPORT INTO mine FROM '{}'", own.display());
    assert_eq!(f.answer_to("ana", &import), "created table `mine`: 1 row from own.csv");
    assert_eq!(
        f.run(&format!("IMPORT INTO copy FROM '{}'", link.display())),
        "created table `copy`: 50,000 rows from link.parquet"
    );
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn an_import_replaces_only_the_table_that_it_found() {
    let f = shared();
    let file = f.file("rows.csv");
    std::fs::write(&file, "a\n1\n").unwrap();
    f.answer_to("ana", "CREATE TABLE mine (a int)");
    let rights = || quern::catalog::Rights::of(&f.storage, Some("ana")).unwrap();
    let import = quern::sql::Import {
        table: "mine".to_owned(),
        files: vec![file],
        mode: quern::sql::ImportMode::Replace,
        ..quern::sql::Import::default()
    };
    let mut meanwhile = |_| {
        f.answer_to("ana", "DROP TABLE mine");
        f.answer_to("bob", "CREATE TABLE mine (b int)");
        f.answer_to("bob", "INSERT INTO mine VALUES (7)");
        Ok(())
    };
    let told = quern::sql::import(&f.storage, &rights(), &import, &mut meanwhile).unwrap_err().to_string();
    assert_eq!(told, "table `mine` was dropped or altered meanwhile, nothing was changed; run it again");
    assert_eq!(f.rows("SELECT b FROM mine"), ["7"]);
    let told = quern::sql::import(&f.storage, &rights(), &import, &mut |_| Ok(())).unwrap_err().to_string();
    assert_eq!(
        told,
        "user `ana` may not alter, drop or replace table `mine`, which is not its own; only its owner and the folder's owner may"
    );
}
