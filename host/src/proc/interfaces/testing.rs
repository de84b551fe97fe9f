//! `testing`: what tests of procs can do. Everything is delegated to the
//! [`TestTables`] of the test.

use super::HostError;
use super::bindings::quern::udf::types::{Buffers, Error as GuestError, Field};
use super::tables::field;
use super::testing_bindings::quern::udf::testing;
use crate::base::{Column, Result};
use crate::proc::sandbox::State;
use crate::proc::testing::TestRun;
use crate::table::RawColumn;

/// Ok, or what the test is told; the outer error stops it.
type Answer<T> = wasmtime::Result<Result<T, GuestError>>;

/// Mistakes are told, faults of the host stop the test.
fn answer<T>(outcome: Result<T>) -> Answer<T> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(error) => HostError::from(error).told().map(Err),
    }
}

impl testing::Host for State {
    fn create_table(&mut self, name: String, columns: Vec<Field>, rows: Vec<Buffers>, shards: u32) -> Answer<()> {
        let tables = self.test_tables("testing.create-table")?;
        let columns = columns.into_iter().map(|field| {
            Ok(Column { column_type: field.column_type.parse()?, name: field.name, nullable: field.nullable })
        });
        let raw = rows.iter().map(|data| RawColumn {
            rows: data.rows,
            validity: data.validity.as_deref(),
            offsets: data.offsets.as_deref(),
            values: &data.values,
        });
        let columns: Result<Vec<Column>> = columns.collect();
        answer(columns.and_then(|columns| tables.create_table(&name, columns, &raw.collect::<Vec<_>>(), shards)))
    }

    fn fields(&mut self, table: String) -> Answer<Vec<Field>> {
        let columns = self.test_tables("testing.fields")?.fields(&table);
        answer(columns.map(|columns| columns.iter().map(field).collect()))
    }

    fn read(&mut self, table: String, column: String) -> Answer<Buffers> {
        answer(self.test_tables("testing.read")?.read(&table, &column).map(|(rows, copy)| Buffers {
            rows,
            validity: copy.validity,
            offsets: copy.offsets,
            values: copy.values,
        }))
    }

    fn execute(
        &mut self,
        proc: String,
        inputs: Vec<(String, Vec<String>)>,
        outputs: Vec<String>,
        params: Vec<(String, String)>,
        options: Vec<(String, String)>,
    ) -> Answer<u64> {
        self.execute_with_bytes(proc, inputs, outputs, params, Vec::new(), options)
    }

    fn execute_with_bytes(
        &mut self,
        proc: String,
        inputs: Vec<(String, Vec<String>)>,
        outputs: Vec<String>,
        params: Vec<(String, String)>,
        binary_params: Vec<(String, Vec<u8>)>,
        options: Vec<(String, String)>,
    ) -> Answer<u64> {
        let run = TestRun { proc, inputs, outputs, params, binary_params, options };
        answer(self.test_tables("testing.execute-with-bytes")?.execute(run))
    }

    fn failure(&mut self, run: u64) -> Answer<Option<String>> {
        answer(self.test_tables("testing.failure")?.failure(run))
    }

    fn results(&mut self, run: u64) -> Answer<Vec<(String, String)>> {
        answer(self.test_tables("testing.results")?.results(run))
    }

    fn binary_results(&mut self, run: u64) -> Answer<Vec<(String, Vec<u8>)>> {
        answer(self.test_tables("testing.binary-results")?.binary_results(run))
    }

    fn instance_results(&mut self, run: u64, name: String) -> Answer<Vec<(u32, String)>> {
        answer(self.test_tables("testing.instance-results")?.instance_results(run, &name))
    }

    fn metrics(&mut self, run: u64) -> Answer<Vec<(String, u64, f64)>> {
        answer(self.test_tables("testing.metrics")?.metrics(run))
    }

    fn logs(&mut self, run: u64) -> Answer<Vec<(String, String)>> {
        answer(self.test_tables("testing.logs")?.logs(run))
    }

    fn checkpoints(&mut self, run: u64) -> Answer<Vec<(u32, String, u64)>> {
        answer(self.test_tables("testing.checkpoints")?.checkpoints(run))
    }
}
