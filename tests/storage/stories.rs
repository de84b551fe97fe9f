//! What is done to a folder while its disk goes wrong: a beginning, steps that
//! are acknowledged one after the other, and how one finds out which of them
//! are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quern::base::{Result, RunId, Sharding};
use quern::storage::{AppendTo, InstanceRecord, LogLine, ModelRecord, RunState, Storage};

use super::disk::SimDisk;
use super::records::run_record;
use super::sample::{append, counted, create, numbers, open, schema};
use crate::support::create_run;

/// The files of a folder.
pub(super) struct Image(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Image {
    fn of(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut left = vec![folder.to_owned()];
        while let Some(inside) = left.pop() {
            for entry in std::fs::read_dir(inside).unwrap() {
                let path = entry.unwrap().path();
                let bytes = path.is_file().then(|| std::fs::read(&path).unwrap());
                if bytes.is_none() {
                    left.push(path.clone());
                }
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
        Self(files)
    }

    fn write(&self, folder: &Path) {
        for (path, bytes) in &self.0 {
            match bytes {
                Some(bytes) => std::fs::write(folder.join(path), bytes).unwrap(),
                None => std::fs::create_dir(folder.join(path)).unwrap(),
            }
        }
    }
}

/// One thing that is done, and acknowledged.
pub(super) type Step = fn(&Storage) -> Result<()>;

/// See the module.
pub(super) struct Story {
    /// The folder at the beginning.
    image: Image,
    /// Where in it the storage is.
    place: &'static str,
    pub(super) steps: &'static [Step],
    /// How many steps are there; an error when one is there in part, or
    /// anything else is not as it should be.
    find: fn(&Path) -> std::result::Result<usize, String>,
}

impl Story {
    /// A folder at its beginning, with a disk.
    pub(super) fn begin(&self) -> (tempfile::TempDir, SimDisk) {
        let folder = tempfile::tempdir().unwrap();
        self.image.write(folder.path());
        let disk = SimDisk::new(folder.path());
        (folder, disk)
    }

    pub(super) fn open(&self, folder: &Path, disk: &SimDisk) -> Result<Storage> {
        Storage::open(&folder.join(self.place), Arc::new(disk.clone()))
    }

    /// Does all steps up to the first that fails; how many were acknowledged,
    /// and the error.
    pub(super) fn act(&self, folder: &Path, disk: &SimDisk) -> (usize, Result<()>) {
        let storage = match self.open(folder, disk) {
            Ok(storage) => storage,
            Err(error) => return (0, Err(error)),
        };
        for (done, step) in self.steps.iter().enumerate() {
            if let Err(error) = step(&storage) {
                return (done, Err(error));
            }
        }
        (self.steps.len(), Ok(()))
    }

    /// How many steps are in the folder.
    pub(super) fn find(&self, folder: &Path) -> std::result::Result<usize, String> {
        (self.find)(&folder.join(self.place))
    }
}

/// A run commits: outputs in several tables and shards, deletions, a new table,
/// its record, an instance, a log, a model. Then a small append, a checkpoint,
/// another append.
pub(super) fn run() -> Story {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema(&[("id", "int64")]);
    let storage = open(folder.path());
    let mut write = storage.begin();
    for name in ["t", "u"] {
        write.create_table(name, &schema, Sharding::Random, 2).unwrap();
        write.append(name, AppendTo::Shard(0), [Ok(counted(&schema, 0..100))]).unwrap();
    }
    write.create_table("w", &schema, Sharding::Random, 1).unwrap();
    write.append("w", AppendTo::Deal, [Ok(counted(&schema, 0..10_001))]).unwrap();
    write.create_table("empty", &schema, Sharding::Random, 1).unwrap();
    write.commit().unwrap();
    append(&storage, "u", AppendTo::Deal, &counted(&schema, 100..110));
    assert_eq!(create_run(&storage, &run_record("train")), RunId(1));
    drop(storage);
    const STEPS: &[Step] = &[
        commit_run,
        |storage| grow(storage, "u", 300..301),
        |storage| storage.close().and_then(|()| grow(storage, "u", 301..302)),
    ];
    Story { image: Image::of(folder.path()), place: "", steps: STEPS, find: found_run }
}

fn grow(storage: &Storage, table: &str, rows: std::ops::Range<i64>) -> Result<()> {
    let mut write = storage.begin();
    write.append(table, AppendTo::Deal, [Ok(counted(&schema(&[("id", "int64")]), rows))])?;
    write.commit().map(drop)
}

fn commit_run(storage: &Storage) -> Result<()> {
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, 100..3000))])?;
    write.append("t", AppendTo::Shard(1), [Ok(counted(&schema, 3000..3010))])?;
    write.delete_rows("t", &[1, 2])?;
    write.delete_rows("u", &[100, 3])?;
    write.append("u", AppendTo::Deal, [Ok(counted(&schema, 200..210))])?;
    write.append("empty", AppendTo::Shard(0), [Ok(counted(&schema, 0..7))])?;
    write.create_table("v", &schema, Sharding::Key(vec!["id".into()]), 2)?;
    write.append("v", AppendTo::Deal, [Ok(counted(&schema, 0..12_000))])?;
    write.delete_rows("w", &(0..5000).collect::<Vec<u64>>())?;
    let mut run = run_record("train");
    (run.id, run.state) = (RunId(1), RunState::Complete);
    write.put_run(run);
    write.put_instance(InstanceRecord {
        run: RunId(1),
        shard: 0,
        state: RunState::Complete,
        status: String::new(),
        fraction: None,
        message: None,
        results: "{}".into(),
        receipt: "{}".into(),
    });
    let text = "said".to_owned();
    write.put_logs(vec![LogLine { run: RunId(1), shard: 0, seq: 1, time_us: 1, level: "info".into(), text }]);
    write.put_model(model());
    write.commit().map(drop)
}

fn model() -> ModelRecord {
    ModelRecord {
        id: "cb3257ca-b866-4779-9603-4b4c9faa349a".into(),
        table: "t".into(),
        name: "m".into(),
        sha256: "cc".repeat(32),
        size_bytes: 12,
        created_us: 4,
        run: Some(RunId(1)),
    }
}

fn found_run(folder: &Path) -> std::result::Result<usize, String> {
    let storage = checked_open(folder)?;
    let complete = storage.run(RunId(1)).map_err(|e| e.chain())?.state == RunState::Complete;
    let rows = |name: &str| read(&storage, name);
    let u = rows("u")?;
    let steps = usize::from(complete) + usize::from(u.contains(&300)) + usize::from(u.contains(&301));
    let first: Vec<i64> = (0..100).collect();
    let ranges = |parts: &[std::ops::Range<i64>]| parts.iter().cloned().flatten().collect::<Vec<i64>>();
    same("w", &rows("w")?, &(if complete { 5000..10_001 } else { 0..10_001 }).collect::<Vec<i64>>())?;
    same("empty", &rows("empty")?, &ranges(&[0..0, if complete { 0..7 } else { 0..0 }]))?;
    same("t", &rows("t")?, &if complete { ranges(&[0..1, 3..3010]) } else { first })?;
    let mut expected = if complete { ranges(&[0..3, 4..100, 101..110, 200..210]) } else { ranges(&[0..100, 100..110]) };
    expected.extend(300..300 + steps.saturating_sub(1) as i64);
    same("u", &u, &expected)?;
    let snapshot = storage.snapshot().map_err(|e| e.chain())?;
    if complete != snapshot.table("v").is_ok() {
        return Err("table `v` and the run disagree".into());
    }
    if complete {
        let mut ids = rows("v")?;
        ids.sort_unstable();
        same("v", &ids, &(0..12_000).collect::<Vec<i64>>())?;
    }
    let (instances, logs) = (storage.instances(RunId(1)), storage.logs(RunId(1), 0, 9));
    let models = storage.models().map_err(|e| e.chain())?;
    let counts = [instances.map_err(|e| e.chain())?.len(), logs.map_err(|e| e.chain())?.len(), models.len()];
    if counts != [usize::from(complete); 3] {
        return Err(format!("instances, logs and models are {counts:?}, the run is complete: {complete}"));
    }
    Ok(steps)
}

/// A new folder in a new folder, with a table.
pub(super) fn new_folder() -> Story {
    const STEPS: &[Step] = &[
        |_| Ok(()),
        |storage| {
            let mut write = storage.begin();
            write.create_table("t", &schema(&[("id", "int64")]), Sharding::Random, 1)?;
            write.append("t", AppendTo::Shard(0), [Ok(counted(&schema(&[("id", "int64")]), 0..7))])?;
            write.commit().map(drop)
        },
    ];
    let find = |folder: &Path| {
        let storage = checked_open(folder)?;
        match storage.snapshot().map_err(|e| e.chain())?.table("t") {
            Ok(_) => same("t", &read(&storage, "t")?, &[0, 1, 2, 3, 4, 5, 6]).map(|()| 2),
            Err(_) => Ok(1),
        }
    };
    Story { image: Image(BTreeMap::new()), place: "a/b", steps: STEPS, find }
}

/// Rows in the catalog are moved to files, which lasts from the next commit on.
pub(super) fn flush() -> Story {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    create(&storage, "t", &schema(&[("id", "int64")]), Sharding::Random, 2);
    append(&storage, "t", AppendTo::Deal, &counted(&schema(&[("id", "int64")]), 0..9));
    drop(storage);
    const STEPS: &[Step] = &[|storage| storage.flush_inlined("t").and_then(|_| grow(storage, "t", 9..10))];
    let find = |folder: &Path| {
        let storage = checked_open(folder)?;
        let rows = read(&storage, "t")?;
        let steps = usize::from(rows.len() > 9);
        same("t", &rows, &(0..9 + steps as i64).collect::<Vec<i64>>()).map(|()| steps)
    };
    Story { image: Image::of(folder.path()), place: "", steps: STEPS, find }
}

/// Small files are merged, and those they were are removed.
pub(super) fn merge() -> Story {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path());
    let schema = schema(&[("id", "int64")]);
    let mut write = storage.begin();
    write.create_table("t", &schema, Sharding::Random, 1).unwrap();
    for n in 0..8 {
        write.append("t", AppendTo::Shard(0), [Ok(counted(&schema, n..n + 1))]).unwrap();
    }
    write.commit().unwrap();
    drop(storage);
    const STEPS: &[Step] = &[|storage| {
        storage.merge_files("t")?;
        storage.remove_replaced(std::time::Duration::ZERO)?;
        grow(storage, "t", 8..9)
    }];
    let find = |folder: &Path| {
        let storage = checked_open(folder)?;
        let rows = read(&storage, "t")?;
        let steps = usize::from(rows.len() > 8);
        same("t", &rows, &(0..8 + steps as i64).collect::<Vec<i64>>()).map(|()| steps)
    };
    Story { image: Image::of(folder.path()), place: "", steps: STEPS, find }
}

/// A folder of format 1 is upgraded, which lasts from the next commit on.
pub(super) fn upgrade() -> Story {
    let folder = tempfile::tempdir().unwrap();
    super::upgrade::restore(folder.path());
    const STEPS: &[Step] = &[|storage| {
        let mut write = storage.begin();
        write.put_model(ModelRecord { id: "new".into(), table: "named".into(), ..model() });
        write.commit().map(drop)
    }];
    let find = |folder: &Path| {
        let catalog = rusqlite::Connection::open(folder.join("catalog.sqlite")).map_err(|e| e.to_string())?;
        let version = catalog.query_row("SELECT version FROM quern_format", [], |row| row.get::<_, i64>(0));
        let version = version.map_err(|e| e.to_string())?;
        drop(catalog);
        if version > 1 {
            let backup = folder.join("catalog.sqlite.format-1.backup");
            let connection = rusqlite::Connection::open(&backup).map_err(|e| e.to_string())?;
            let rows = connection.query_row("SELECT count(*) FROM quern_run", [], |row| row.get::<_, i64>(0));
            if rows != Ok(2) {
                return Err(format!("the backup has {rows:?} runs"));
            }
        }
        let storage = checked_open(folder)?;
        same("named", &read(&storage, "named")?, &[0, 2, 3, 4, 5, 6, 7, 8])?;
        let models = storage.models().map_err(|e| e.chain())?.len();
        match (models, version) {
            (0, _) => Err("the model of before is lost".into()),
            (2, 1) => Err("a commit without the upgrade".into()),
            _ => Ok(models - 1),
        }
    };
    Story { image: Image::of(folder.path()), place: "", steps: STEPS, find }
}

/// A storage whose catalog is whole, and that needs none of the files that
/// nothing names.
fn checked_open(folder: &Path) -> std::result::Result<Storage, String> {
    // A disk of which nothing is asked any more: it saves the time of real syncs.
    let there = folder.ancestors().find(|path| path.is_dir()).unwrap_or(folder);
    let storage = Storage::open(folder, Arc::new(SimDisk::new(there))).map_err(|e| e.chain())?;
    let catalog = rusqlite::Connection::open(folder.join("catalog.sqlite")).map_err(|e| e.to_string())?;
    let checked = catalog.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    if checked.as_deref() != Ok("ok") {
        return Err(format!("the catalog's integrity check says {checked:?}"));
    }
    storage.sweep_orphans(std::time::Duration::ZERO).map_err(|e| e.chain())?;
    Ok(storage)
}

/// The rows of a table, or why they cannot be read.
fn read(storage: &Storage, table: &str) -> std::result::Result<Vec<i64>, String> {
    let snapshot = storage.snapshot().map_err(|e| e.chain())?;
    let table = snapshot.table(table).map_err(|e| e.chain())?;
    let scan = storage.scan(&snapshot, &table, None, None).map_err(|e| e.chain())?;
    let mut rows = Vec::new();
    for batch in scan {
        rows.extend(numbers(&batch.map_err(|e| e.chain())?, 0));
    }
    if rows.len() as u64 != table.rows {
        return Err(format!("table `{}` has {} rows and says {}", table.name, rows.len(), table.rows));
    }
    Ok(rows)
}

fn same(table: &str, found: &[i64], expected: &[i64]) -> std::result::Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("table `{table}` has {} rows, other than the {} expected", found.len(), expected.len()))
}
