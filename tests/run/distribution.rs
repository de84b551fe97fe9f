//! Distributed procs: the same rows for any division of their inputs, instances
//! side by side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use quern::base::{Limits, Sharding};
use quern::catalog::Declarations;
use quern::run::RunRequest;

use super::fixture::{Folder, declare_square, input, made, square};
use crate::support::repeats;

/// Rows 1 … n in so many shards as a test's generator deals them; some shards are empty.
fn dealt(rows: i64, shards: u32, seed: u64) -> Vec<Vec<i64>> {
    let mut parts = vec![Vec::new(); shards as usize];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 1..=rows {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Skewed, so that small tables leave shards empty.
        let shard = (state >> 33) % u64::from(shards) * ((state >> 60) % 2);
        parts[usize::try_from(shard).unwrap()].push(n);
    }
    parts
}

#[test]
fn rows_of_a_row_wise_proc_do_not_depend_on_how_its_input_is_divided() {
    let folder = Folder::new();
    folder.proc("maths", declare_square, square);
    let mut instances = BTreeMap::new();
    for shards in 1..=8 {
        for (i, rows) in [0, 1, 5, 50].into_iter().enumerate() {
            for seed in 0..repeats(1, 10) {
                let parts = dealt(rows, shards, seed);
                let all: Vec<i64> = parts.concat();
                let divided: Vec<&[i64]> = parts.iter().map(Vec::as_slice).collect();
                // Rows with a key are dealt by it, wherever they come from.
                let mut keyed: Vec<&[i64]> = vec![&[]; shards as usize];
                keyed[0] = &all;
                let kinds = [
                    ("random", Sharding::Random, divided, shards),
                    ("keyed", Sharding::Key(vec!["n".into()]), keyed, shards),
                    ("replicated", Sharding::Replicated, vec![all.as_slice()], 1),
                ];
                for (kind, sharding, parts, expected) in kinds {
                    let (table, out) =
                        (format!("{kind}_{shards}_{i}_{seed}"), format!("{kind}_{shards}_{i}_{seed}_out"));
                    folder.table(&table, sharding, &parts);
                    let id = folder.runs.execute(RunRequest::new("square").input(&table).output(&out)).unwrap();
                    let status = folder.wait(id);
                    assert_eq!((status.run.error, status.run.instances), (None, expected), "{table}");
                    assert_eq!(folder.sorted(&out), (1..=rows).map(|n| n * n).collect::<Vec<_>>(), "{table}");
                    if kind == "random" {
                        let squared = |part: &&[i64]| part.iter().map(|n| n * n).collect::<Vec<_>>();
                        let expected: Vec<Vec<i64>> = parts.iter().map(squared).collect();
                        assert_eq!(folder.rows(&out), expected, "{table}: rows stay in the shard of their instance");
                    }
                    *instances.entry(kind).or_insert(0) += expected;
                }
            }
        }
    }
    let runs = u32::try_from(repeats(1, 10)).unwrap() * 4;
    assert_eq!(instances, [("keyed", 36 * runs), ("random", 36 * runs), ("replicated", 8 * runs)].into());
}

#[test]
fn a_further_replicated_input_is_whole_in_every_instance_for_any_number_of_shards() {
    let folder = Folder::new();
    let declare = |declarations: &mut Declarations| {
        declarations.proc("scale", "distributed", "").unwrap();
        declarations.input("scale", "rows", "").unwrap();
        declarations.input("scale", "factors", "").unwrap();
        declarations.output("scale", "scaled", "").unwrap();
    };
    folder.proc("scales", declare, |instance| {
        let factor: i64 = input(instance, 1).iter().sum();
        Ok(made(instance, &input(instance, 0).iter().map(|n| n * factor).collect::<Vec<_>>()))
    });
    folder.table("factors", Sharding::Replicated, &[&[2, 3]]);
    for shards in 1..=8 {
        let parts = dealt(20, shards, 7);
        let (table, out) = (format!("t{shards}"), format!("out{shards}"));
        folder.table(&table, Sharding::Random, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let id = folder.runs.execute(RunRequest::new("scale").input(&table).input("factors").output(&out)).unwrap();
        assert_eq!(folder.wait(id).run.error, None);
        assert_eq!(folder.sorted(&out), (1..=20).map(|n| n * 5).collect::<Vec<_>>());
        let scaled: Vec<Vec<i64>> = parts.iter().map(|part| part.iter().map(|n| n * 5).collect()).collect();
        assert_eq!(folder.rows(&out), scaled, "rows stay in the shard of their instance");
    }
}

#[test]
fn instances_execute_side_by_side_up_to_the_limit() {
    let folder = Folder::with_limits(&Limits { running_instances: 4, ..Limits::default() });
    // Passed only when four are there at the same time.
    let (barrier, begun) = (Arc::new(Barrier::new(4)), Arc::new(AtomicU32::new(0)));
    let (meet, count) = (Arc::clone(&barrier), Arc::clone(&begun));
    folder.proc("maths", declare_square, move |instance| {
        count.fetch_add(1, Ordering::SeqCst);
        meet.wait();
        square(instance)
    });
    let parts = dealt(40, 8, 3);
    folder.table("t", Sharding::Random, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let id = folder.runs.execute(RunRequest::new("square").input("t").output("out")).unwrap();
    assert_eq!(folder.wait(id).run.error, None);
    assert_eq!((begun.load(Ordering::SeqCst), folder.scripts.running.lock().unwrap().1), (8, 4));
    assert_eq!(folder.sorted("out"), (1..=40).map(|n| n * n).collect::<Vec<_>>());
}
