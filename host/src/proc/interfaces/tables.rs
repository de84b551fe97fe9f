//! `tables`: inputs are views of a snapshot, outputs collect rows.

use wasmtime::component::Resource;

use super::HostError;
use super::bindings::quern::udf::tables::{self, Buffers, Field};
use crate::base::{Column, Error, Limits, Result, Schema};
use crate::proc::instance::Run;
use crate::proc::sandbox::State;
use crate::proc::text;
use crate::table::{DeviceColumn, OutputTable, RawColumn, TableView};

/// A table of the run, by its place among the inputs or the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableHandle {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
}

/// A column of one of the run's tables.
#[derive(Clone, Copy, Debug)]
pub struct ColumnHandle {
    /// The table.
    pub(in crate::proc) table: TableHandle,
    /// The column's place in it.
    pub(in crate::proc) index: usize,
}

impl Run {
    /// Name and contents of an input.
    pub(in crate::proc) fn input(&self, at: usize) -> Result<&(String, TableView)> {
        self.inputs.get(at).ok_or_else(|| Error::Internal(format!("no input at place {at}")))
    }

    /// Name and contents of an output.
    pub(in crate::proc) fn output(&self, at: usize) -> Result<&(String, OutputTable)> {
        self.outputs.get(at).ok_or_else(|| Error::Internal(format!("no output at place {at}")))
    }

    /// An output, to add rows.
    pub(in crate::proc) fn output_mut(&mut self, at: usize) -> Result<&mut OutputTable> {
        let output = self.outputs.get_mut(at).map(|(_, table)| table);
        output.ok_or_else(|| Error::Internal(format!("no output at place {at}")))
    }

    /// Rows of an input column on the device, for reading.
    pub(in crate::proc) fn input_column(&mut self, column: ColumnHandle) -> Result<std::sync::Arc<DeviceColumn>> {
        match column.table {
            TableHandle::Input(at) => self.waiting(|run| run.input(at)?.1.column(column.index)),
            TableHandle::Output(at) => {
                let (name, _) = self.output(at)?;
                Err(Error::Denied(format!("table `{name}` is an output; only inputs can be read")))
            }
        }
    }

    /// The output that a column belongs to, for writing.
    pub(in crate::proc) fn output_of(&mut self, column: ColumnHandle) -> Result<&mut OutputTable> {
        match column.table {
            TableHandle::Output(at) => self.output_mut(at),
            TableHandle::Input(at) => {
                let (name, _) = self.input(at)?;
                Err(Error::Denied(format!("table `{name}` is an input; only outputs can be written")))
            }
        }
    }

    /// The columns of a table.
    fn schema(&self, table: TableHandle) -> Result<&Schema> {
        Ok(match table {
            TableHandle::Input(at) => self.input(at)?.1.schema(),
            TableHandle::Output(at) => self.output(at)?.1.schema(),
        })
    }

    /// Name, type and nullability of a column.
    pub(in crate::proc) fn column(&self, column: ColumnHandle) -> Result<&Column> {
        let columns = self.schema(column.table)?.columns();
        columns.get(column.index).ok_or_else(|| Error::Internal("a column handle without column".into()))
    }

    fn table_name(&self, table: TableHandle) -> Result<&str> {
        Ok(match table {
            TableHandle::Input(at) => &self.input(at)?.0,
            TableHandle::Output(at) => &self.output(at)?.0,
        })
    }

    /// The place of a column; when there is none of that name, the error names
    /// those there are.
    pub(in crate::proc) fn find_column(&self, table: TableHandle, name: &str) -> Result<usize> {
        let columns = self.schema(table)?.columns();
        columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
            let within = self.table_name(table).map(|table| format!("table `{table}` ({})", names.join(", ")));
            Error::not_found("column", name, within.ok(), names)
        })
    }

    fn table_rows(&self, table: TableHandle) -> Result<u64> {
        Ok(match table {
            TableHandle::Input(at) => self.input(at)?.1.rows(),
            TableHandle::Output(at) => self.output(at)?.1.rows(),
        })
    }
}

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
            TableHandle::Output(at) => Ok(run.output_mut(at)?.resize(rows)?),
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
        let source = run.input_column(handle)?;
        let bytes = values_bytes(&source, start, rows);
        if bytes > guest_bytes {
            return Err(Limits::exceeded("guest_memory_bytes", bytes, guest_bytes).into());
        }
        let read = run.waiting(|_| source.read(start, rows))?;
        run.moved.reads_bytes += source.moved_bytes(&read);
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
        Ok(run.output_of(handle)?.write(handle.index, start, &raw)?)
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

/// Bytes of the values of some rows, before they are copied; the range is
/// checked by the copy.
fn values_bytes(column: &DeviceColumn, start: u64, rows: u64) -> u64 {
    let offset = |row: u64| {
        let at = usize::try_from(row).ok()?.checked_mul(8)?;
        let bytes = column.offsets_buffer()?.as_slice().get(at..at.checked_add(8)?)?;
        Some(i64::from_le_bytes(bytes.try_into().ok()?))
    };
    match column.column_type().row_bytes() {
        Some(width) => rows.saturating_mul(width as u64),
        None => match (offset(start), start.checked_add(rows).and_then(offset)) {
            (Some(first), Some(last)) => u64::try_from(last.saturating_sub(first)).unwrap_or(0),
            _ => 0,
        },
    }
}

pub(super) fn field(column: &Column) -> Field {
    Field { name: column.name.clone(), column_type: column.column_type.to_string(), nullable: column.nullable }
}
