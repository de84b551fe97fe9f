//! `tables`: inputs are views of a snapshot, outputs collect rows.

use wasmtime::component::Resource;

use super::HostError;
use super::bindings::quern::udf::tables::{self, Buffers, Field};
use crate::base::{Column, Error, Result};
use crate::proc::sandbox::State;
pub use crate::proc::tables::{ColumnHandle, TableHandle};
use crate::proc::text;
use crate::table::RawColumn;

impl tables::Host for State {
    fn inputs(&mut self) -> wasmtime::Result<Vec<Resource<TableHandle>>> {
        let run = self.run("tables.inputs")?;
        let places = (0..run.inputs.len()).map(TableHandle::Input);
        Ok(run.tables.open_all(&mut run.budget, places.collect())?)
    }

    fn outputs(&mut self) -> wasmtime::Result<Vec<Resource<TableHandle>>> {
        let run = self.run("tables.outputs")?;
        let places = (0..run.outputs.len()).map(TableHandle::Output);
        Ok(run.tables.open_all(&mut run.budget, places.collect())?)
    }
}

impl tables::HostTable for State {
    fn name(&mut self, table: Resource<TableHandle>) -> wasmtime::Result<String> {
        let run = self.run("tables.table.name")?;
        Ok(run.table_name(*run.tables.get(&table)?)?.to_owned())
    }

    fn rows(&mut self, table: Resource<TableHandle>) -> wasmtime::Result<u64> {
        let run = self.run("tables.table.rows")?;
        let table = *run.tables.get(&table)?;
        Ok(run.table_rows(table)?)
    }

    fn fields(&mut self, table: Resource<TableHandle>) -> wasmtime::Result<Vec<Field>> {
        let run = self.run("tables.table.fields")?;
        let schema = run.schema(*run.tables.get(&table)?)?;
        Ok(schema.columns().iter().map(field).collect())
    }

    fn column(&mut self, table: Resource<TableHandle>, name: String) -> Result<Resource<ColumnHandle>, HostError> {
        let run = self.run("tables.table.column")?;
        let table = *run.tables.get(&table)?;
        text::name("column", &name)?;
        let index = run.find_column(table, &name)?;
        Ok(run.columns.open(&mut run.budget, ColumnHandle { table, index })?)
    }

    fn resize(&mut self, table: Resource<TableHandle>, rows: u64) -> Result<(), HostError> {
        let run = self.run("tables.table.resize")?;
        match *run.tables.get(&table)? {
            TableHandle::Output(at) => Ok(run.waiting(|run| run.output_mut(at)?.resize(rows))?),
            TableHandle::Input(at) => {
                let (name, _) = run.input(at)?;
                Err(Error::Denied(format!("table `{name}` is an input; only outputs can be resized")).into())
            }
        }
    }

    fn drop(&mut self, table: Resource<TableHandle>) -> wasmtime::Result<()> {
        let run = self.run("tables.table.drop")?;
        run.tables.close(&mut run.budget, &table)?;
        Ok(())
    }
}

impl tables::HostColumn for State {
    fn field(&mut self, column: Resource<ColumnHandle>) -> wasmtime::Result<Field> {
        let run = self.run("tables.column.field")?;
        let column = *run.columns.get(&column)?;
        Ok(field(run.column(column)?))
    }

    fn rows(&mut self, column: Resource<ColumnHandle>) -> wasmtime::Result<u64> {
        let run = self.run("tables.column.rows")?;
        let table = run.columns.get(&column)?.table;
        Ok(run.table_rows(table)?)
    }

    fn read(&mut self, column: Resource<ColumnHandle>, start: u64, rows: u64) -> Result<Buffers, HostError> {
        let guest_bytes = self.limits.guest_memory_bytes;
        let run = self.run("tables.column.read")?;
        let handle = *run.columns.get(&column)?;
        let read = run.read_column(handle, (start, rows), guest_bytes)?;
        Ok(Buffers { rows, validity: read.validity, offsets: read.offsets, values: read.values })
    }

    fn write(&mut self, column: Resource<ColumnHandle>, start: u64, data: Buffers) -> Result<(), HostError> {
        let run = self.run("tables.column.write")?;
        let handle = *run.columns.get(&column)?;
        let raw = RawColumn {
            rows: data.rows,
            validity: data.validity.as_deref(),
            offsets: data.offsets.as_deref(),
            values: &data.values,
        };
        Ok(run.waiting(|run| run.output_of(handle)?.write(handle.index, start, &raw))?)
    }

    fn copy_from(
        &mut self,
        column: Resource<ColumnHandle>,
        start: u64,
        source: Resource<ColumnHandle>,
    ) -> Result<(), HostError> {
        let run = self.run("tables.column.copy-from")?;
        let (target, source) = (*run.columns.get(&column)?, *run.columns.get(&source)?);
        let source = run.input_column(source)?;
        run.moved.outputs_bytes += run.waiting(|run| run.output_of(target)?.copy_from(target.index, start, &source))?;
        Ok(())
    }

    fn drop(&mut self, column: Resource<ColumnHandle>) -> wasmtime::Result<()> {
        let run = self.run("tables.column.drop")?;
        run.columns.close(&mut run.budget, &column)?;
        Ok(())
    }
}

pub(super) fn field(column: &Column) -> Field {
    Field { name: column.name.clone(), column_type: column.column_type.to_string(), nullable: column.nullable }
}
