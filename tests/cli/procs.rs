//! Components on their way in: the report of `proc create`, versions, and code
//! that is never taken from a data folder.

use super::Terminal;
use crate::support::components::component;

#[test]
fn create_tells_what_each_step_found_and_a_dry_run_stores_nothing() {
    let terminal = Terminal::without_folder();
    let file = terminal.file("mnist.wasm", component("udfs/mnist"));
    let dry = terminal.ok(&["proc", "create", &file, "--dry-run"]);
    for line in [
        "imports    quern:udf@0.1.0: ",
        "exports    quern:udf@0.1.0: entry\n",
        "asks for   reads and writes the tables of its run · computes tensors · reads and writes models\n",
        "never has  SQL, network, files, clock, environment\n",
        "\ntrain (nondistributed)  ",
        "\n  param    epochs  int = 5  Passes over all images.\n",
        "\nwould create component `mnist` version 1; nothing was stored: mnist.train, mnist.infer, mnist.vote\n",
    ] {
        assert!(dry.contains(line), "{line:?} is not in\n{dry}");
    }
    assert!(!terminal.data().exists(), "a dry run makes no folder");
    let inspected = terminal.ok(&["proc", "inspect", &file]);
    assert!(inspected.contains("code       ") && inspected.contains("\ninfer (distributed)"), "{inspected}");
    let created = terminal.json(&["proc", "create", &file]);
    assert_eq!(created["change"], "created");
    assert_eq!(created["capabilities"]["never"][1], "network");
    assert_eq!(created["sha256"].as_str().unwrap().len(), 64);
    let again = terminal.json(&["proc", "create", &file, "--dry-run"]);
    assert_eq!((&again["change"], &again["purpose"]), (&"unchanged".into(), &"dry-run".into()));
}

#[test]
fn versions_are_added_listed_activated_executed_and_deleted() {
    let terminal = Terminal::new();
    let old = terminal.file("old.wasm", component("udfs/sum-of-squares"));
    let new = terminal.file("new.wasm", component("tests/bench/guest"));
    let create = |file: &str, more: &[&str]| {
        terminal.ok(&[&["proc", "create", file, "--name", "sums", "--quiet"], more].concat())
    };
    assert_eq!(create(&old, &[]), "created component `sums` version 1: sums.sum_of_squares\n");
    let added = create(&new, &["--inactive"]);
    assert!(added.starts_with("created component `sums` version 2, which is not active: sums."), "{added}");
    let versions = terminal.json(&["proc", "list", "--versions"]);
    let active: Vec<bool> = (0..2).map(|i| versions[i]["active"].as_bool().unwrap()).collect();
    assert_eq!(active, [true, false]);
    // The version that is not active is executed by its number, and the run says which it was.
    terminal.ok(&["sql", "create table t as select 3.0 as x"]);
    assert_eq!(terminal.ok(&["proc", "activate", "sums", "2"]), "component sums version 2 is active\n");
    let run = terminal.json(&["proc", "execute", "sums.sum_of_squares", "--version", "1", "-i", "t", "-o", "o"]);
    assert_eq!(run["sha256"], versions[0]["sha256"]);
    assert_eq!(terminal.value("select y from o"), 9.0);
    assert_eq!(
        terminal.error(&["proc", "execute", "sums.sum_of_squares", "-i", "t", "-o", "o"])[0],
        "error: no proc `sum_of_squares` in component `sums`"
    );
    assert_eq!(
        terminal.error(&["proc", "delete", "sums", "--version", "2"]),
        [
            "error: version 2 of component `sums` is active; activate another version first, or delete the whole component"
        ]
    );
    assert_eq!(terminal.ok(&["proc", "delete", "sums", "--version", "1"]), "deleted component sums version 1\n");
    assert_eq!(
        terminal.error(&["proc", "activate", "sums", "1"]),
        ["error: component `sums` has no version 1; it has 2"]
    );
}

#[test]
fn statements_create_functions_from_files_and_from_versions_that_are_stored() {
    let terminal = Terminal::new();
    let (old, new) = (component("udfs/sum-of-squares"), component("tests/bench/guest"));
    let (old, new) = (terminal.file("old.wasm", old), terminal.file("new.wasm", new));
    let create = |how: &str, from: &str| format!("create {how} function sums file paths '{from}'");
    let made = terminal.ok(&["sql", &format!("{} with options (max_concurrency_per_node='3')", create("", &old))]);
    assert!(made.starts_with("created component `sums` version 1 with sum_of_squares: it can use "), "{made}");
    assert_eq!(terminal.value("select max_concurrency from quern.procs"), 3);
    assert_eq!(terminal.error(&["sql", &create("", &new)]), ["error: component `sums` exists already"]);
    let replaced = terminal.ok(&["sql", &create("or replace", &new)]);
    assert!(replaced.starts_with("created component `sums` version 2 with "), "{replaced}");
    let sha256 = terminal.value("select sha256 from quern.components where version = 1");
    let stored = format!("sha256:{}", sha256.as_str().unwrap());
    let back = terminal.ok(&["sql", &create("or replace", &stored)]);
    assert!(back.starts_with("these bytes are component `sums` version 1, which is active again"), "{back}");
}

#[test]
fn a_bound_on_concurrent_instances_is_set_at_creation_or_later() {
    let terminal = Terminal::new();
    let file = terminal.file("sums.wasm", component("udfs/sum-of-squares"));
    terminal.ok(&["proc", "create", &file, "--max-concurrency", "sum_of_squares=2"]);
    assert!(terminal.ok(&["proc", "show", "sums"]).contains("\nsum_of_squares: at most 2 instances at a time\n"));
    let altered = terminal.ok(&["proc", "alter", "sum_of_squares", "--max-concurrency", "none"]);
    assert_eq!(altered, "sums.sum_of_squares: as many instances at a time as there are places\n");
    let alter = |limit: &str| terminal.ok(&["proc", "alter", "sum_of_squares", "--limit", limit]);
    assert_eq!(alter("device_bytes=1MiB"), "sums.sum_of_squares: limit device_bytes 1048576\n");
    let shown = terminal.ok(&["proc", "show", "sums"]);
    assert!(shown.contains("sum_of_squares: limit device_bytes 1048576\n"), "{shown}");
    assert!(shown.contains("  output   sums  (id int64 null, y float64)"), "{shown}");
    assert_eq!(alter("device_bytes=none"), "sums.sum_of_squares: limit device_bytes as in the folder\n");
    assert_eq!(terminal.json(&["proc", "show", "sums"])["max_concurrency"], serde_json::json!({}));
    assert_eq!(terminal.quern(&["proc", "alter", "sums.x", "--max-concurrency", "0"]).code, 2);
    assert_eq!(
        terminal.error(&["proc", "create", &file, "--max-concurrency", "sum=2"])[0],
        "error: no proc `sum` in component `sums`"
    );
}

#[test]
fn code_in_a_data_folder_is_never_loaded_and_a_changed_cache_file_is_made_anew() {
    let terminal = Terminal::new();
    let cache = terminal.path("cache");
    let compiled = cache.join("quern/compiled");
    let quern = |arguments: &[&str]| {
        let output = terminal.command(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap();
        super::Answer::of(output)
    };
    let file = terminal.file("sums.wasm", component("udfs/sum-of-squares"));
    assert_eq!(quern(&["proc", "create", &file]).code, 0);
    assert_eq!(quern(&["sql", "create table t as select 3.0 as x"]).code, 0);
    let kept: Vec<_> = std::fs::read_dir(&compiled).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [code] = &kept[..] else { panic!("{kept:?}") };
    // Whole, rightly named, with a checksum that holds: but it lies in the folder.
    let planted = terminal.data().join("code");
    std::fs::create_dir_all(&planted).unwrap();
    std::fs::rename(code, planted.join(code.file_name().unwrap())).unwrap();
    let execute = ["proc", "execute", "sum_of_squares", "-i", "t", "-o", "o"];
    assert_eq!(quern(&execute).code, 0);
    let made_anew = std::fs::read(code).expect("it was compiled again");
    let mut changed = made_anew.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(code, &changed).unwrap();
    assert_eq!(quern(&execute).code, 0);
    assert_eq!(std::fs::read(code).unwrap().len(), made_anew.len());
    assert_ne!(std::fs::read(code).unwrap(), changed);
    assert_eq!(terminal.value("select sum(y) from o"), 18.0);
}
