//! At every write of a story the disk fails, fills up, the process ends, or the
//! power does: what was acknowledged is there, the rest as a whole or not at
//! all. And every sync is needed: without any one of them, this is found out.

use super::disk::{Fault, SimDisk, Sync, WAL, WAL_HEADER};
use super::stories::{self, Story};
use crate::support::repeats;

/// Does the story with a fault at operation `at`; none when it ended before.
fn faulty(story: &Story, at: u64, fault: Fault, ignored: Option<usize>) -> Option<Result<(), String>> {
    let (folder, disk) = story.begin();
    disk.arm(at, fault);
    if let Some(ignored) = ignored {
        disk.ignore_sync(ignored);
    }
    let (acknowledged, outcome) = story.act(folder.path(), &disk);
    let what = disk.fired()?;
    disk.settle();
    let found = story.find(folder.path());
    Some(match found {
        Err(reason) => Err(format!("{fault:?} at operation {at}, {what}: {reason}")),
        Ok(found) if found < acknowledged || found > acknowledged + 1 => {
            Err(format!("{fault:?} at operation {at}, {what}: {acknowledged} steps acknowledged, {found} found"))
        }
        // An operation after the last step, such as folding in the journal, may fail unseen.
        Ok(_) if outcome.is_ok() && acknowledged < story.steps.len() => Err(format!("{what}: no error")),
        Ok(_) => Ok(()),
    })
}

/// The number of operations and the syncs of a story in which nothing fails.
fn whole(story: &Story) -> (u64, SimDisk) {
    let (folder, disk) = story.begin();
    let (acknowledged, outcome) = story.act(folder.path(), &disk);
    outcome.unwrap();
    assert_eq!(acknowledged, story.steps.len());
    assert_eq!(story.find(folder.path()), Ok(acknowledged));
    (disk.operations(), disk)
}

/// All faults that end the process, at every operation.
fn survives(story: &Story) {
    let torn = (0..repeats(2, 64)).map(Fault::Torn);
    let faults: Vec<Fault> = [Fault::Crash, Fault::PowerCut].into_iter().chain(torn).collect();
    let (operations, _) = whole(story);
    let tried = std::thread::scope(|scope| {
        let threads: Vec<_> = faults
            .chunks(faults.len().div_ceil(4))
            .map(|faults| {
                scope.spawn(move || {
                    let mut tried = 0;
                    for fault in faults {
                        for at in 0..operations {
                            let Some(outcome) = faulty(story, at, *fault, None) else { break };
                            outcome.unwrap();
                            tried += 1;
                        }
                    }
                    tried
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    });
    assert!(tried + 2 * faults.len() as u64 >= operations * faults.len() as u64, "{tried} of {operations}");
    println!("{operations} operations, {} faults, {tried} folders", faults.len());
}

#[test]
fn a_committing_run_is_there_or_not_whatever_write_it_ends_in() {
    survives(&stories::run());
}

#[test]
fn a_new_folder_opens_whatever_write_its_making_ended_in() {
    survives(&stories::new_folder());
}

#[test]
fn rows_are_not_lost_whatever_write_moving_them_ends_in() {
    survives(&stories::flush());
}

#[test]
fn rows_are_not_lost_whatever_write_merging_their_files_ends_in() {
    survives(&stories::merge());
}

#[test]
fn an_upgrade_keeps_all_whatever_write_it_ends_in() {
    survives(&stories::upgrade());
}

#[test]
fn after_any_error_the_same_can_be_done_again_and_lasts() {
    for story in [stories::run(), stories::new_folder(), stories::flush(), stories::merge(), stories::upgrade()] {
        for at in 0.. {
            let (folder, disk) = story.begin();
            disk.arm(at, Fault::Error);
            let storage = story.open(folder.path(), &disk).or_else(|_| story.open(folder.path(), &disk)).unwrap();
            for step in story.steps {
                step(&storage).or_else(|_| step(&storage)).unwrap();
            }
            drop(storage);
            disk.cut_power(None);
            let fired = disk.fired();
            assert_eq!(story.find(folder.path()), Ok(story.steps.len()), "operation {at}: {fired:?}");
            if fired.is_none() {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_as_such_and_forgotten_when_there_is_room() {
    let story = stories::run();
    let mut named = 0;
    for at in 0.. {
        let (folder, disk) = story.begin();
        disk.arm(at, Fault::Full);
        let (acknowledged, outcome) = story.act(folder.path(), &disk);
        let Some(what) = disk.fired() else {
            if at > whole(&story).0 {
                break;
            }
            continue;
        };
        if let Err(error) = outcome {
            assert!(error.to_string().starts_with("the disk is full: "), "{what}: {}", error.chain());
            named += 1;
        }
        disk.disarm();
        let found = story.find(folder.path()).unwrap();
        assert!(found == acknowledged || found == acknowledged + 1, "{what}: {found} for {acknowledged}");
    }
    assert!(named > 20, "{named}");
}

/// The number of operations up to the end of each step.
fn ends(story: &Story) -> Vec<u64> {
    let (folder, disk) = story.begin();
    let storage = story.open(folder.path(), &disk).unwrap();
    let end = |step: &stories::Step| step(&storage).map(|()| disk.operations()).unwrap();
    story.steps.iter().map(end).collect()
}

/// Whether some fault shows that a sync was ignored.
fn is_missed(story: &Story, position: usize, sync: &Sync, ends: &[u64]) -> bool {
    let shown = |at: u64, fault| matches!(faulty(story, at, fault, Some(position)), Some(Err(_)));
    // The power fails right after a step was acknowledged,
    if ends.iter().filter(|end| **end >= sync.at).any(|end| shown(*end, Fault::PowerCut)) {
        return true;
    }
    // or soon after the sync, so that the order of writes is at stake,
    let of_sqlite = sync.what.contains("catalog's ");
    if !of_sqlite && (0..16).map(Fault::Torn).any(|fault| (sync.at..sync.at + 40).any(|at| shown(at, fault))) {
        return true;
    }
    // or at the end of all.
    [None].into_iter().chain((0..if of_sqlite { 4 } else { 64 }).map(Some)).any(|seed| {
        let (folder, disk) = story.begin();
        disk.ignore_sync(position);
        let (acknowledged, _) = story.act(folder.path(), &disk);
        disk.cut_power(seed);
        story.find(folder.path()) != Ok(acknowledged)
    })
}

/// For each sync of a story: what it is of, and whether its absence is found out.
fn syncs(story: &Story) -> Vec<(String, bool)> {
    let all = whole(story).1.syncs();
    let ends = ends(story);
    // SQLite itself asks for syncs of what is durable already, and for those of
    // a new journal's header, which matter where an old journal is overwritten.
    let needed = |sync: &Sync| {
        assert!(sync.useful || sync.what.contains("catalog"), "the sync of {} is for nothing", sync.what);
        sync.useful && sync.what != WAL_HEADER
    };
    let needed: Vec<(usize, &Sync)> = all.iter().enumerate().filter(|(_, sync)| needed(sync)).collect();
    std::thread::scope(|scope| {
        let each = needed.iter().map(|(position, sync)| {
            let missed = scope.spawn(|| is_missed(story, *position, sync, &ends));
            (sync.what.clone(), missed)
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|(what, missed)| (what, missed.join().unwrap())).collect()
    })
}

#[test]
fn without_any_one_sync_something_is_lost() {
    let told = |story: &Story| {
        let syncs = syncs(story);
        for (what, missed) in &syncs {
            println!("without the sync of {what}: {}", if *missed { "found out" } else { "not found out" });
            // SQLite orders its own writes by further syncs, also of the catalog.
            assert!(*missed || what.contains("catalog"), "{what}");
        }
        let commits = syncs.iter().filter(|(what, missed)| what == WAL && *missed).count();
        let of = |part: &str| syncs.iter().filter(|(what, _)| what.starts_with(part)).count();
        (commits, of("data file"), of("folder /"), of("backup"))
    };
    let (commits, files, folders, _) = told(&stories::run());
    assert!(commits >= 3 && files == 7 && folders == 6, "{commits} {files} {folders}");
    let (commits, files, folders, _) = told(&stories::new_folder());
    assert!(commits >= 1 && files == 1 && folders == 5, "{commits} {files} {folders}");
    let (commits, files, folders, _) = told(&stories::flush());
    assert!(commits >= 1 && files == 1 && folders == 2, "{commits} {files} {folders}");
    let (commits, files, folders, _) = told(&stories::merge());
    assert!(commits >= 1 && files == 1 && folders == 1, "{commits} {files} {folders}");
    let (commits, _, folders, backups) = told(&stories::upgrade());
    assert!(commits >= 1 && folders == 0 && backups >= 1, "{commits} {folders} {backups}");
}
