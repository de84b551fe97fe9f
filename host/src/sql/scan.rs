//! The leaf of every plan: rows of a table or of a system table, read on a
//! blocking thread and handed over a few batches at a time, in row order.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DataFusionResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};

use super::call;
use super::convert;
use super::provider::View;
use super::system;
use crate::base::{Error, Result};
use crate::storage::{ScanOptions, Snapshot, Storage, TableState};

/// Batches that wait for the query.
const AHEAD: usize = 2;

/// Where rows come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Table { storage: Storage, snapshot: Arc<Snapshot>, table: Arc<TableState>, shard: Option<u32> },
    System { view: View, kind: system::Table },
    Proc { view: View, planned: Box<call::Planned> },
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Table { table, .. } => &table.name,
            Self::System { kind, .. } => kind.name(),
            Self::Proc { planned, .. } => planned.name(),
        }
    }

    /// Rows, when they are known before reading.
    fn rows(&self) -> Option<usize> {
        match self {
            Self::Table { table, shard: None, .. } => usize::try_from(table.rows).ok(),
            Self::Table { .. } | Self::System { .. } | Self::Proc { .. } => None,
        }
    }

    /// Batches of these columns; the position behind the last is the row id.
    pub(super) fn batches(&self, columns: &[usize], schema: SchemaRef) -> Result<Batches> {
        match self {
            Self::Table { storage, snapshot, table, shard } => {
                let known = table.schema.columns().len();
                let read: Vec<usize> = columns.iter().copied().filter(|column| *column < known).collect();
                let row_ids = read.len() < columns.len();
                // Where each wanted column is in what is read.
                let place = |(i, column): (usize, &usize)| match *column < known {
                    true => i - columns[..i].iter().filter(|earlier| **earlier >= known).count(),
                    false => read.len(),
                };
                let places: Vec<usize> = columns.iter().enumerate().map(place).collect();
                let types: Vec<_> = table.schema.columns().iter().map(|column| column.column_type.clone()).collect();
                let wanted: Vec<_> = columns.iter().map(|column| types.get(*column).cloned()).collect();
                let options =
                    ScanOptions { shard: *shard, columns: Some(read.clone()), row_ids, ..ScanOptions::default() };
                let scan = storage.scan_with(snapshot, table, &options)?;
                Ok(Box::new(scan.map(move |batch| {
                    let batch = batch?;
                    let columns = places.iter().zip(&wanted).map(|(place, column_type)| {
                        let array = batch.columns().get(*place).ok_or_else(|| lost(*place))?;
                        Ok(column_type.as_ref().map_or_else(|| array.clone(), |t| convert::to_sql(array, t)))
                    });
                    rebuild(&schema, columns.collect::<Result<_>>()?, batch.num_rows())
                })))
            }
            Self::Proc { view, planned } => planned.batches(view, columns, schema),
            Self::System { view, kind } => {
                let columns = columns.to_vec();
                let batches = kind.batches(view)?;
                Ok(Box::new(batches.map(move |batch| {
                    let batch = batch?;
                    let picked = columns.iter().map(|i| batch.columns().get(*i).cloned().ok_or_else(|| lost(*i)));
                    rebuild(&schema, picked.collect::<Result<_>>()?, batch.num_rows())
                })))
            }
        }
    }
}

/// What a source gives.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

fn lost(column: usize) -> Error {
    Error::Internal(format!("column {column} is missing from a batch"))
}

fn rebuild(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| Error::Internal(e.to_string()))
}

/// Reads a source.
pub(super) struct ScanExec {
    source: Source,
    columns: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    /// A plan that reads the columns of `schema` at `projection`, or all.
    pub(super) fn plan(
        source: Source,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let schema = Arc::new(schema.project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(Self { source, columns, schema, limit, properties: Arc::new(properties) }))
    }
}

impl fmt::Debug for ScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ScanExec: table={}, columns=[{}]", self.source.name(), names.join(", "))?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &'static str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), AHEAD);
        let sender = builder.tx();
        let (source, columns, schema) = (self.source.clone(), self.columns.clone(), self.schema.clone());
        let mut left = self.limit.unwrap_or(usize::MAX);
        builder.spawn_blocking(move || {
            let failed = |e: Error| DataFusionError::External(Box::new(e));
            for batch in source.batches(&columns, schema).map_err(failed)? {
                let mut batch = batch.map_err(failed)?;
                batch = batch.slice(0, batch.num_rows().min(left));
                left -= batch.num_rows();
                // The query may end before its rows do.
                if sender.blocking_send(Ok(batch)).is_err() || left == 0 {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }

    fn partition_statistics(&self, _: Option<usize>) -> DataFusionResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let Some(rows) = self.source.rows() {
            statistics.num_rows = Precision::Exact(rows.min(self.limit.unwrap_or(usize::MAX)));
        }
        Ok(Arc::new(statistics))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self {
            source: self.source.clone(),
            columns: self.columns.clone(),
            schema: self.schema.clone(),
            limit,
            properties: self.properties.clone(),
        }))
    }
}
