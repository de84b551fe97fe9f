//! Planning and executing queries: one DataFusion state for the folder, one view
//! of its tables per statement, one runtime whose threads do the work.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use super::Rows;
use super::checked;
use super::error::{InOurWords, from_datafusion, missing_table};
use super::interruptible::InterruptibleJoins;
use super::parse::MAIN;
use super::provider::{CATALOG, View};
use super::statement::Planned;
use super::waiting::{self, Received};
use super::watch::Watch;
use crate::base::{Error, Result};

/// Memory of sorts, joins and groups of all queries; beyond it they use disk.
const MEMORY_BYTES: usize = 2 << 30;
/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// Batches that wait for whoever takes them.
const BATCHES_AHEAD: usize = 1;
/// How often to look whether the rows are still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
        context.register_udf(version());
        Ok(Self { context, runtime: Arc::new(runtime), threads })
    }

    /// The rows of a query.
    pub(super) fn query(&self, view: &View, query: &Planned) -> Result<Rows> {
        self.runtime.block_on(async {
            let frame = self.plan(view, query).await?;
            let is_plan = matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
            let rows = self.rows(frame.execute_stream().await.ours()?, &view.caller.watch);
            Ok(if is_plan { plan_as_typed(rows) } else { rows })
        })
    }

    /// The logical plan of a query.
    pub(super) fn logical_plan(&self, view: &View, query: &Planned) -> Result<LogicalPlan> {
        self.runtime.block_on(async { Ok(self.plan(view, query).await?.logical_plan().clone()) })
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
            .with_physical_optimizer_rule(Arc::new(InterruptibleJoins(view.caller.watch.clone())))
            .build();
        Ok(DataFrame::new(state, plan))
    }

    /// A stream as blocking batches. It is driven by the threads of SQL, so that
    /// whoever waits can look meanwhile whether the rows are still wanted.
    fn rows(&self, mut stream: SendableRecordBatchStream, watch: &Watch) -> Rows {
        let schema = stream.schema();
        let (send, batches) = channel(BATCHES_AHEAD);
        let task = self.runtime.spawn(async move {
            while let Some(batch) = stream.next().await {
                if send.send(batch).await.is_err() {
                    break;
                }
            }
        });
        let pull = Pull { batches, task: Some(task), runtime: self.runtime.clone(), watch: watch.clone() };
        Rows::new(schema, pull)
    }
}

/// `version()`: of Quern.
fn version() -> ScalarUDF {
    let text = concat!("Quern ", env!("CARGO_PKG_VERSION")).to_owned();
    let value = ScalarValue::Utf8(Some(text));
    let call = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
    create_udf("version", Vec::new(), DataType::Utf8, Volatility::Immutable, Arc::new(call))
}

/// Takes batches from the task that makes them; ends it when dropped.
struct Pull {
    batches: Receiver<datafusion::error::Result<RecordBatch>>,
    /// None once it has ended.
    task: Option<JoinHandle<()>>,
    runtime: Arc<Runtime>,
    watch: Watch,
}

impl Pull {
    /// The next batch; none at the end.
    fn take(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.watch.check()?;
            match waiting::receive(&mut self.batches, LOOK_EVERY) {
                Received::Value(batch) => return batch.ours().map(Some),
                Received::End => break,
                Received::Nothing => {}
            }
        }
        match self.task.take().map(|task| self.runtime.block_on(task)) {
            Some(Err(failed)) if failed.is_panic() => {
                Err(Error::Internal("a query ended in a panic, see the text above".into()))
            }
            _ => Ok(None),
        }
    }
}

impl Iterator for Pull {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.task.as_ref()?;
        let batch = self.take();
        if !matches!(batch, Ok(Some(_))) {
            self.stop();
        }
        batch.transpose()
    }
}

impl Pull {
    fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.batches.close();
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The rows of `EXPLAIN`, whose text shows operators as they were typed.
fn plan_as_typed(rows: Rows) -> Rows {
    let schema = rows.schema().clone();
    Rows::new(
        schema.clone(),
        rows.map(move |batch| {
            let batch = batch?;
            let columns = batch.columns().iter().map(|column| match column.as_string_opt::<i32>() {
                Some(texts) => {
                    let typed = texts.iter().map(|text| text.map(checked::as_typed));
                    Arc::new(typed.collect::<StringArray>()) as ArrayRef
                }
                None => column.clone(),
            });
            RecordBatch::try_new(schema.clone(), columns.collect())
                .map_err(|e| Error::Internal(format!("a plan cannot be shown: {e}")))
        }),
    )
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
