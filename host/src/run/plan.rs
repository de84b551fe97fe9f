//! A request against what there is: everything that can be refused before an
//! instance starts is refused here, by name. Made when the request comes, to
//! answer at once, and again at the snapshot that the run reads.

use std::sync::Arc;

use super::outputs;
use super::params;
use super::request::{InputRef, RunRequest, Submission};
use crate::base::{Error, Result, Schema, Sharding, check_table_name};
use crate::catalog::spec::{InputSpec, OutputSpec};
use crate::catalog::{ExecutionMode, MODEL_COLUMNS, ProcSpec};
use crate::proc::Params;
use crate::storage::{Snapshot, TableState};
use crate::table::Shards;

/// A request, resolved at one snapshot.
pub(super) struct RunPlan {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) params: Params,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) mode: ExecutionMode,
    /// Number of instances.
    pub(super) instances: u32,
}

/// A table to read.
pub(super) struct Input {
    /// The proc's name for it.
    pub(super) name: String,
    pub(super) table: Arc<TableState>,
    /// Places of the visible columns.
    pub(super) columns: Vec<usize>,
    /// The visible columns.
    schema: Schema,
    pub(super) share: Share,
}

/// What an instance sees of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// The shard of its own number.
    Own,
    /// Everything, in shard order.
    Whole,
    /// Everything, the newest row last: models.
    InOrder,
}

impl Share {
    /// The rows that instance `shard` sees.
    pub(super) fn of(self, shard: u32) -> Shards {
        match self {
            Self::Own => Shards::One(shard),
            Self::Whole => Shards::All,
            Self::InOrder => Shards::InOrder,
        }
    }
}

/// A table to append to.
pub(super) struct Output {
    /// The proc's name for it.
    pub(super) name: String,
    /// The table's name.
    pub(super) table: String,
    pub(super) schema: Schema,
    pub(super) destination: Destination,
    /// Whether its rows hold models.
    pub(super) models: bool,
}

/// Whether an output's table is there.
#[derive(Clone)]
pub(super) enum Destination {
    Existing(Arc<TableState>),
    New { sharding: Sharding, shards: u32 },
}

impl RunPlan {
    /// Checks a request against `proc` and the tables of `snapshot`.
    pub(super) fn make(proc: &ProcSpec, submission: &Submission, snapshot: &Arc<Snapshot>) -> Result<Self> {
        let request = &submission.request;
        let params = params::resolve(proc, request)?;
        check_counts(proc, request)?;
        let mut inputs = Vec::new();
        for (place, (spec, given)) in proc.inputs.iter().zip(&request.inputs).enumerate() {
            let table = snapshot.table(submission.source(place))?;
            let share = share(proc, spec, inputs.first().map(|first: &Input| first.table.as_ref()), &table)?;
            inputs.push(input(proc, spec, given, table, share)?);
        }
        let instances = match (proc.mode, inputs.first()) {
            (ExecutionMode::Distributed, Some(first)) => first.table.shards,
            _ => 1,
        };
        let planner = OutputPlanner { proc, snapshot, instances };
        let mut planned: Vec<Output> = Vec::new();
        for (i, (spec, table)) in proc.outputs.iter().zip(&request.outputs).enumerate() {
            if let Some(other) = planned.iter().find(|other| other.table.eq_ignore_ascii_case(table)) {
                let (proc, same) = (&proc.name, other.table == *table);
                return Err(Error::Invalid(match same {
                    true => format!("table `{table}` is given for two outputs of proc `{proc}`"),
                    false => format!(
                        "tables `{}` and `{table}` are given for two outputs of proc `{proc}`; names that differ only \
                         in case are those of one table",
                        other.table
                    ),
                }));
            }
            let paired = inputs.get(i).map(|input| &input.schema);
            planned.push(planner.output(spec, table, paired)?);
        }
        Ok(Self { snapshot: Arc::clone(snapshot), params, inputs, outputs: planned, mode: proc.mode, instances })
    }
}

/// Refuses numbers of inputs and outputs other than the declared ones.
pub(super) fn check_counts(proc: &ProcSpec, request: &RunRequest) -> Result<()> {
    check_count(proc, "reads", proc.inputs.iter().map(|i| &i.name), request.inputs.len())?;
    check_count(proc, "appends to", proc.outputs.iter().map(|o| &o.name), request.outputs.len())
}

/// Refuses a number of tables other than the declared one.
fn check_count<'a>(
    proc: &ProcSpec,
    verb: &str,
    declared: impl ExactSizeIterator<Item = &'a String>,
    given: usize,
) -> Result<()> {
    let wanted = declared.len();
    if wanted == given {
        return Ok(());
    }
    let names = declared.map(String::as_str).collect::<Vec<_>>().join(", ");
    let names = if names.is_empty() { String::new() } else { format!(" ({names})") };
    let tables = if wanted == 1 { "table" } else { "tables" };
    let were = if given == 1 { "was" } else { "were" };
    Err(Error::Invalid(format!("proc `{}` {verb} {wanted} {tables}{names}, {given} {were} given", proc.name)))
}

/// What instances see of `table`; `first` is the table of the first input, when
/// this is another.
fn share(proc: &ProcSpec, spec: &InputSpec, first: Option<&TableState>, table: &TableState) -> Result<Share> {
    match (proc.mode, first) {
        // The first input makes the instances.
        (ExecutionMode::Distributed, None) => Ok(Share::Own),
        _ if holds_models(&table.schema) => Ok(Share::InOrder),
        (ExecutionMode::Nondistributed, _) => Ok(Share::Whole),
        (ExecutionMode::Distributed, Some(_)) if table.sharding == Sharding::Replicated => Ok(Share::Whole),
        (ExecutionMode::Distributed, Some(first)) if first.shards == table.shards => Ok(Share::Own),
        (ExecutionMode::Distributed, Some(first)) => Err(Error::Invalid(format!(
            "input `{}`: table `{}` has {} shards, table `{}` has {}; \
             inputs of distributed proc `{}` must be replicated or have as many shards as the first \
             when they are read; execute it again, then the rows are dealt alike",
            spec.name, table.name, table.shards, first.name, first.shards, proc.name
        ))),
    }
}

/// Whether a table has the columns of models, which are read whole.
fn holds_models(schema: &Schema) -> bool {
    MODEL_COLUMNS.iter().all(|(name, _)| schema.columns().iter().any(|column| column.name == *name))
}

fn input(proc: &ProcSpec, spec: &InputSpec, given: &InputRef, table: Arc<TableState>, share: Share) -> Result<Input> {
    let all = table.schema.columns();
    let columns: Vec<usize> = match &given.columns {
        None => (0..all.len()).collect(),
        Some(names) => {
            let places = names.iter().map(|name| table.schema.column(given.shown(), name).map(|(place, _)| place));
            places.collect::<Result<_>>()?
        }
    };
    let schema = Schema::new(columns.iter().filter_map(|place| all.get(*place).cloned()).collect())?;
    for column in &spec.columns {
        let (_, found) = schema.column(given.shown(), &column.name)?;
        if !column.class.accepts(&found.column_type) {
            return Err(Error::TypeMismatch(format!(
                "column `{}` of table `{}` is {}; input `{}` of proc `{}` takes {}",
                found.name,
                given.shown(),
                found.column_type,
                spec.name,
                proc.name,
                column.class
            )));
        }
    }
    Ok(Input { name: spec.name.clone(), table, columns, schema, share })
}

/// What all outputs of a run have in common.
struct OutputPlanner<'a> {
    proc: &'a ProcSpec,
    snapshot: &'a Snapshot,
    instances: u32,
}

impl OutputPlanner<'_> {
    /// The output `spec` to `table`; `paired` are the columns of the input at its place.
    fn output(&self, spec: &OutputSpec, table: &str, paired: Option<&Schema>) -> Result<Output> {
        let Self { proc, snapshot, instances } = *self;
        let (schema, destination) = match snapshot.table(table) {
            Ok(existing) => {
                outputs::check_existing(proc, spec, table, &existing.schema)?;
                let is_keyed = matches!(existing.sharding, Sharding::Key(_));
                if proc.mode == ExecutionMode::Distributed && is_keyed && existing.shards != instances {
                    return Err(Error::Invalid(format!(
                        "output `{}`: table `{table}` is sharded by key into {} shards, the run has {instances} instances; \
                     the numbers must be equal",
                        spec.name, existing.shards
                    )));
                }
                (existing.schema.clone(), Destination::Existing(existing))
            }
            Err(Error::NotFound { .. }) => {
                check_table_name(table)?;
                if let Some(other) = snapshot.tables().find(|other| other.name.eq_ignore_ascii_case(table)) {
                    return Err(Error::Invalid(format!(
                        "output `{}`: table `{table}` cannot be created beside table `{}`, from which it differs only in \
                     case; append to `{}` or give another name",
                        spec.name, other.name, other.name
                    )));
                }
                let sharding = if spec.models { Sharding::Replicated } else { Sharding::Random };
                let shards = outputs::new_shards(proc.mode, instances);
                (outputs::schema_of(spec, paired)?, Destination::New { sharding, shards })
            }
            Err(other) => return Err(other),
        };
        Ok(Output { name: spec.name.clone(), table: table.to_owned(), schema, destination, models: spec.models })
    }
}
