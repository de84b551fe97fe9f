//! Tables for procs of these tests, and what the procs left behind.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use quern::base::{Column, Schema, Sharding};
use quern::proc::InstanceOutcome;

use crate::support::database::Database;
use crate::support::instance::Trial;
use crate::support::journal::Journal;

/// A folder with tables, and what executes procs on them.
pub(super) struct Tables(Database);

/// What a proc left behind.
pub(super) struct Done {
    outcome: InstanceOutcome,
    pub(super) journal: Arc<Journal>,
}

/// A column's description.
pub(super) fn column(name: &str, column_type: &str, nullable: bool) -> Column {
    Column { name: name.to_owned(), column_type: column_type.parse().unwrap(), nullable }
}

impl Tables {
    pub(super) fn new() -> Self {
        Self(Database::new())
    }

    /// Makes a table of one shard with these rows.
    pub(super) fn table(&self, name: &str, columns: &[Column], rows: Vec<ArrayRef>) {
        let schema = Schema::new(columns.to_vec()).unwrap();
        let batch = RecordBatch::try_new(schema.to_arrow(), rows).unwrap();
        self.0.create(name, &schema, Sharding::Random, vec![batch]);
    }

    /// Makes a table of the models that a proc saved.
    pub(super) fn append_models(&self, name: &str, done: Done) {
        done.outcome.result.unwrap();
        self.0.commit(name, done.outcome.outputs.into_iter().next().unwrap().1);
    }

    /// Executes one instance of a proc on these tables.
    pub(super) fn run(&self, component: &[u8], proc: &str, inputs: &[&str]) -> Done {
        let mut trial = Trial::new(component, proc);
        trial.seed = 11;
        let names: Vec<String> = trial.spec.inputs.iter().map(|input| input.name.clone()).collect();
        let trial = names.iter().zip(inputs).fold(trial, |trial, (name, table)| trial.input(name, self.0.view(table)));
        Done { outcome: trial.run(), journal: trial.journal.clone() }
    }
}

impl Done {
    /// The rows of the first output, all of them in one batch; none if the proc
    /// has no output.
    pub(super) fn complete(self) -> RecordBatch {
        self.outcome.result.unwrap_or_else(|error| panic!("{}", error.chain()));
        let output = self.outcome.outputs.into_iter().next();
        let batches = output.map(|(_, table)| table.into_batches().unwrap()).unwrap_or_default();
        match batches.first() {
            Some(first) => arrow::compute::concat_batches(&first.schema(), &batches).unwrap(),
            None => RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())),
        }
    }
}
