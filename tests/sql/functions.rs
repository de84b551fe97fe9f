//! Statements about procs and runs. The procs are Rust here; components of
//! WebAssembly have tests of their own.

use std::time::{Duration, Instant};

use super::fixture::Folder;

/// A folder with procs, and table `numbers`: n of 1 to 100, a text.
fn numbers() -> Folder {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE numbers (txt text, n bigint)");
    f.run("INSERT INTO numbers SELECT 'x', x FROM generate_series(1, 100) AS g(x)");
    f
}

#[test]
fn a_run_reads_a_table_and_fills_another() {
    let f = numbers();
    let message = f.run(
        "EXECUTE FUNCTION numbers.double (INPUT_TABLE_NAMES => INPUT_TABLE(numbers), \
         OUTPUT_TABLE_NAMES => OUTPUT_TABLES('doubled'), PARAMS => KV_PAIRS(factor = '3'), \
         OPTIONS => KV_PAIRS(run_tag = 'first', seed = 7))",
    );
    assert!(message.starts_with("run 1 of numbers.double complete: 100 rows out in "), "{message}");
    assert_eq!(f.rows("SELECT count(*), sum(n2) FROM doubled"), ["100|15150"]);
    assert_eq!(f.rows("SHOW FUNCTION STATUS"), ["numbers.double|1|complete"]);
    assert_eq!(
        f.rows("SELECT run, proc, tag, user, seed, params, outputs, instances, error FROM quern.runs"),
        ["1|double|first|owner|7|{\"factor\":\"3\"}|[\"doubled\"]|4|NULL"]
    );
}

#[test]
fn an_input_may_be_a_query() {
    let f = numbers();
    f.run(
        "EXECUTE FUNCTION double (INPUT_TABLE_NAMES => INPUT_TABLES((SELECT n FROM numbers WHERE n <= 10)), \
         OUTPUT_TABLE_NAMES => OUTPUT_TABLES('few'))",
    );
    assert_eq!(f.rows("SELECT count(*), sum(n2) FROM few"), ["10|110"]);
    assert_eq!(f.rows("SELECT table_name FROM quern.tables"), ["few", "numbers"]);
    // Those of a run that nobody waits for stay until it has ended.
    f.run(
        "EXECUTE FUNCTION double (INPUT_TABLE_NAMES => INPUT_TABLE(SELECT n FROM numbers ORDER BY n LIMIT 5), \
         OUTPUT_TABLE_NAMES => OUTPUT_TABLES('five'), OPTIONS => KV_PAIRS(wait = false))",
    );
    let status = f.runs.wait(quern::base::RunId(2), Some(Duration::from_secs(10))).unwrap();
    assert_eq!(status.run.error, None);
    assert_eq!(f.rows("SELECT count(*), sum(n2) FROM five"), ["5|30"]);
    assert_eq!(f.rows("SELECT table_name FROM quern.tables"), ["few", "five", "numbers"]);
    assert_eq!(
        f.rows("SELECT inputs FROM quern.runs"),
        [
            "[{\"columns\":null,\"query\":\"SELECT n FROM numbers WHERE n <= 10\"}]",
            "[{\"columns\":null,\"query\":\"SELECT n FROM numbers ORDER BY n LIMIT 5\"}]"
        ]
    );
}

#[test]
fn a_filter_keeps_the_shards_of_its_table_any_other_query_is_dealt_anew() {
    let f = numbers();
    f.run("CREATE TABLE seven (n bigint) SHARD BY (n) SHARDS 7");
    f.run("INSERT INTO seven SELECT x FROM generate_series(1, 50) AS g(x)");
    let execute = |input: &str, output: &str| {
        f.run(&format!(
            "EXECUTE FUNCTION double (INPUT_TABLE_NAMES => INPUT_TABLE({input}), \
             OUTPUT_TABLE_NAMES => OUTPUT_TABLES('{output}'))"
        ));
    };
    execute("SELECT * FROM seven", "whole");
    execute("SELECT n FROM seven WHERE n > 20", "filtered");
    execute("SELECT n + 1 AS n FROM seven WHERE n > 20", "moved");
    execute("SELECT n FROM seven WHERE n > 20 ORDER BY n LIMIT 10", "dealt");
    execute("SELECT a.n FROM seven a JOIN seven b ON a.n = b.n", "joined");
    let shards = "SELECT table_name, shards FROM quern.tables WHERE table_name IN \
                  ('whole', 'filtered', 'moved', 'dealt', 'joined') ORDER BY table_name";
    assert_eq!(f.rows(shards), ["dealt|4", "filtered|7", "joined|4", "moved|7", "whole|7"]);
    let of = |table: &str| {
        let text = format!("SELECT rows FROM quern.shards WHERE table_name = '{table}' ORDER BY shard");
        f.rows(&text).iter().map(|rows| rows.parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let (whole, filtered) = (of("whole"), of("filtered"));
    assert!(whole.iter().zip(&filtered).all(|(all, some)| some <= all), "{whole:?} {filtered:?}");
    assert_eq!(f.rows("SELECT sum(n2), count(*) FROM filtered"), ["2130|30"]);
    assert_eq!(f.rows("SELECT sum(n2) FROM moved"), ["2190"]);
    assert_eq!(f.rows("SELECT count(*) FROM joined"), ["50"]);
    assert_eq!(f.rows("SELECT count(*) FROM quern.tables WHERE table_name LIKE 'quern_input%'"), ["0"]);
}

#[test]
fn a_query_that_only_picks_columns_reads_the_table_itself() {
    let f = numbers();
    f.run("EXECUTE FUNCTION double (INPUT_TABLE_NAMES => INPUT_TABLE(SELECT n FROM numbers), OUTPUT_TABLE_NAMES => OUTPUT_TABLES('o'))");
    assert_eq!(f.value("SELECT inputs FROM quern.runs"), "[{\"table\":\"numbers\",\"columns\":[\"n\"]}]");
    assert_eq!(f.rows("SELECT count(*), sum(n2) FROM o"), ["100|10100"]);
}

#[test]
fn a_failed_run_is_an_error_and_stays_in_the_list() {
    let f = numbers();
    assert_eq!(
        f.error("EXECUTE FUNCTION broken()"),
        "run 1 failed: proc `broken` returned an error (invalid-argument): it is broken"
    );
    assert_eq!(f.rows("SHOW FUNCTION STATUS FOR 1"), ["numbers.broken|1|error"]);
    let verbose = f.rows("SHOW FUNCTION STATUS VERBOSE FOR '1'");
    assert!(
        verbose[0].ends_with("|1|{}|[]|[]|proc `broken` returned an error (invalid-argument): it is broken"),
        "{verbose:?}"
    );
    assert_eq!(f.error("SHOW FUNCTION STATUS FOR 2"), "no run `2`");
}

#[test]
fn a_run_is_killed_by_a_statement() {
    let f = numbers();
    assert_eq!(
        f.run("EXECUTE FUNCTION endless (OPTIONS => KV_PAIRS(wait = 'false'))"),
        "run 1 is queued; SHOW FUNCTION STATUS FOR 1 shows it"
    );
    let until = Instant::now() + Duration::from_secs(10);
    while f.value("SELECT state FROM quern.runs") != "running" && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(f.run("KILL RUN 1"), "killed run 1");
    let status = f.runs.wait(quern::base::RunId(1), Some(Duration::from_secs(10))).unwrap();
    assert_eq!(status.run.state.name(), "killed");
    assert_eq!(f.value("SELECT state || ': ' || error FROM quern.runs"), "killed: the run was killed by KILL RUN");
    assert_eq!(f.error("KILL RUN 1"), "run 1 has ended already: killed");
}

#[test]
fn runs_are_killed_by_tag_or_all() {
    let f = numbers();
    for tag in ["a", "b", "a", "c"] {
        f.run(&format!("EXECUTE FUNCTION endless (OPTIONS => KV_PAIRS(wait = false, run_tag = '{tag}'))"));
    }
    assert_eq!(f.run("KILL RUNS TAG 'a'"), "killed runs 1, 3");
    assert_eq!(f.run("KILL RUNS TAG 'd'"), "no run with tag `d` to kill");
    for run in [1, 3] {
        f.runs.wait(quern::base::RunId(run), Some(Duration::from_secs(10))).unwrap();
    }
    assert_eq!(f.run("KILL RUNS TAG 'b'"), "killed run 2");
    f.runs.wait(quern::base::RunId(2), Some(Duration::from_secs(10))).unwrap();
    assert_eq!(f.run("KILL ALL RUNS"), "killed run 4");
    f.runs.wait(quern::base::RunId(4), Some(Duration::from_secs(10))).unwrap();
    assert_eq!(f.run("KILL ALL RUNS"), "no run to kill");
    assert_eq!(f.rows("SELECT DISTINCT state FROM quern.runs"), ["killed"]);
    assert_eq!(f.error("KILL RUNS 7"), "expected TAG, but there is `7` at line 1, column 11");
}

#[test]
fn functions_are_shown_described_and_dropped() {
    let f = numbers();
    assert_eq!(
        f.rows("SELECT component || '.' || proc, mode, doc FROM quern.procs ORDER BY 1"),
        [
            "numbers.broken|nondistributed|what broken does",
            "numbers.double|distributed|what double does",
            "numbers.endless|nondistributed|what endless does"
        ]
    );
    let sha256 = f.value("SELECT sha256 FROM quern.components");
    assert_eq!(
        f.rows("SHOW FUNCTION double"),
        [format!(
            "numbers.double|distributed|what double does|\
             CREATE OR REPLACE FUNCTION \"numbers\" MODE = 'distributed' FILE PATHS 'sha256:{sha256}'"
        )]
    );
    assert_eq!(f.rows("SHOW FUNCTIONS").len(), 3);
    assert_eq!(f.rows("SHOW FUNCTION numbers").len(), 3);
    assert_eq!(
        f.rows("DESCRIBE FUNCTION double"),
        [
            "numbers.double|distributed|[{\"name\":\"numbers\",\"doc\":\"\",\"columns\":[{\"name\":\"n\",\"type\":\"numeric\"}]}]|\
          [{\"name\":\"doubled\",\"doc\":\"\",\"columns\":[{\"name\":\"n2\",\"type\":\"int64\",\"nullable\":false}],\"models\":false}]|\
          [{\"name\":\"factor\",\"type\":\"int\",\"default\":\"2\",\"doc\":\"\"}]|what double does|1|NULL"
        ]
    );
    assert_eq!(f.error("SHOW FUNCTION doubel"), "no proc `doubel`; did you mean `double`?");
    assert_eq!(
        f.error("DROP FUNCTION double"),
        "proc `double` is part of component `numbers`; DROP FUNCTION \"numbers\" drops all of it"
    );
    assert_eq!(f.run("DROP FUNCTION numbers"), "dropped component `numbers`");
    assert_eq!(f.run("DROP FUNCTION IF EXISTS numbers"), "no component `numbers` to drop");
    assert_eq!(f.rows("SHOW FUNCTIONS").len(), 0);
}

#[test]
fn functions_are_altered_and_versions_activated() {
    let f = numbers();
    assert_eq!(f.run("ALTER FUNCTION double SET max_concurrency = 2"), "proc `numbers.double`: max_concurrency = 2");
    assert_eq!(f.value("SELECT max_concurrency FROM quern.procs WHERE proc = 'double'"), "2");
    assert!(f.rows("SHOW FUNCTION double")[0].ends_with(" WITH OPTIONS (max_concurrency = '2')"));
    f.run("ALTER FUNCTION numbers.double SET max_concurrency = none, handles = 5000");
    assert_eq!(f.value("SELECT max_concurrency FROM quern.procs WHERE proc = 'double'"), "NULL");
    assert_eq!(f.run("ALTER FUNCTION numbers ACTIVATE VERSION 1"), "component `numbers` version 1 is active");
    for (statement, message) in [
        ("numbers ACTIVATE VERSION 7", "component `numbers` has no version 7; it has 1"),
        (
            "double SET max_concurrency = 0",
            "max_concurrency of proc `numbers.double` must be 1 or more; `none` lifts the bound",
        ),
        ("double SET max_concurrency = few", "option max_concurrency: `few` is neither a whole number nor none"),
        ("double SET handels = 5", "no limit `handels`; did you mean `handles`?"),
        ("doubel SET handles = 5", "no proc `doubel`; did you mean `double`?"),
        (
            "double RENAME",
            "expected ACTIVATE VERSION n or SET option = value, but there is `RENAME` at line 1, column 23",
        ),
    ] {
        assert_eq!(f.error(&format!("ALTER FUNCTION {statement}")), message);
    }
}

#[test]
fn what_is_wrong_with_an_execution_is_said_before_it_begins() {
    let f = numbers();
    for (arguments, message) in [
        ("", "proc `double` reads 1 table"),
        ("INPUT_TABLE_NAMES => INPUT_TABLE(numbrs)", "no table `numbrs`; did you mean `numbers`?"),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), PARAMS => KV_PAIRS(facto = 1)",
            "no parameter `facto` in proc `double`; did you mean `factor`?",
        ),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), PARAMS => KV_PAIRS(factor = X'03')",
            "parameter `factor` takes int, not bytes; give it as --param factor=VALUE",
        ),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), PARAMS => KV_PAIRS(factor = X'3')",
            "parameter `factor`: X'…' takes two hexadecimal digits a byte",
        ),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), OPTIONS => KV_PAIRS(run_tg = 'x')",
            "no option `run_tg` in EXECUTE FUNCTION; did you mean `run_tag`?",
        ),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), OPTIONS => KV_PAIRS(device_bytes = 'x')",
            "option device_bytes: `x` is not a whole number",
        ),
        (
            "INPUT_TABLE_NAMES => INPUT_TABLE(numbers), OPTIONS => KV_PAIRS(wait = maybe)",
            "option wait: `maybe` is not true or false",
        ),
    ] {
        let found = f.error(&format!("EXECUTE FUNCTION double ({arguments})"));
        assert!(found.starts_with(message), "{arguments}: {found}");
    }
    assert_eq!(f.value("SELECT count(*) FROM quern.runs"), "0");
    let path = f.file("no.wasm");
    assert_eq!(
        f.error(&format!("CREATE FUNCTION f FILE PATHS '{}'", path.display())),
        format!("cannot read {}: No such file or directory (os error 2)", path.display())
    );
}

#[test]
fn a_component_its_owner_and_its_bounds_are_created_together_or_not_at_all() {
    let f = Folder::new();
    f.run("CREATE USER ana; GRANT CREATE FUNCTION TO ana");
    let path = f.file("clerk.wasm");
    std::fs::write(&path, crate::support::components::component("tests/proc/guest")).unwrap();
    let create = |bound: u64| {
        let path = path.display();
        format!("CREATE FUNCTION clerk FILE PATHS '{path}' WITH OPTIONS (max_concurrency = '{bound}')")
    };
    let refused = f.answer_to("ana", &create(0));
    assert!(
        refused.starts_with("max_concurrency of proc `clerk.")
            && refused.ends_with("must be 1 or more; `none` lifts the bound"),
        "{refused}"
    );
    assert_eq!(f.value("SELECT count(*) FROM quern.procs"), "0", "nothing of it is there");
    let created = f.answer_to("ana", &create(2));
    assert!(created.starts_with("created component `clerk` version 1 with "), "{created}");
    assert_eq!(f.rows("SELECT DISTINCT max_concurrency FROM quern.procs"), ["2"]);
    assert_eq!(f.rows("SHOW GRANTS FOR ana")[1], "ana|OWNER|function|clerk|true|ana");
}

#[test]
fn a_proc_with_one_output_is_read_as_a_table() {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE t (n bigint NOT NULL) SHARDS 2");
    f.run("INSERT INTO t SELECT value FROM generate_series(1, 100)");
    assert_eq!(
        f.value("SELECT count(*), sum(n2) FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t)))"),
        "100|10100"
    );
    assert_eq!(
        f.rows(
            "SELECT i.n, o.n2 FROM t i, TABLE(numbers.double(INPUT_TABLE_NAMES => INPUT_TABLE(SELECT n FROM t WHERE n < 40), \
             PARAMS => KV_PAIRS(factor = '3'))) o WHERE i.n = o.n2 AND i.n > 80 ORDER BY 1"
        ),
        ["81|81", "84|84", "87|87", "90|90", "93|93", "96|96", "99|99"]
    );
    assert_eq!(
        f.rows(
            "SELECT n2 % 10 AS last, count(*) FROM TABLE (double(INPUT_TABLE_NAMES => INPUT_TABLE(t))) \
             GROUP BY 1 ORDER BY 1 LIMIT 2"
        ),
        ["0|20", "2|20"]
    );
    f.run("CREATE TABLE kept AS SELECT n2 FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t))) o");
    assert_eq!(f.value("SELECT max(n2) FROM kept"), "200");
    assert_eq!(f.rows("SELECT table_name FROM quern.tables ORDER BY 1"), ["kept", "t"], "no other table is left");
    assert_eq!(f.rows("SELECT DISTINCT state FROM quern.runs"), ["complete"]);
    let runs = f.value("SELECT count(*) FROM quern.runs");
    f.rows("EXPLAIN SELECT * FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t)))");
    assert_eq!(f.value("SELECT count(*) FROM quern.runs"), runs, "a plan executes nothing");
}

#[test]
fn a_proc_read_as_a_table_stands_where_a_table_does() {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE t (n bigint NOT NULL) SHARDS 2");
    f.run("INSERT INTO t SELECT value FROM generate_series(1, 10)");
    let double = |input: &str| format!("TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE({input})))");
    let of_t = double("t");
    let runs = || f.value("SELECT count(*) FROM quern.runs").parse::<u64>().unwrap();
    assert_eq!(f.value(&format!("SELECT sum(n2) FROM (SELECT n2 FROM {of_t} WHERE n2 > 10) AS big")), "80");
    assert_eq!(f.rows(&format!("SELECT n FROM t WHERE n IN (SELECT n2 FROM {of_t}) ORDER BY n")).len(), 5);
    assert_eq!(f.value(&format!("WITH d AS (SELECT * FROM {of_t}) SELECT max(n2) FROM d")), "20");
    assert_eq!(f.run(&format!("DELETE FROM t WHERE n IN (SELECT n2 FROM {of_t})")), "deleted 5 rows from `t`");

    // In the arguments of another, as a query or as it is; each is executed once.
    let before = runs();
    let fourfold = double(&format!("SELECT n2 AS n FROM {of_t}"));
    assert_eq!(f.rows(&format!("SELECT n2 FROM {fourfold} ORDER BY 1")), ["4", "12", "20", "28", "36"]);
    assert_eq!(runs() - before, 2);
    let eightfold = double(&format!("SELECT n2 AS n FROM {fourfold} WHERE n2 < 30"));
    assert_eq!(f.rows(&format!("SELECT n2 FROM {eightfold} o ORDER BY 1")), ["8", "24", "40", "56"]);
    assert_eq!(runs() - before, 5);
    f.run(&format!(
        "EXECUTE FUNCTION double(INPUT_TABLE_NAMES => INPUT_TABLE(SELECT n2 AS n FROM {of_t}), \
         OUTPUT_TABLE_NAMES => OUTPUT_TABLES('kept'))"
    ));
    assert_eq!(f.value("SELECT sum(n2) FROM kept"), "100");
    assert_eq!(
        f.value("SELECT inputs FROM quern.runs ORDER BY run DESC LIMIT 1"),
        "[{\"columns\":null,\"query\":\"SELECT n2 AS n FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t)))\"}]",
        "the query of a run is whole, so that it can be executed again"
    );
    assert_eq!(f.rows("SELECT table_name FROM quern.tables ORDER BY 1"), ["kept", "t"], "no other table is left");
    assert_eq!(f.rows("SELECT DISTINCT state FROM quern.runs"), ["complete"]);
    assert_eq!(
        f.error(&format!("SELECT * FROM {}", double(&of_t))),
        "no column `n` in table `the query`; did you mean `n2`?"
    );
    assert_eq!(
        f.error(&format!(
            "SELECT * FROM {}",
            double("SELECT * FROM TABLE(duble(INPUT_TABLE_NAMES => INPUT_TABLE(t)))")
        )),
        "no proc `duble`; did you mean `double`?"
    );
}

#[test]
fn a_proc_that_cannot_be_read_as_a_table_says_why() {
    let f = Folder::new().with_procs();
    f.run("CREATE TABLE t (n bigint NOT NULL)");
    let mut wrong = Vec::new();
    for (statement, message) in [
        ("SELECT * FROM TABLE(duble())", "no proc `duble`; did you mean `double`?"),
        (
            "SELECT * FROM TABLE(broken())",
            "proc `broken` has 0 outputs; only a proc with one is read as a table, use EXECUTE FUNCTION",
        ),
        (
            "SELECT * FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t), OUTPUT_TABLE_NAMES => OUTPUT_TABLES('o')))",
            "TABLE(double(…)) gives its rows to the query; leave out OUTPUT_TABLE_NAMES",
        ),
        (
            "SELECT n3 FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(t))) o",
            "no column `n3` in table `o`; did you mean `n2`?",
        ),
        ("SELECT * FROM TABLE(double(INPUT_TABLE_NAMES => INPUT_TABLE(x)))", "no table `x`; did you mean `t`?"),
        ("SELECT * FROM TABLE(double(PARAMS => 3))", "expected KV_PAIRS, but there is `3` at line 1, column 38"),
    ] {
        super::bad_statements::check(&mut wrong, statement, &f.error(statement), message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
