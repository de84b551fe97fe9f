//! What a run leaves: all its rows, where they belong, or nothing.

use std::sync::{Arc, Barrier};

use quern::base::{ColumnType, Error, Sharding};
use quern::catalog::Declarations;
use quern::run::RunRequest;
use quern::storage::{AppendTo, RunState};

use super::fixture::{Folder, declare_square, input, made, numbers, square};

/// 1 … 20 over so many shards, unevenly: some are empty.
fn spread(shards: usize) -> Vec<Vec<i64>> {
    let mut parts = vec![Vec::new(); shards];
    for n in 1..=20 {
        parts[usize::try_from(n * n).unwrap() % shards].push(n);
    }
    parts
}

fn divided(folder: &Folder, name: &str, parts: &[Vec<i64>]) {
    folder.table(name, Sharding::Random, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

#[test]
fn missing_outputs_are_created_as_declared_or_like_their_input() {
    let folder = Folder::new();
    folder.proc("maths", declare_square, square);
    let declare = |declarations: &mut Declarations| {
        declarations.proc("copy", "distributed", "").unwrap();
        declarations.input("copy", "rows", "").unwrap();
        declarations.output("copy", "rows", "").unwrap();
    };
    folder.proc("copies", declare, |instance| Ok(made(instance, &input(instance, 0))));
    let declare = |declarations: &mut Declarations| {
        declarations.proc("fit", "nondistributed", "").unwrap();
        declarations.output("fit", "trained", "").unwrap();
        declarations.output_column("fit", "trained", ("loss", "float64", true)).unwrap();
        declarations.output_models("fit", "trained").unwrap();
    };
    folder.proc("fits", declare, |_| Ok(quern::run::Made::default()));
    divided(&folder, "t", &spread(3));
    for request in [
        RunRequest::new("square").input("t").output("squares"),
        RunRequest::new("copy").input("t").output("copied"),
        RunRequest::new("fit").output("models"),
    ] {
        let id = folder.runs.execute(request).unwrap();
        assert_eq!(folder.wait(id).run.error, None);
    }
    let snapshot = folder.storage.snapshot().unwrap();
    let squares = snapshot.table("squares").unwrap();
    assert_eq!((squares.shards, &squares.sharding), (3, &Sharding::Random));
    assert_eq!(squares.schema, numbers(&["y", "shard"]));
    assert_eq!(snapshot.table("copied").unwrap().schema, numbers(&["n"]));
    assert_eq!(folder.rows("copied"), spread(3));
    let models = snapshot.table("models").unwrap();
    assert_eq!(models.sharding, Sharding::Replicated);
    let columns: Vec<_> =
        models.schema.columns().iter().map(|c| (c.name.as_str(), &c.column_type, c.nullable)).collect();
    assert_eq!(
        columns,
        [
            ("model", &ColumnType::Binary, false),
            ("name", &ColumnType::Utf8, false),
            ("id", &ColumnType::Uuid, false),
            ("loss", &"float64".parse().unwrap(), true),
            ("date_time_created", &ColumnType::Timestamp, false),
        ]
    );
}

#[test]
fn a_failed_instance_fails_the_run_and_leaves_neither_rows_nor_table() {
    let folder = Folder::new();
    folder.proc("maths", declare_square, |instance| {
        if instance.descriptor.task.instance == 2 {
            return Err(Error::Invalid("no luck".into()));
        }
        // The others have to be stopped.
        instance.link.kill.sleep(std::time::Duration::from_secs(30))?;
        square(instance)
    });
    divided(&folder, "t", &spread(4));
    folder.table("kept", Sharding::Random, &[&[5]]);
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("new")).unwrap();
    let status = folder.wait(id);
    assert_eq!((status.run.state, status.run.error.as_deref()), (RunState::Error, Some("no luck")));
    let states: Vec<RunState> = status.instances.iter().map(|instance| instance.state).collect();
    assert_eq!(states, [RunState::Killed, RunState::Killed, RunState::Error, RunState::Killed]);
    let stopped = status.instances[0].message.as_deref();
    assert_eq!(stopped, Some("the run was killed by instance 2 of its run, which failed"));
    assert!(!folder.has_table("new"));
    assert_eq!(folder.rows("kept"), [[5]]);
}

#[test]
fn rows_that_come_while_a_run_executes_are_not_seen_by_it() {
    let folder = Folder::new();
    let barrier = Arc::new(Barrier::new(3));
    let inside = Arc::clone(&barrier);
    folder.proc("maths", declare_square, move |instance| {
        inside.wait();
        inside.wait();
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1, 2], &[3]]);
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
    barrier.wait();
    folder.append("t", &[4, 5, 6, 7]);
    barrier.wait();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("out"), [vec![1, 4], vec![9]]);
    assert_eq!(folder.sorted("t"), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_replicated_output_is_the_union_of_all_instances() {
    let folder = Folder::new();
    folder.proc("maths", declare_square, square);
    divided(&folder, "t", &spread(4));
    let mut write = folder.storage.begin();
    write.create_table("union", &numbers(&["y", "shard"]), Sharding::Replicated, 1).unwrap();
    write.commit().unwrap();
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("union")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("union").len(), 1);
    assert_eq!(folder.sorted("union"), (1..=20).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn a_key_that_belongs_to_another_shard_fails_the_run() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("shift", "distributed", "").unwrap();
        declarations.input("shift", "rows", "").unwrap();
        declarations.output("shift", "rows", "").unwrap();
        declarations.param("shift", "by", "int", Some("0"), "").unwrap();
    };
    folder.proc("shifts", declare, |instance| {
        let by: i64 = instance.descriptor.task.params.texts[0].1.parse().unwrap();
        Ok(made(instance, &input(instance, 0).iter().map(|n| n + by).collect::<Vec<_>>()))
    });
    let keyed = || Sharding::Key(vec!["n".into()]);
    let rows: Vec<i64> = (0..40).collect();
    folder.table("t", keyed(), &[&rows, &[], &[]]);
    folder.table("out", keyed(), &[&[], &[], &[]]);
    let request = RunRequest::new("shift").input("t").output("out");
    let id = folder.runs.execute(request.clone().param("by", "1")).unwrap();
    let status = folder.wait(id);
    assert_eq!(status.run.state, RunState::Error);
    assert!(status.run.error.unwrap().contains("`out`"));
    assert!(folder.sorted("out").is_empty());
    let id = folder.runs.execute(request).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.rows("out"), folder.rows("t"));
}

#[test]
fn two_runs_at_the_same_time_both_append_to_the_table_that_one_of_them_creates() {
    let folder = Folder::new();
    let barrier = Arc::new(Barrier::new(4));
    folder.proc("maths", declare_square, move |instance| {
        barrier.wait();
        square(instance)
    });
    folder.table("a", Sharding::Random, &[&[1], &[2]]);
    folder.table("b", Sharding::Random, &[&[3], &[4]]);
    let runs =
        ["a", "b"].map(|table| folder.runs.execute(RunRequest::new("square").input(table).output("out")).unwrap());
    for id in runs {
        assert_eq!(folder.wait(id).run.error, None);
    }
    assert_eq!(folder.sorted("out"), [1, 4, 9, 16]);
}

#[test]
fn an_output_that_was_dropped_or_made_anew_meanwhile_fails_the_run() {
    let folder = Folder::new();
    let barrier = Arc::new(Barrier::new(2));
    let inside = Arc::clone(&barrier);
    folder.proc("maths", declare_square, move |instance| {
        inside.wait();
        inside.wait();
        square(instance)
    });
    folder.table("t", Sharding::Random, &[&[1, 2]]);
    for again in [false, true] {
        let create = || {
            let mut write = folder.storage.begin();
            write.create_table("out", &numbers(&["y", "shard"]), Sharding::Random, 1).unwrap();
            write.commit().unwrap();
        };
        create();
        let id = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
        barrier.wait();
        let mut write = folder.storage.begin();
        write.drop_table("out").unwrap();
        write.commit().unwrap();
        if again {
            create();
        }
        barrier.wait();
        let status = folder.wait(id);
        assert_eq!(status.run.state, RunState::Error);
        assert!(status.run.error.unwrap().contains("`out`"));
        assert_eq!(folder.has_table("out"), again);
    }
    assert!(folder.sorted("out").is_empty());
}

#[test]
fn a_nondistributed_proc_sees_all_shards_in_order_and_its_rows_are_dealt() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("all", "nondistributed", "").unwrap();
        declarations.input("all", "rows", "").unwrap();
        declarations.output("all", "rows", "").unwrap();
    };
    folder.proc("alls", declare, |instance| {
        assert_eq!((instance.descriptor.task.instance, instance.descriptor.task.instances), (0, 1));
        Ok(made(instance, &input(instance, 0)))
    });
    folder.table("t", Sharding::Random, &[&[3, 4], &[], &[1]]);
    let id = folder.runs.execute(RunRequest::new("all").input("t").output("out")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.sorted("out"), [1, 3, 4]);
    assert_eq!(folder.storage.snapshot().unwrap().table("out").unwrap().shards, 4);
    folder.append("t", &[9]);
    let mut write = folder.storage.begin();
    let rows = [Ok::<_, Error>(
        folder
            .storage
            .snapshot()
            .and_then(|s| {
                let table = s.table("t")?;
                folder.storage.scan(&s, &table, Some(0), None)?.next().unwrap()
            })
            .unwrap(),
    )];
    write.append("t", AppendTo::Shard(2), rows).unwrap();
    write.commit().unwrap();
    let id = folder.runs.execute(RunRequest::new("all").input("t").output("out")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!(folder.sorted("out").len(), 3 + folder.sorted("t").len());
}

#[test]
fn rows_of_an_instance_stay_where_they_are_made_only_if_they_go_to_one_shard() {
    let folder = Folder::new();
    for mode in ["nondistributed", "distributed"] {
        let stays = Arc::new(std::sync::Mutex::new(Vec::new()));
        let declare = |declarations: &mut Declarations| {
            declarations.proc(mode, mode, "").unwrap();
            declarations.input(mode, "rows", "").unwrap();
            declarations.output(mode, "rows", "").unwrap();
        };
        let told = Arc::clone(&stays);
        folder.proc(&format!("{mode}s"), declare, move |instance| {
            told.lock().unwrap().push(instance.descriptor.outputs[0].stays);
            Ok(made(instance, &input(instance, 0)))
        });
        let name = |table: &str| format!("{table}_{mode}");
        folder.table(&name("from"), Sharding::Random, &[&[3], &[4]]);
        folder.table(&name("one"), Sharding::Random, &[&[]]);
        folder.table(&name("same"), Sharding::Random, &[&[], &[]]);
        folder.table(&name("other"), Sharding::Random, &[&[], &[], &[]]);
        folder.table(&name("replicated"), Sharding::Replicated, &[&[]]);
        for output in ["new", "one", "same", "other", "replicated"] {
            let request = RunRequest::new(mode).input(name("from")).output(name(output));
            let id = folder.runs.execute(request).unwrap();
            assert_eq!(folder.wait(id).run.error, None);
            let told = std::mem::take(&mut *stays.lock().unwrap());
            let expected = matches!((output, mode), ("one" | "replicated", _) | ("new" | "same", "distributed"));
            assert!(!told.is_empty() && told.iter().all(|stays| *stays == expected), "{mode} {output}: {told:?}");
        }
    }
}
