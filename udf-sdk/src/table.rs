//! Tables of the run: inputs to read, outputs to fill.

use std::fmt::Display;

use crate::bindings::quern::udf::{models, tables};
use crate::cells::IntoCell;
use crate::model::texts;
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
    ///
    /// # Errors
    /// `not-found`, with the columns that there are.
    pub fn column(&self, name: &str) -> Result<Column> {
        Ok(Column::own(self.0.column(name)?))
    }

    /// All rows of a column as a tensor `[rows, ..row shape]`, on the device,
    /// without a copy.
    ///
    /// # Errors
    /// As [`column`](Self::column) and [`Column::tensor`]: one that has nulls is refused.
    pub fn tensor(&self, column: &str) -> Result<Tensor> {
        self.column(column)?.tensor()
    }

    /// Rows `[start, start + rows)` of a column as a tensor `[rows, ..row shape]`, for
    /// tables that are worked through in parts.
    ///
    /// # Errors
    /// As [`column`](Self::column) and [`Tensor::of_column`].
    pub fn tensor_rows(&self, column: &str, start: u64, rows: u64) -> Result<Tensor> {
        Tensor::of_column(&self.column(column)?, start, rows)
    }

    /// Outputs only: sets the number of rows. New rows are null where the column
    /// is nullable, else zero or empty.
    ///
    /// # Errors
    /// `denied` for an input, `quota-exceeded` beyond the limit `output_bytes`.
    pub fn resize(&self, rows: u64) -> Result {
        Ok(self.0.resize(rows)?)
    }

    /// Outputs only: fills a column from `start` with a tensor `[rows, ..row
    /// shape]` of the column's type, on the device.
    ///
    /// # Errors
    /// As [`column`](Self::column) and [`Tensor::to_column`].
    pub fn put(&self, column: &str, start: u64, rows: &Tensor) -> Result {
        rows.to_column(&self.column(column)?, start)
    }

    /// Outputs only: fills a column from `start` with values of the proc.
    ///
    /// # Errors
    /// As [`column`](Self::column) and [`Column::write`].
    pub fn write<T: IntoCell>(&self, column: &str, start: u64, rows: &[T]) -> Result {
        self.column(column)?.write(start, rows)
    }

    /// Outputs only: appends a row that holds the model and returns the model's
    /// id. The output must have been declared with `models`. Columns of the table that
    /// are named in `metadata` are filled from it.
    ///
    /// # Errors
    /// `not-found` where the table lacks a column of models, `denied` for an input,
    /// `quota-exceeded` beyond the limits `model_bytes` and `saved_models`.
    pub fn save(&self, name: &str, module: &impl Module, metadata: &[(&str, &dyn Display)]) -> Result<String> {
        let mut tensors = Vec::new();
        for (name, variable) in module.variables() {
            tensors.push((name, variable.value()?));
        }
        self.save_tensors(name, &tensors, metadata)
    }

    /// As [`save`](Self::save), from tensors.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_tensors(
        &self,
        name: &str,
        tensors: &[(String, Tensor)],
        metadata: &[(&str, &dyn Display)],
    ) -> Result<String> {
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.raw())).collect();
        Ok(models::save(&self.0, name, &tensors, &texts(metadata))?)
    }

    /// The ids of all models of an input, oldest first.
    pub fn model_ids(&self) -> Result<Vec<String>> {
        Ok(models::ids(&self.0)?)
    }

    /// The newest model of an input.
    ///
    /// # Errors
    /// `not-found` where the table has no rows, `denied` for an output.
    pub fn newest_model(&self) -> Result<Model> {
        Ok(Model::own(models::load_newest(&self.0)?))
    }

    /// The model with that id.
    ///
    /// # Errors
    /// `not-found`, or `invalid-argument` where `id` is no uuid.
    pub fn model(&self, id: &str) -> Result<Model> {
        Ok(Model::own(models::load_by_id(&self.0, id)?))
    }

    /// The newest model of that name.
    ///
    /// # Errors
    /// `not-found` where there is none.
    pub fn model_named(&self, name: &str) -> Result<Model> {
        Ok(Model::own(models::load_by_name(&self.0, name)?))
    }
}
