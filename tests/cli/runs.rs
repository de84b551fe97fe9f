//! Procs and runs: executed in the foreground, behind a server, in the
//! background; followed and killed from a second terminal.

use serde_json::{Value, json};

use super::{Process, Terminal, wait_until};

fn hostile() -> Terminal {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    terminal
}

/// Starts a run that never ends, in the foreground, and waits until it runs.
fn endless(terminal: &Terminal) -> Process {
    let first = terminal.hold(&["proc", "execute", "hostile.loops_forever", "--tag", "endless"]);
    wait_until("the run is running", || running(terminal).len() == 1);
    first
}

fn running(terminal: &Terminal) -> Vec<Value> {
    terminal.json(&["run", "list", "--state", "running"]).as_array().unwrap().clone()
}

#[test]
fn a_run_in_the_foreground_shows_its_results_and_receipt() {
    let terminal = Terminal::new();
    terminal.create("sum-of-squares", "udfs/sum-of-squares");
    let file = terminal.file("points.csv", "a,b\n1,2\n3,4\n");
    terminal.ok(&["import", &file, "--table", "points"]);
    let show = terminal.ok(&["proc", "show", "sum-of-squares"]);
    assert!(show.contains("(distributed)"), "{show}");
    let proc = terminal.json(&["proc", "list"])[0]["procs"][0]["name"].as_str().unwrap().to_owned();
    let run = terminal.json(&["proc", "execute", &proc, "--input", "points", "--output", "sums", "--seed", "5"]);
    assert_eq!((&run["state"], &run["seed"], &run["tag"]), (&json!("complete"), &json!(5), &Value::Null));
    assert_eq!(run["instances"].as_array().unwrap().len(), 4, "one per shard");
    let rows: u64 =
        run["instances"].as_array().unwrap().iter().map(|i| i["receipt"]["rows_out"].as_u64().unwrap()).sum();
    assert_eq!(rows, 2);
    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("inputs     points\n"), "{shown}");
    assert!(shown.contains("guest mem"), "{shown}");
}

#[test]
fn a_second_terminal_lists_follows_and_kills_a_run() {
    let terminal = hostile();
    let first = endless(&terminal);
    let run = &running(&terminal)[0];
    assert_eq!((&run["id"], &run["proc"], &run["tag"]), (&json!(1), &json!("loops_forever"), &json!("endless")));
    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("instance 0 running") && !shown.contains("guest mem"), "no receipt before the end: {shown}");
    let follower = terminal.start(&["run", "logs", "1", "-f"]);
    assert_eq!(terminal.ok(&["run", "kill", "1"]), "killed run 1\n");
    assert_eq!(follower.wait().code, 0, "following ends with the run");
    let answer = first.wait();
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("error: run 1: the run was killed by `quern run kill`"), "{answer:?}");
    assert_eq!(terminal.json(&["run", "show", "1"])["state"], "killed");
    let lines = terminal.error(&["run", "kill", "1"]);
    assert_eq!(lines, ["error: run 1 has ended already: killed"]);
}

#[test]
fn runs_are_killed_by_tag_or_all_together() {
    let terminal = hostile();
    let _server = terminal.serve();
    for tag in ["a", "b", "a"] {
        terminal.ok(&["proc", "execute", "hostile.loops_forever", "--tag", tag]);
    }
    assert_eq!(terminal.ok(&["run", "kill", "--tag", "a"]), "killed run 1\nkilled run 3\n");
    assert_eq!(terminal.error(&["run", "kill", "--tag", "c"]), ["error: no run with tag `c` is queued or running"]);
    assert_eq!(running(&terminal).len(), 1, "what was said to be killed has ended");
    assert_eq!(terminal.ok(&["run", "kill", "--all"]), "killed run 2\n");
}

#[test]
fn a_file_is_a_parameter_and_bytes_are_a_result() {
    let terminal = Terminal::new();
    terminal.create("guest", "tests/run/guest");
    let points = terminal.file("points.csv", "a\n1\n2\n3\n");
    terminal.ok(&["import", &points, "--table", "points", "--shards", "2"]);
    let picture = terminal.file("picture", [0, 255, 10]);
    let run = ["proc", "execute", "guest.echo", "--input", "points"];
    let param = format!("picture={picture}");
    let out = terminal.ok(&[&run[..], &["--param-file", &param]].concat());
    assert!(out.contains("merged      picture = 9 B\n"), "{out}");
    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("results    picture = 9 B, words = 3 B\n"), "{shown}");
    assert!(shown.contains("params     picture = 3 B, words = 3 B\n"), "{shown}");
    assert_eq!(
        terminal.json(&["run", "show", "1"])["results"],
        json!({"picture": {"bytes": 9}, "words": {"bytes": 3}})
    );
    let file = terminal.path("result").to_str().unwrap().to_owned();
    terminal.ok(&["run", "result", "1", "picture", "-o", &file]);
    assert_eq!(std::fs::read(&file).unwrap(), [0, 255, 10].repeat(3));
    assert_eq!(terminal.ok(&["run", "result", "1", "words", "--instance", "1"]), "abc");
    assert_eq!(
        terminal.error(&["run", "result", "1", "pictur"]),
        ["error: no result `pictur` in run 1; did you mean `picture`?"]
    );
    let missing = terminal.path("none").to_str().unwrap().to_owned();
    assert_eq!(
        terminal.error(&[&run[..], &["--param-file", &format!("picture={missing}")]].concat()),
        [format!("error: cannot read {missing} for parameter `picture`: No such file or directory (os error 2)")]
    );
    let text =
        "EXECUTE FUNCTION guest.echo (INPUT_TABLE_NAMES => INPUT_TABLE(points), PARAMS => KV_PAIRS(picture = X'00Ff'))";
    terminal.ok(&["sql", text]);
    let query = "SELECT encode(bytes, 'hex') FROM quern.results WHERE run = 2 AND shard IS NULL AND name = 'picture'";
    assert_eq!(terminal.value(query), "00ff00ff00ff");
}

#[test]
fn an_input_is_a_table_some_of_its_rows_or_a_query() {
    let terminal = Terminal::new();
    terminal.create("sum-of-squares", "udfs/sum-of-squares");
    let file = terminal.file("points.csv", "a,b\n1,2\n3,4\n5,6\n");
    terminal.ok(&["import", &file, "--table", "points", "--shards", "2"]);
    let rows = |input: &str, output: &str| {
        terminal.ok(&["proc", "execute", "sum_of_squares", "--input", input, "--output", output]);
        terminal.value(&format!("select count(*) from \"{output}\"")).as_i64().unwrap()
    };
    assert_eq!(rows("points where a < 4", "filtered"), 2);
    assert_eq!(rows("points:a,b WHERE b > 4 and a > 0", "projected"), 1);
    assert_eq!(rows("select a, b from points limit 1", "queried"), 1);
    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("inputs     points where a < 4\n"), "{shown}");
    let error = |input: &str| terminal.error(&["proc", "execute", "sum_of_squares", "--input", input, "--output", "o"]);
    assert_eq!(error("points where c < 4")[0], "error: no column `c` in table `points`; did you mean `a`?");
    assert_eq!(error("point where a < 4"), ["error: no table `point`; did you mean `points`?"]);
    assert_eq!(error("points:x where a < 4")[0], "error: no column `x` in table `points`; did you mean `a`?");
    assert_eq!(error("points where a < 4; drop table points").len(), 1);
    assert_eq!(
        error("select a, b from points; drop table points")[0],
        "error: an input is a table or one query, not `select a, b from points; drop table points`"
    );
    assert_eq!(terminal.value("select count(*) from points"), 3);
}

#[test]
fn a_sweep_makes_many_runs_and_sums_them_up() {
    let terminal = Terminal::new();
    terminal.create("guest", "tests/run/guest");
    let sweep = ["proc", "execute", "big_result", "--sweep", "bytes=1..5", "--sweep", "seed=1,2", "--tag", "grid"];
    let out = terminal.ok(&sweep);
    assert!(out.starts_with("10 runs with tag grid: 10 complete, 0 failed, 0 killed in "), "{out}");
    let params = "select seed, params from quern.runs where tag = 'grid' order by run limit 3";
    let rows = terminal.json(&["sql", params]);
    assert_eq!((&rows[1]["seed"], &rows[1]["params"]), (&json!(2), &json!({"bytes": "1"})), "{rows}");
    let file = terminal.file("points.csv", "bytes,seed\n7,1\n8,2\n");
    let summary = terminal.json(&["proc", "execute", "big_result", "--sweep-file", &file]);
    assert_eq!((&summary["runs"], &summary["complete"], &summary["failed"]), (&json!(2), &json!(2), &json!(0)));
    let file = terminal.file("points.json", "[{\"bytes\": 9}, {\"bytes\": 20000000}]");
    let lines = terminal.error(&["proc", "execute", "big_result", "--sweep-file", &file]);
    assert!(lines.last().unwrap().starts_with("error: 1 of 2 runs failed; run 14: "), "{lines:?}");
    let lines = terminal.error(&["proc", "execute", "big_result", "--sweep", "bytes=a..b"]);
    assert_eq!(lines, ["error: `--sweep bytes=a..b`: write a range as FIRST..LAST, or values as A,B,C"]);
}

#[test]
fn limits_of_a_folder_are_set_where_it_is_opened() {
    let terminal = Terminal::new();
    terminal.create("guest", "tests/run/guest");
    let sweep = ["proc", "execute", "big_result", "--sweep", "bytes=1..5"];
    let limited = |limit: &'static str| [&["--folder-limit", limit], &sweep[..]].concat();
    assert_eq!(
        terminal.error(&limited("queued_runs=4")),
        ["error: limit `queued_runs`: 5 runs asked, 4 runs allowed; \
         it holds for the whole folder; raise it with --folder-limit queued_runs=N where the folder is opened"]
    );
    assert_eq!(terminal.json(&["run", "list"]), json!([]));
    // Those of runs are their defaults.
    let lines = terminal.error(&limited("results_bytes=5"));
    assert!(lines.last().unwrap().contains("6 bytes asked, 5 bytes allowed"), "{lines:?}");
    assert_eq!(
        terminal.error(&limited("running_instances=257")),
        ["error: limit `running_instances`: 257 instances asked, 256 instances allowed; \
         ask for 1 to 256: so many have places in one process"]
    );
    let answer = terminal.quern(&limited("queued_run=1"));
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("no limit `queued_run`; did you mean `queued_runs`?"), "{answer:?}");
    let out = terminal.command(&sweep).env("QUERN_LIMITS", "queued_runs=5,running_instances=1").output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let out = terminal.command(&sweep).env("QUERN_LIMITS", "running_instances=1,queued_runs=3").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("5 runs asked, 3 runs allowed"), "{out:?}");

    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("guest.big_result  (version 1, "), "{shown}");
    assert!(shown.contains("  moved out  gathered  guest mem"), "{shown}");
    assert_eq!(terminal.value("select version from quern.runs where run = 1"), json!(1));
    assert_eq!(terminal.value("select sum(gathered_bytes) from quern.receipts"), json!(0));
}

#[test]
fn a_run_for_start_up_is_executed_whenever_a_server_opens_the_folder() {
    let terminal = Terminal::new();
    terminal.create("guest", "tests/run/guest");
    let stored = "stored as 1; it is executed whenever `quern serve` opens the folder\n";
    assert_eq!(terminal.ok(&["proc", "execute", "empty", "--tag", "boot", "--at-startup"]), stored);
    let text =
        "EXECUTE FUNCTION big_result (PARAMS => KV_PAIRS(bytes = 3), OPTIONS => KV_PAIRS(execute_at_startup = true))";
    terminal.ok(&["sql", text]);
    assert_eq!(terminal.json(&["run", "list"]), json!([]), "nothing is executed now");
    let lines = terminal.error(&["proc", "execute", "big_result", "--at-startup"]);
    assert_eq!(lines, ["error: proc `big_result` needs parameter `bytes` (int), which has no default"]);
    let lines = terminal.error(&["proc", "execute", "empty", "--at-startup", "--output", "t"]);
    assert_eq!(lines, ["error: proc `empty` appends to 0 tables, 1 was given"]);
    for boots in 1..=2 {
        let server = terminal.serve();
        wait_until("both have run", || {
            let runs = terminal.json(&["run", "list", "--state", "complete"]);
            runs.as_array().unwrap().len() == 2 * boots
        });
        server.signal(libc::SIGTERM);
        server.wait();
    }
    let listed = terminal.json(&["run", "list", "--startup"]);
    assert_eq!((&listed[0]["proc"], &listed[0]["last_run"]), (&json!("guest.empty"), &json!(3)), "{listed}");
    assert_eq!(terminal.value("select last_run from quern.startup where id = 2"), 4);
    assert_eq!(terminal.ok(&["run", "kill", "--startup", "1"]), "cancelled 1\n");
    assert_eq!(
        terminal.error(&["run", "kill", "--startup", "1"])[0],
        "error: no request for start-up `1`; did you mean `2`?"
    );
    terminal.ok(&["proc", "delete", "guest"]);
    let _server = terminal.serve();
    wait_until("it was tried", || terminal.value("select last_error from quern.startup") == "no proc `big_result`");
    assert_eq!(terminal.ok(&["sql", "KILL STARTUP 2"]).trim(), "cancelled 2 for start-up");
    assert_eq!(terminal.json(&["run", "list", "--startup"]), json!([]));
}

#[test]
fn a_run_is_watched_until_it_ends() {
    let terminal = hostile();
    assert_eq!(
        terminal.error(&["run", "watch"]),
        ["error: no run is queued or running; `quern run watch RUN` shows one that has ended"]
    );
    let first = endless(&terminal);
    let watching = terminal.start(&["run", "watch"]);
    let json = terminal.start(&["--json", "run", "watch", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.ok(&["run", "kill", "1"]);
    let answer = watching.wait();
    assert_eq!(answer.code, 1, "{answer:?}");
    let lines: Vec<&str> = answer.out.lines().collect();
    assert_eq!(lines[0], "instance 0  running", "{answer:?}");
    assert!(lines[1].starts_with("instance 0  killed    the run was killed by `quern run kill`"), "{answer:?}");
    assert!(lines[2].starts_with("run 1  hostile.loops_forever  killed  "), "{answer:?}");
    let answer = json.wait();
    let states: Vec<Value> = answer.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(states.first().unwrap()["state"], "running");
    assert_eq!(states.last().unwrap()["instances"][0]["state"], "killed");
    first.wait();
    let shown = terminal.ok(&["run", "show", "1"]);
    assert!(shown.contains("times      queue ") && shown.contains(", instances "), "{shown}");
    assert_eq!(terminal.value("select queue_ms >= 0 and commit_ms is null from quern.runs"), json!(true));
}

#[test]
fn ctrl_c_kills_the_run_in_the_foreground() {
    let terminal = hostile();
    let first = endless(&terminal);
    first.signal(libc::SIGINT);
    let answer = first.wait();
    assert_eq!(answer.code, 130, "{answer:?}");
    let run = terminal.json(&["run", "show", "1"]);
    assert_eq!((&run["state"], &run["error"]), (&json!("killed"), &json!("the run was killed by Ctrl-C")));
}

#[test]
fn ctrl_c_leaves_runs_of_other_terminals_to_their_end() {
    let terminal = hostile();
    let first = endless(&terminal);
    terminal.ok(&["proc", "execute", "hostile.loops_forever", "--detach"]);
    wait_until("both runs are running", || running(&terminal).len() == 2);
    first.signal(libc::SIGINT);
    wait_until("its own run has ended", || running(&terminal).len() == 1);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(running(&terminal).len(), 1, "the other goes on");
    terminal.ok(&["run", "kill", "2"]);
    let answer = first.wait();
    assert_eq!(answer.code, 130, "{answer:?}");
    assert!(answer.err.ends_with("waiting for 1 run that other terminals started; Ctrl-C ends them\n"), "{answer:?}");
    let run = terminal.json(&["run", "show", "2"]);
    let error = run["error"].as_str().unwrap();
    assert!(error.starts_with("the run was killed by `quern run kill` of process "), "{error}");
    let listed = terminal.json(&["run", "list"]);
    assert_eq!((&listed[0]["version"], &listed[1]["version"]), (&json!(1), &json!(1)));
}

#[test]
fn ctrl_c_on_execute_function_kills_the_run_or_says_that_it_goes_on() {
    let terminal = hostile();
    let endless = ["sql", "execute function hostile.loops_forever()"];
    let interrupted = |client: Process| {
        wait_until("the run is running", || running(&terminal).len() == 1);
        // What the client waits for is told as soon as it is queued.
        std::thread::sleep(std::time::Duration::from_millis(300));
        client.signal(libc::SIGINT);
        client.wait()
    };
    let answer = interrupted(terminal.hold(&endless));
    assert_eq!((answer.code, answer.err.as_str()), (130, ""), "{answer:?}");
    let run = terminal.json(&["run", "show", "1"]);
    assert_eq!((&run["state"], &run["error"]), (&json!("killed"), &json!("the run was killed by Ctrl-C")));

    let _server = terminal.serve();
    let answer = interrupted(terminal.start(&endless));
    assert_eq!((answer.code, answer.err.as_str()), (130, "run 2 goes on; `quern run kill 2` stops it\n"), "{answer:?}");
    assert_eq!(running(&terminal).len(), 1, "the server still executes it");
    terminal.ok(&["run", "kill", "2"]);
}

#[test]
fn ctrl_c_leaves_what_a_server_executes_to_it() {
    let terminal = hostile();
    let _server = terminal.serve();
    for (more, left) in [
        (vec!["--wait"], "run 1 goes on; `quern run kill 1` stops it\n"),
        (
            vec!["--wait", "--sweep", "seed=1..2", "--tag", "many"],
            "the runs with tag many go on; `quern run kill --tag many` stops them\n",
        ),
    ] {
        let client = terminal.start(&[&["proc", "execute", "hostile.loops_forever"], more.as_slice()].concat());
        wait_until("a run is running", || !running(&terminal).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(300));
        client.signal(libc::SIGINT);
        let answer = client.wait();
        assert_eq!((answer.code, answer.err.as_str()), (130, left), "{answer:?}");
        assert!(!running(&terminal).is_empty(), "the server still executes it");
        terminal.ok(&["run", "kill", "--all"]);
        wait_until("no run is running", || running(&terminal).is_empty());
    }
}

#[test]
fn the_signal_that_ended_a_run_is_recorded() {
    let terminal = hostile();
    for (signal, code, name) in
        [(libc::SIGTERM, 143, "SIGTERM"), (libc::SIGHUP, 129, "SIGHUP, the end of the terminal")]
    {
        let first = endless(&terminal);
        first.signal(signal);
        let answer = first.wait();
        assert_eq!(answer.code, code, "{answer:?}");
        let run = &terminal.json(&["run", "list", "-n", "1"])[0];
        assert_eq!((&run["state"], &run["error"]), (&json!("killed"), &json!(format!("the run was killed by {name}"))));
    }
}

#[test]
fn behind_a_server_a_run_is_asynchronous_unless_waited_for() {
    let terminal = hostile();
    let _server = terminal.serve();
    assert_eq!(terminal.ok(&["proc", "execute", "hostile.loops_forever"]), "run 1 started\n");
    wait_until("the run is running", || running(&terminal).len() == 1);
    terminal.ok(&["run", "kill", "1"]);
    let lines = terminal.error(&["proc", "execute", "hostile.returns_error", "--wait", "--param", "message=too bad"]);
    assert_eq!(
        lines.last().unwrap(),
        "error: run 2: proc `returns_error` returned an error (invalid-argument): too bad"
    );
}

#[test]
fn a_detached_run_goes_on_without_its_terminal() {
    let terminal = hostile();
    assert_eq!(terminal.json(&["proc", "execute", "hostile.loops_forever", "--detach"]), json!({ "run": 1 }));
    wait_until("the run is running", || running(&terminal).len() == 1);
    terminal.ok(&["run", "kill", "1"]);
    let pid: i32 = std::fs::read_to_string(terminal.data().join("quern.lock")).unwrap().trim().parse().unwrap();
    // SAFETY: only asks a process, the background server that was started above, to end.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    wait_until("the background server has left", || !terminal.data().join("quern.sock").exists());
}

#[test]
fn a_deadline_ends_a_run() {
    let terminal = hostile();
    let lines = terminal.error(&["proc", "execute", "hostile.loops_forever", "--deadline", "200ms"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("limit `deadline_ms`") && lines[0].contains("200 ms allowed"), "{lines:?}");
}

#[test]
fn a_deleted_component_can_no_longer_be_executed() {
    let terminal = hostile();
    assert_eq!(terminal.ok(&["proc", "delete", "hostile"]), "deleted component hostile\n");
    assert_eq!(terminal.json(&["proc", "list"]), json!([]));
    let lines = terminal.error(&["proc", "execute", "hostile.panics"]);
    assert!(lines[0].starts_with("error: no component `hostile`"), "{lines:?}");
}

#[test]
fn the_same_bytes_again_change_nothing() {
    let terminal = hostile();
    let file = terminal.path("hostile.wasm").to_str().unwrap().to_owned();
    let again = terminal.ok(&["proc", "create", &file, "--quiet"]);
    assert!(again.starts_with("these bytes are component `hostile` version 1 already; nothing changes: "), "{again}");
}

#[test]
fn inspection_tells_what_a_component_may_do() {
    let terminal = hostile();
    let file = terminal.path("hostile.wasm").to_str().unwrap().to_owned();
    let text = terminal.ok(&["proc", "inspect", &file]);
    assert!(text.contains("never has  SQL, network, files, clock, environment"), "{text}");
    assert!(text.contains("imports    quern:udf@0.1.0: ") && text.contains("loops_forever (nondistributed)"), "{text}");
}

#[test]
fn a_result_of_the_only_instance_needs_no_shard() {
    let terminal = Terminal::new();
    terminal.create("guest", "tests/run/guest");
    terminal.ok(&["proc", "execute", "guest.big_result", "--param", "bytes=3"]);
    assert_eq!(terminal.ok(&["run", "result", "1", "zeros"]), "\0\0\0");
    assert_eq!(terminal.quern(&["run", "list", "--tag", "t"]).err, "no run is like that; `quern run list` lists all\n");
    let unknown = terminal.quern(&["proc", "execute", "guest.big_result", "-p", "bytes=3", "--limit", "wall=1s"]);
    assert!(
        unknown.err.contains(": no limit `wall`; there are ") && unknown.err.contains("deadline_ms"),
        "{unknown:?}"
    );
}
