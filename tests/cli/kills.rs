//! `kill -9` while a run executes and commits: afterwards its outputs are all
//! there or none are, and the run says which.

use std::time::{Duration, Instant};

use super::Terminal;
use crate::support::repeats;

/// Rows of the input, and of each output.
const ROWS: u64 = 20_000;

#[test]
fn a_run_that_is_killed_with_its_process_has_all_its_outputs_or_none() {
    let terminal = Terminal::new();
    terminal.create("sum-of-squares", "udfs/sum-of-squares");
    let lines: String = (0..ROWS).map(|i| format!("{i},{}\n", i % 7)).collect();
    let file = terminal.file("points.csv", format!("a,b\n{lines}"));
    terminal.ok(&["import", &file, "--table", "points"]);
    let execute =
        |output: &str| terminal.start(&["proc", "execute", "sum_of_squares", "--input", "points", "--output", output]);
    let begun = Instant::now();
    assert_eq!(execute("whole").wait().code, 0);
    let whole = begun.elapsed();
    let kills = repeats(10, 200);
    let (mut complete, mut cut) = (0, 0);
    for kill in 0..kills {
        let output = format!("out{kill}");
        let process = execute(&output);
        // Most of the time passes before the commit, so that late moments come more often.
        let part = 1.2 - (1.0 - kill as f64 / kills as f64).powi(2);
        std::thread::sleep(whole.mul_f64(part).max(Duration::from_millis(1)));
        process.signal(libc::SIGKILL);
        process.wait();
        let known = format!("select count(*) from quern.runs where outputs like '%{output}%' and state = 'complete'");
        let ended = terminal.value(&known).as_u64().unwrap();
        let tables = terminal.value(&format!("select count(*) from quern.tables where table_name = '{output}'"));
        assert_eq!(tables.as_u64(), Some(ended), "the table and the run of {output} disagree");
        if ended == 1 {
            assert_eq!(terminal.value(&format!("select count(*) from {output}")).as_u64(), Some(ROWS));
            complete += 1;
        } else {
            cut += 1;
        }
        let open = "select count(*) from quern.runs where state in ('queued', 'running')";
        assert_eq!(terminal.value(open).as_u64(), Some(0));
    }
    println!("{kills} kills: {complete} runs complete, {cut} without any output");
    assert_eq!(terminal.value("select count(*) from whole").as_u64(), Some(ROWS));
}
