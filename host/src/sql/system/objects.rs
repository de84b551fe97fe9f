//! Tables, columns, shards, snapshots, components, procs, models, limits, devices.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::AsArray;

use super::rows::Cell;
use crate::base::{Residency, Result, Sharding};
use crate::catalog::{Catalog, Privilege};
use crate::device::{Listed, list};
use crate::sql::alter;
use crate::sql::provider::View;
use crate::storage::{ModelRecord, ScanOptions, TableState, Versions};

type Rows = Vec<Vec<Cell>>;

/// The tables on which something was granted to the caller.
fn visible(view: &View) -> impl Iterator<Item = &Arc<TableState>> {
    view.snapshot.tables().filter(|table| view.caller.rights.sees_table(&table.name))
}

pub(super) fn tables(view: &View) -> Result<Rows> {
    let row = |table: &Arc<TableState>| {
        Ok(vec![
            Cell::from(&table.name),
            table.rows.into(),
            table.schema.columns().len().into(),
            sharding(&table.sharding).into(),
            table.shards.into(),
            table.file_bytes.into(),
            table.file_count.into(),
            table.inlined_rows.into(),
            table.version.0.into(),
            view.system.tables.residency(table.id)?.word().into(),
        ])
    };
    visible(view).map(row).collect()
}

/// For each table the memory that its columns hold now: of the device that the
/// folder uses, and of the machine's memory beside a GPU.
pub(super) fn residency(view: &View) -> Result<Rows> {
    let tables = &view.system.tables;
    let (device, held) = (tables.device(), tables.held());
    let mut rows = Rows::new();
    for table in visible(view) {
        let residency = tables.residency(table.id)?;
        let held = held.get(&table.id).copied().unwrap_or_default();
        let beside = (!device.is_host()).then_some(("cpu", held.host_bytes));
        for (device, bytes) in [(device.name.as_str(), held.device_bytes)].into_iter().chain(beside) {
            let is_pinned = residency == Residency::Pinned;
            rows.push(vec![
                Cell::from(&table.name),
                residency.word().into(),
                is_pinned.into(),
                device.into(),
                bytes.into(),
            ]);
        }
    }
    Ok(rows)
}

/// How rows are divided, as `CREATE TABLE` says it.
pub(in crate::sql) fn sharding(sharding: &Sharding) -> String {
    match sharding {
        Sharding::Random => "random".to_owned(),
        Sharding::Replicated => "replicated".to_owned(),
        Sharding::Key(columns) => format!("shard by ({})", columns.join(", ")),
    }
}

pub(super) fn columns(view: &View) -> Rows {
    let of_table = |table: &Arc<TableState>| {
        let name = table.name.clone();
        let columns = table.schema.columns().iter().enumerate().map(move |(position, column)| {
            vec![
                Cell::from(&name),
                position.into(),
                Cell::from(&column.name),
                column.column_type.to_string().into(),
                column.nullable.into(),
            ]
        });
        columns.collect::<Rows>()
    };
    visible(view).flat_map(of_table).collect()
}

/// Rows of shards are counted by reading none of their columns.
pub(super) fn shards(view: &View) -> Result<Rows> {
    let mut rows = Rows::new();
    for table in visible(view) {
        for shard in 0..table.shards {
            let options = ScanOptions { shard: Some(shard), columns: Some(Vec::new()), ..ScanOptions::default() };
            let scan = view.storage.scan_with(&view.snapshot, table, &options)?;
            let mut n_rows = 0usize;
            for batch in scan {
                n_rows += batch?.num_rows();
            }
            rows.push(vec![Cell::from(&table.name), shard.into(), n_rows.into()]);
        }
    }
    Ok(rows)
}

pub(super) fn snapshots(view: &View) -> Result<Rows> {
    let history = view.storage.history()?;
    let rows = history.into_iter().map(|snapshot| {
        vec![
            snapshot.id.0.into(),
            Cell::Time(snapshot.time_us),
            snapshot.author.into(),
            snapshot.message.into(),
            snapshot.changes.into(),
        ]
    });
    Ok(rows.collect())
}

pub(super) fn components(view: &View) -> Result<Rows> {
    let mut rows = Rows::new();
    for component in view.storage.components(Versions::Kept)? {
        if !view.caller.rights.sees_function(&component.name, None) {
            continue;
        }
        let procs = Catalog::declared(&component)?.len();
        rows.push(vec![
            component.name.into(),
            component.version.into(),
            component.sha256.into(),
            component.size_bytes.into(),
            Cell::Time(component.created_us),
            component.active.into(),
            procs.into(),
        ]);
    }
    Ok(rows)
}

pub(super) fn users(view: &View) -> Result<Rows> {
    let users = view.storage.users()?.into_iter();
    Ok(users.map(|user| vec![user.name.into(), user.is_role.into(), Cell::Time(user.created_us)]).collect())
}

pub(super) fn grants(view: &View) -> Result<Rows> {
    let seen = view.storage.grants()?.into_iter().filter(|grant| view.caller.rights.sees_grant(grant));
    let rows = seen.map(|grant| {
        vec![
            grant.grantee.into(),
            grant.privilege.into(),
            grant.kind.into(),
            grant.object.into(),
            grant.grantable.into(),
            grant.grantor.into(),
        ]
    });
    Ok(rows.collect())
}

pub(super) fn procs(view: &View) -> Result<Rows> {
    let mut rows = Rows::new();
    let settings = view.system.catalog.proc_settings()?;
    for found in view.system.catalog.procs()? {
        if !view.caller.rights.sees_function(&found.component.name, Some(&found.proc.name)) {
            continue;
        }
        let ddl = alter::ddl(&found, &settings);
        let proc = found.proc;
        let own = settings.iter().find(|set| set.component == found.component.name && set.proc == proc.name);
        let max_concurrency = own.and_then(|set| set.max_concurrency);
        rows.push(vec![
            found.component.name.into(),
            Cell::from(&proc.name),
            proc.mode.as_str().into(),
            Cell::from(&proc.doc),
            json(&proc.inputs),
            json(&proc.outputs),
            json(&proc.params),
            found.component.version.into(),
            max_concurrency.into(),
            ddl.into(),
        ]);
    }
    Ok(rows)
}

/// A value as JSON text.
fn json<T: serde::Serialize>(value: &T) -> Cell {
    serde_json::to_string(value).ok().into()
}

/// The models that can be loaded: those whose rows are there.
pub(super) fn models(view: &View) -> Result<Rows> {
    let mut kept = view.storage.models()?;
    kept.retain(|model| view.caller.rights.table(Privilege::Select, &model.table).is_ok());
    let mut ids: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for model in &kept {
        if !ids.contains_key(&model.table) {
            ids.insert(model.table.clone(), model_ids(view, &model.table)?);
        }
    }
    let is_there = |model: &ModelRecord| ids.get(&model.table).is_some_and(|ids| ids.contains(&model.id));
    let rows = kept.into_iter().filter(is_there).map(|model| {
        vec![
            model.id.into(),
            model.table.into(),
            model.name.into(),
            model.sha256.into(),
            model.size_bytes.into(),
            Cell::Time(model.created_us),
            model.run.map(|run| run.0).into(),
        ]
    });
    Ok(rows.collect())
}

/// The ids of the rows of a model table, as text; none where it is gone.
fn model_ids(view: &View, table: &str) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    let Ok(table) = view.snapshot.table(table) else { return Ok(ids) };
    let (position, _) = table.schema.column(&table.name, "id")?;
    let options = ScanOptions { columns: Some(vec![position]), ..ScanOptions::default() };
    for batch in view.storage.scan_with(&view.snapshot, &table, &options)? {
        let batch = batch?;
        let Some(column) = batch.columns().first() else { continue };
        if let Some(uuids) = column.as_fixed_size_binary_opt() {
            let text = |bytes| uuid::Uuid::from_slice(bytes).unwrap_or_default().to_string();
            ids.extend(uuids.iter().flatten().map(text));
        } else if let Some(texts) = column.as_string_opt::<i32>() {
            ids.extend(texts.iter().flatten().map(str::to_owned));
        }
    }
    Ok(ids)
}

pub(super) fn limits(view: &View) -> Rows {
    let unit = |name: &str| match name.rsplit('_').next() {
        Some("bytes") => "bytes",
        Some("ms") => "ms",
        _ => "",
    };
    view.system
        .limits
        .entries()
        .into_iter()
        .map(|(name, value)| vec![Cell::from(&name), value.into(), unit(&name).into()])
        .collect()
}

pub(super) fn devices(view: &View) -> Rows {
    let row = |device: Listed| {
        vec![
            Cell::from(device.name),
            device.kind.into(),
            device.state.to_string().into(),
            device.model.into(),
            device.cores.into(),
            device.memory_bytes.into(),
            device.tables_bytes.into(),
            device.programs_bytes.into(),
            device.free_bytes.into(),
            device.reason.into(),
        ]
    };
    list(Some(view.system.tables.device())).into_iter().map(row).collect()
}
