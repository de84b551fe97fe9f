//! Planning and executing queries: one DataFusion state for the folder, one view
//! of its tables per statement, one runtime whose threads do the work.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use futures::StreamExt;
use tokio::runtime::Runtime;

use super::Rows;
use super::checked;
use super::error::{InOurWords, from_datafusion, missing_table};
use super::parse::MAIN;
use super::provider::{CATALOG, View};
use super::statement::Planned;
use crate::base::{Error, Result};

/// Memory of sorts, joins and groups of all queries; beyond it they use disk.
const MEMORY_BYTES: usize = 2 << 30;
/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// Executes queries.
pub(super) struct Session {
    context: SessionContext,
    runtime: Arc<Runtime>,
    threads: usize,
}

impl Session {
    /// A session whose queries use `threads` threads.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("quern-sql")
            .enable_time()
            .build()
            .map_err(|e| Error::library("cannot start the threads of SQL", e))?;
        let config = SessionConfig::new()
            .with_batch_size(BATCH_ROWS)
            .with_target_partitions(threads)
            .with_default_catalog_and_schema(CATALOG, MAIN)
            .with_create_default_catalog_and_schema(false);
        let environment =
            RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES))).build_arc().ours()?;
        let context = SessionContext::new_with_config_rt(config, environment);
        context.add_analyzer_rule(checked::rule());
        context.register_udaf(checked::sum());
        Ok(Self { context, runtime: Arc::new(runtime), threads })
    }

    /// The rows of a query.
    pub(super) fn query(&self, view: &View, query: &Planned) -> Result<Rows> {
        self.runtime.block_on(async {
            let frame = self.plan(view, query).await?;
            let stream = frame.execute_stream().await.ours()?;
            Ok(self.rows(stream))
        })
    }

    /// Plans a query over the tables of `view`.
    async fn plan(&self, view: &View, query: &Planned) -> Result<DataFrame> {
        let state = SessionStateBuilder::new_from_existing(self.context.state())
            .with_catalog_list(Arc::new(view.clone()))
            .build();
        let plan = state.statement_to_plan(query.clone()).await.map_err(|e| match missing_table(&e) {
            Some(table) => view.missing(&table),
            None => from_datafusion(e),
        })?;
        let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_queries.verify_plan(&plan).ours()?;
        let threads = if keeps_order(&plan)? { 1 } else { self.threads };
        let state = SessionStateBuilder::new_from_existing(state.clone())
            .with_config(state.config().clone().with_target_partitions(threads))
            .build();
        Ok(DataFrame::new(state, plan))
    }

    /// A stream as blocking batches.
    fn rows(&self, stream: SendableRecordBatchStream) -> Rows {
        let schema = stream.schema();
        Rows::new(schema, Pull { stream: Some(stream), runtime: self.runtime.clone() })
    }
}

/// Takes batches from a stream. The stream comes first: the end of the runtime
/// waits for scans, which wait for their stream.
struct Pull {
    stream: Option<SendableRecordBatchStream>,
    runtime: Arc<Runtime>,
}

impl Iterator for Pull {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = self.stream.as_mut()?;
        let batch = self.runtime.block_on(stream.next()).map(InOurWords::ours);
        if !matches!(batch, Some(Ok(_))) {
            self.stream = None;
        }
        batch
    }
}

/// Whether rows come out in the order they are stored, which one thread keeps:
/// nothing but filters, projections and limits.
fn keeps_order(plan: &LogicalPlan) -> Result<bool> {
    let mut keeps = true;
    plan.apply_with_subqueries(|node| {
        keeps &= !matches!(
            node,
            LogicalPlan::Aggregate(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Distinct(_)
        );
        Ok(if keeps { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })
    .ours()?;
    Ok(keeps)
}
