//! Schema `quern`: what the system says about itself, as tables. Rows are made
//! when they are asked for; runs that are not over are there as they stand.

mod objects;
mod rows;
mod runs;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::provider::View;
use crate::base::{ColumnType, DType, Error, Limits, Result, closest};
use crate::catalog::Catalog;
use crate::run::Runs;
use crate::table::Tables;

pub(super) use rows::rows_of;

/// The schema's name.
pub(super) const SCHEMA: &str = "quern";

/// Who knows the rows.
pub(super) struct System {
    pub(super) catalog: Catalog,
    pub(super) runs: Runs,
    pub(super) tables: Tables,
    pub(super) limits: Limits,
}

/// The error for a table that is not there: the one that may be meant, else all.
fn unknown(name: &str) -> Error {
    let within = match closest(name, NAMES) {
        Some(_) => format!("schema `{SCHEMA}`"),
        None => format!("schema `{SCHEMA}`, which has {}", NAMES.join(", ")),
    };
    Error::not_found("system table", name, Some(within), NAMES)
}

/// What a table gives.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Declares the tables: their names, columns and types; `?` may lack a value.
macro_rules! tables {
    ($($table:ident $name:literal [$($column:literal $kind:ident $($null:literal)?),+ $(,)?])+) => {
        /// The tables' names.
        pub(super) const NAMES: &[&str] = &[$($name),+];

        /// One of the tables.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Table { $($table),+ }

        impl Table {
            /// The table of that name.
            pub(super) fn named(name: &str) -> Result<Self> {
                match name {
                    $($name => Ok(Self::$table),)+
                    _ => Err(unknown(name)),
                }
            }

            /// Its name.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$table => $name),+ }
            }

            /// Its columns.
            pub(super) fn schema(self) -> SchemaRef {
                let fields: Vec<Field> = match self {
                    $(Self::$table => vec![$(field($column, Kind::$kind, concat!($($null)?) == "?")),+]),+
                };
                Arc::new(Schema::new(fields))
            }
        }
    };
}

tables! {
    Tables "tables" [
        "table_name" Text, "rows" Count, "columns" Count, "sharding" Text, "shards" Count, "file_bytes" Count,
        "files" Count, "inlined_rows" Count, "version" Count, "residency" Text,
    ]
    Columns "columns" ["table_name" Text, "position" Count, "column_name" Text, "type" Text, "nullable" Bool]
    Residency "residency" ["table_name" Text, "residency" Text, "pinned" Bool, "device" Text, "bytes" Count]
    Shards "shards" ["table_name" Text, "shard" Count, "rows" Count]
    Snapshots "snapshots" ["snapshot" Count, "time" Time, "author" Text "?", "message" Text "?", "changes" Text]
    Components "components" [
        "component" Text, "version" Count, "sha256" Text, "size_bytes" Count, "created" Time, "active" Bool,
        "procs" Count,
    ]
    Procs "procs" [
        "component" Text, "proc" Text, "mode" Text, "doc" Text, "inputs" Json, "outputs" Json, "params" Json,
        "version" Count, "max_concurrency" Count "?", "ddl" Text,
    ]
    Models "models" [
        "id" Text, "table_name" Text, "name" Text, "sha256" Text, "size_bytes" Count, "created" Time,
        "run" Count "?",
    ]
    Runs "runs" [
        "run" Count, "proc" Text, "component" Text, "tag" Text "?", "user" Text, "state" Text, "params" Json,
        "inputs" Json, "outputs" Json, "snapshot" Count "?", "seed" Seed, "instances" Count, "submitted" Time,
        "started" Time "?", "finished" Time "?", "wall_ms" Float "?", "queue_ms" Float "?", "commit_ms" Float "?",
        "error" Text "?", "sha256" Text, "version" Count "?", "resume" Count "?", "warning" Text "?",
    ]
    Instances "instances" [
        "run" Count, "shard" Count, "state" Text, "status" Text, "fraction" Float "?", "message" Text "?",
        "results" Json,
    ]
    Receipts "receipts" [
        "run" Count, "shard" Count, "device" Text, "wall_ms" Float, "start_ms" Float, "guest_ms" Float,
        "device_ms" Float, "peak_guest_bytes" Count, "peak_device_bytes" Count, "moved_inputs_bytes" Count,
        "moved_parameters_bytes" Count, "moved_reads_bytes" Count, "moved_outputs_bytes" Count, "rows_in" Count,
        "rows_out" Count, "host_calls" Count, "programs" Count, "replays" Count, "gathered_bytes" Count,
        "moved_scalars_bytes" Count, "moved_checks_bytes" Count, "compile_ms" Float,
    ]
    Logs "logs" ["run" Count, "shard" Count, "seq" Count, "time" Time, "level" Text, "text" Text]
    Metrics "metrics" [
        "run" Count, "shard" Count, "seq" Count, "time" Time, "name" Text, "step" Count, "value" Float,
    ]
    Results "results" ["run" Count, "shard" Count "?", "name" Text, "text" Text "?", "bytes" Bytes "?"]
    Checkpoints "checkpoints" [
        "run" Count, "shard" Count, "name" Text, "sha256" Text, "size_bytes" Count, "created" Time,
    ]
    Startup "startup" [
        "id" Count, "proc" Text, "user" Text, "created" Time, "request" Json, "last_run" Count "?",
        "last_error" Text "?",
    ]
    Users "users" ["name" Text, "role" Bool, "created" Time]
    Grants "grants" [
        "grantee" Text, "privilege" Text, "kind" Text, "object" Text, "grantable" Bool, "grantor" Text,
    ]
    Limits "limits" ["name" Text, "value" Count, "unit" Text]
    Devices "devices" [
        "name" Text, "kind" Text, "state" Text, "model" Text "?", "cores" Count "?", "memory_bytes" Count "?",
        "tables_bytes" Count "?", "programs_bytes" Count "?", "free_bytes" Count "?", "reason" Text "?",
    ]
}

/// The tables themselves as rows: name and columns.
pub(super) fn list() -> Result<super::Rows> {
    let shown =
        Arc::new(Schema::new(vec![field("table_name", Kind::Text, false), field("columns", Kind::Text, false)]));
    let row = |name: &&str| {
        let schema = Table::named(name)?.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Ok(vec![format!("{SCHEMA}.{name}").into(), columns.join(", ").into()])
    };
    let batch = rows_of(&shown, NAMES.iter().map(row).collect::<Result<_>>()?);
    Ok(super::Rows::new(shown, std::iter::once(batch)))
}

/// The types that system tables use.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Json,
    Bytes,
    /// A number or a size, as a signed 64-bit integer.
    Count,
    /// All 64 bits.
    Seed,
    Float,
    Bool,
    Time,
}

fn field(name: &str, kind: Kind, nullable: bool) -> Field {
    let column_type = match kind {
        Kind::Text => ColumnType::Utf8,
        Kind::Json => ColumnType::Json,
        Kind::Bytes => ColumnType::Binary,
        Kind::Count => ColumnType::Number(DType::I64),
        Kind::Seed => ColumnType::Number(DType::U64),
        Kind::Float => ColumnType::Number(DType::F64),
        Kind::Bool => ColumnType::Number(DType::Bool),
        Kind::Time => ColumnType::Timestamp,
    };
    column_type.to_arrow(name, nullable)
}

impl Table {
    /// Its rows.
    pub(super) fn batches(self, view: &View) -> Result<Batches> {
        let rows = match self {
            Self::Tables => objects::tables(view)?,
            Self::Columns => objects::columns(view),
            Self::Residency => objects::residency(view)?,
            Self::Shards => objects::shards(view)?,
            Self::Snapshots => objects::snapshots(view)?,
            Self::Components => objects::components(view)?,
            Self::Procs => objects::procs(view)?,
            Self::Models => objects::models(view)?,
            Self::Checkpoints => runs::checkpoints(view)?,
            Self::Startup => runs::startup(view)?,
            Self::Users => objects::users(view)?,
            Self::Grants => objects::grants(view)?,
            Self::Limits => objects::limits(view),
            Self::Devices => objects::devices(view),
            Self::Runs => runs::runs(view)?,
            Self::Instances | Self::Receipts | Self::Logs | Self::Metrics | Self::Results => {
                return runs::of_each(self, view);
            }
        };
        let batch = rows_of(&self.schema(), rows);
        Ok(Box::new(std::iter::once(batch)))
    }
}
