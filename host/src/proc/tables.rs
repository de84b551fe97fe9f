//! The tables of a run: which columns its handles stand for, and what may be read
//! and written.

use std::sync::Arc;

use super::instance::Run;
use crate::base::{Column, Error, Limits, Result, Schema};
use crate::table::{ColumnCopy, DeviceColumn, OutputTable, TableView};

/// A table of the run, by its place among the inputs or the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub enum TableHandle {
    /// An input.
    Input(usize),
    /// An output.
    Output(usize),
}

/// A column of one of the run's tables.
#[derive(Clone, Copy, Debug)]
#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct ColumnHandle {
    /// The table.
    pub(super) table: TableHandle,
    /// The column's place in it.
    pub(super) index: usize,
}

impl Run {
    /// Name and contents of an input.
    pub(super) fn input(&self, at: usize) -> Result<&(String, TableView)> {
        self.inputs.get(at).ok_or_else(|| Error::Internal(format!("no input at place {at}")))
    }

    /// Name and contents of an output.
    pub(super) fn output(&self, at: usize) -> Result<&(String, OutputTable)> {
        self.outputs.get(at).ok_or_else(|| Error::Internal(format!("no output at place {at}")))
    }

    /// An output, to add rows.
    pub(super) fn output_mut(&mut self, at: usize) -> Result<&mut OutputTable> {
        let output = self.outputs.get_mut(at).map(|(_, table)| table);
        output.ok_or_else(|| Error::Internal(format!("no output at place {at}")))
    }

    /// Rows of an input column on the device, for reading.
    pub(super) fn input_column(&mut self, column: ColumnHandle) -> Result<Arc<DeviceColumn>> {
        match column.table {
            TableHandle::Input(at) => self.waiting(|run| run.input(at)?.1.column(column.index)),
            TableHandle::Output(at) => {
                let (name, _) = self.output(at)?;
                Err(Error::Denied(format!("table `{name}` is an output; only inputs can be read")))
            }
        }
    }

    /// Copies rows `start` and on of an input column, so many as fit the guest.
    pub(super) fn read_column(
        &mut self,
        column: ColumnHandle,
        (start, rows): (u64, u64),
        guest_bytes: u64,
    ) -> Result<ColumnCopy> {
        let source = self.input_column(column)?;
        let bytes = bytes_of_rows(&source, start, rows);
        if bytes > guest_bytes {
            return Err(Limits::exceeded("guest_memory_bytes", bytes, guest_bytes));
        }
        let read = self.waiting(|run| source.read(start, rows, &run.kill))?;
        self.moved.reads_bytes += source.moved_bytes(&read);
        Ok(read)
    }

    /// The output that a column belongs to, for writing.
    pub(super) fn output_of(&mut self, column: ColumnHandle) -> Result<&mut OutputTable> {
        match column.table {
            TableHandle::Output(at) => self.output_mut(at),
            TableHandle::Input(at) => {
                let (name, _) = self.input(at)?;
                Err(Error::Denied(format!("table `{name}` is an input; only outputs can be written")))
            }
        }
    }

    /// The columns of a table.
    pub(super) fn schema(&self, table: TableHandle) -> Result<&Schema> {
        Ok(match table {
            TableHandle::Input(at) => self.input(at)?.1.schema(),
            TableHandle::Output(at) => self.output(at)?.1.schema(),
        })
    }

    /// Name, type and nullability of a column.
    pub(super) fn column(&self, column: ColumnHandle) -> Result<&Column> {
        let columns = self.schema(column.table)?.columns();
        columns.get(column.index).ok_or_else(|| Error::Internal("a column handle without column".into()))
    }

    /// The proc's name for a table.
    pub(super) fn table_name(&self, table: TableHandle) -> Result<&str> {
        Ok(match table {
            TableHandle::Input(at) => &self.input(at)?.0,
            TableHandle::Output(at) => &self.output(at)?.0,
        })
    }

    /// The place of a column; when there is none of that name, the error names
    /// those there are.
    pub(super) fn find_column(&self, table: TableHandle, name: &str) -> Result<usize> {
        let columns = self.schema(table)?.columns();
        columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
            let within = self.table_name(table).map(|table| format!("table `{table}` ({})", names.join(", ")));
            Error::not_found("column", name, within.ok(), names)
        })
    }

    /// Rows of a table.
    pub(super) fn table_rows(&self, table: TableHandle) -> Result<u64> {
        Ok(match table {
            TableHandle::Input(at) => self.input(at)?.1.rows(),
            TableHandle::Output(at) => self.output(at)?.1.rows(),
        })
    }
}

/// Bytes of some rows, before they are copied; the range is checked by the copy.
fn bytes_of_rows(column: &DeviceColumn, start: u64, rows: u64) -> u64 {
    let offset = |row: u64| {
        let at = usize::try_from(row).ok()?.checked_mul(8)?;
        let bytes = column.offsets_buffer()?.as_slice().get(at..at.checked_add(8)?)?;
        Some(i64::from_le_bytes(bytes.try_into().ok()?))
    };
    match column.column_type().row_bytes() {
        Some(width) => rows.saturating_mul(width as u64),
        None => match (offset(start), start.checked_add(rows).and_then(offset)) {
            (Some(first), Some(last)) => {
                let offsets = rows.saturating_add(1).saturating_mul(8);
                u64::try_from(last.saturating_sub(first)).unwrap_or(0).saturating_add(offsets)
            }
            _ => 0,
        },
    }
}
