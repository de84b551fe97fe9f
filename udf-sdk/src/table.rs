//! Tables of the run: inputs to read, outputs to fill.

use std::fmt::Display;

use crate::bindings::quern::udf::{models, tables};
use crate::cells::IntoCell;
use crate::{Column, Field, Model, Module, Result, Tensor};

/// An input (this instance's shard, or all rows) or an output.
pub struct Table(tables::Table);

impl Table {
    pub(crate) fn own(raw: tables::Table) -> Self {
        Self(raw)
    }

    /// The name the proc declared for it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Rows of an input; rows reserved so far of an output.
    pub fn rows(&self) -> u64 {
        self.0.rows()
    }

    /// The columns in order.
    pub fn fields(&self) -> Vec<Field> {
        self.0.fields()
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Result<Column> {
        Ok(Column::own(self.0.column(name)?))
    }

    /// All rows of a column as a tensor `[rows, ..row shape]`, on the device,
    /// without a copy.
    pub fn tensor(&self, column: &str) -> Result<Tensor> {
        self.column(column)?.tensor()
    }

    /// Rows `[start, start + rows)` of a column as a tensor, for tables that are
    /// worked through in parts.
    pub fn tensor_rows(&self, column: &str, start: u64, rows: u64) -> Result<Tensor> {
        Tensor::of_column(&self.column(column)?, start, rows)
    }

    /// Outputs only: sets the number of rows. New rows are null where the column
    /// is nullable, else zero or empty.
    pub fn resize(&self, rows: u64) -> Result {
        Ok(self.0.resize(rows)?)
    }

    /// Outputs only: fills a column from `start` with a tensor `[rows, ..row
    /// shape]` of the column's type, on the device.
    pub fn put(&self, column: &str, start: u64, rows: &Tensor) -> Result {
        rows.to_column(&self.column(column)?, start)
    }

    /// Outputs only: fills a column from `start` with values of the proc.
    pub fn write<T: IntoCell>(&self, column: &str, start: u64, rows: &[T]) -> Result {
        self.column(column)?.write(start, rows)
    }

    /// Outputs only: appends a row that holds the model and returns the model's
    /// id. Columns of the table that are named in `metadata` are filled from it.
    pub fn save(&self, name: &str, module: &impl Module, metadata: &[(&str, &dyn Display)]) -> Result<String> {
        let mut tensors = Vec::new();
        for (name, variable) in module.variables() {
            tensors.push((name, variable.value()?));
        }
        self.save_tensors(name, &tensors, metadata)
    }

    /// As [`save`](Self::save), from tensors.
    pub fn save_tensors(
        &self,
        name: &str,
        tensors: &[(String, Tensor)],
        metadata: &[(&str, &dyn Display)],
    ) -> Result<String> {
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.raw())).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect();
        Ok(models::save(&self.0, name, &tensors, &metadata)?)
    }

    /// The ids of all models of an input, oldest first.
    pub fn model_ids(&self) -> Result<Vec<String>> {
        Ok(models::ids(&self.0)?)
    }

    /// The newest model of an input.
    pub fn newest_model(&self) -> Result<Model> {
        Ok(Model::own(models::load_newest(&self.0)?))
    }

    /// The model with that id.
    pub fn model(&self, id: &str) -> Result<Model> {
        Ok(Model::own(models::load_by_id(&self.0, id)?))
    }

    /// The newest model of that name.
    pub fn model_named(&self, name: &str) -> Result<Model> {
        Ok(Model::own(models::load_by_name(&self.0, name)?))
    }
}
