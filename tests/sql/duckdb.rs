//! The same statements in Quern and in DuckDB give the same rows.

use std::io::Write;
use std::process::{Command, Stdio};

use quern::sql::format::{Output, write_rows};

use super::fixture::Folder;

/// Runs a query in DuckDB over a CSV file, as CSV with a header.
fn duckdb(csv: &std::path::Path, query: &str) -> String {
    let program = "
import csv, duckdb, sys
path, query = sys.argv[1], sys.stdin.read()
db = duckdb.connect()
db.execute(f\"CREATE TABLE t AS SELECT * FROM read_csv('{path}', header=true)\")
rows = db.execute(query)
out = csv.writer(sys.stdout, lineterminator='\\n')
out.writerow([d[0] for d in rows.description])
for row in rows.fetchall():
    out.writerow([str(v).lower() if isinstance(v, bool) else v for v in row])
";
    let mut child = Command::new(crate::support::python())
        .args(["-c", program])
        .arg(csv)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{query}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn queries_over_an_imported_csv_agree_with_duckdb() {
    let f = Folder::new();
    let path = f.file("t.csv");
    let mut text = String::from("id,grp,score,day,name,flag\n");
    for id in 0..2000u32 {
        let score = if id % 17 == 0 { String::new() } else { format!("{}", f64::from(id * 7919 % 1000) / 8.0) };
        let quoted = if id % 5 == 0 { format!("\"a, {id} \"\"q\"\"\"") } else { format!("n{id}") };
        let flag = id % 3 == 0;
        text.push_str(&format!("{id},{},{score},2024-0{}-1{},{quoted},{flag}\n", id % 13, 1 + id % 9, id % 10));
    }
    std::fs::write(&path, text).unwrap();
    f.run(&format!("IMPORT '{}' INTO t", path.display()));
    for query in [
        "SELECT count(*) AS n, count(score) AS s, min(name) AS a, max(name) AS b FROM t",
        "SELECT grp, count(*) AS n, sum(score) AS s, avg(score) AS m FROM t GROUP BY grp ORDER BY grp",
        "SELECT day, count(*) AS n FROM t WHERE flag GROUP BY day ORDER BY day",
        "SELECT a.id, b.id AS other FROM t a JOIN t b ON a.id = b.grp AND a.grp = b.id % 7 ORDER BY a.id, b.id LIMIT 50",
        "SELECT id, score, row_number() OVER (PARTITION BY grp ORDER BY score DESC NULLS LAST, id) AS r FROM t ORDER BY id LIMIT 100",
        "SELECT grp, CASE WHEN score > 50 THEN 'high' WHEN score IS NULL THEN 'none' ELSE 'low' END AS c, \
         count(*) AS n FROM t GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT id FROM t WHERE name LIKE 'n1_9' AND NOT flag ORDER BY id",
        "SELECT count(DISTINCT day) AS d, median(id) AS m, stddev(id) > 500 AS s FROM t",
        "SELECT coalesce(score, -1) AS c, upper(name) AS u, length(name) AS l FROM t WHERE id < 40 AND name NOT LIKE 'a%' ORDER BY id",
    ] {
        let quern::sql::Answer::Rows(rows) = f.answer(query) else { panic!("no rows") };
        let mut ours = Vec::new();
        write_rows(rows, Output::Csv, &mut ours).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), duckdb(&path, query), "{query}");
    }
}
