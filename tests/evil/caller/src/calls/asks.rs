//! Calls about the run, its models and its checkpoints, and about what is known
//! of handles.

use quern_udf::bindings::quern::udf::tables::{self, Field};
use quern_udf::bindings::quern::udf::tensors::{self, Variable};
use quern_udf::bindings::quern::udf::{declare, job, models};

use super::{Caller, push};
use crate::bytes::Bytes;

const LEVELS: [job::Level; 5] =
    [job::Level::Trace, job::Level::Debug, job::Level::Info, job::Level::Warn, job::Level::Error];

impl Caller {
    pub(super) fn ask(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        match code {
            0 => {
                let tensor = self.tensor(bytes);
                let (dtype, shape) = (tensor.element() as u8, tensor.shape());
                self.sum(&[dtype]);
                shape.iter().for_each(|extent| self.sum(&extent.to_le_bytes()));
            }
            1 => {
                let (a, b) = (self.tensor(bytes), self.tensor(bytes));
                self.keep(if bytes.flag() { a.less_equal(b) } else { a.greater(b) });
            }
            2 => {
                let (a, weight, bias) = (self.tensor(bytes), self.tensor(bytes), self.tensor(bytes));
                let (stride, padding) = (bytes.extent(), bytes.extent());
                self.keep(a.conv2d(weight, Some(bias), stride, padding, &bytes.name()));
            }
            3 => {
                let of = |from: usize| self.variables.get(from).into_iter().collect::<Vec<_>>();
                let gradients = [self.tensor(bytes)];
                let (rate, momentum) = (bytes.number(), bytes.number());
                let done = tensors::sgd(&of(0), &gradients, &of(1), rate, momentum, bytes.number());
                self.note(&done);
            }
            4 => self.job(bytes),
            5 => {
                let count = usize::from(bytes.byte() % 16);
                let done = job::set_binary_result(&bytes.name(), &bytes.take(count));
                self.note(&done);
            }
            6 => job::set_status(&bytes.name(), bytes.flag().then(|| bytes.number() as f32)),
            7 => job::log(LEVELS[bytes.pick(LEVELS.len())], &bytes.name()),
            8 if bytes.flag() => {
                let kind = [Some("strict"), Some("tf32"), Some("bf16"), None][bytes.pick(4)];
                let done = tensors::set_compute(kind.unwrap_or(&bytes.name()));
                self.note(&done);
            }
            8 => self.declare(bytes),
            9 => self.fields(bytes),
            _ => self.model(code, bytes),
        }
    }

    /// All that can be asked of the run.
    fn job(&mut self, bytes: &mut Bytes<'_>) {
        let numbers = [job::run_id(), job::seed(), job::shard().into(), job::shards().into()];
        numbers.iter().for_each(|number| self.sum(&number.to_le_bytes()));
        self.sum(&[u8::from(job::cancelled())]);
        job::params().iter().for_each(|(name, value)| self.texts(&[name, value]));
        let name = bytes.name();
        self.sum(job::param(&name).unwrap_or_default().as_bytes());
        self.sum(&job::param_binary(&name).unwrap_or_default());
    }

    /// Declarations, which have no place in a run.
    fn declare(&mut self, bytes: &mut Bytes<'_>) {
        let (proc, name) = (bytes.name(), bytes.name());
        let done = match bytes.byte() % 7 {
            0 => declare::input(&proc, &name, ""),
            1 => declare::input_column(&proc, &name, &bytes.name(), "int64"),
            2 => declare::output(&proc, &name, ""),
            3 => declare::output_column(&proc, &name, &bytes.name(), "int64", bytes.flag()),
            4 => declare::output_models(&proc, &name),
            5 => declare::param(&proc, &name, "int64", None, ""),
            _ => declare::reducer(&proc, &name, "sum"),
        };
        self.note(&done);
    }

    fn fields(&mut self, bytes: &mut Bytes<'_>) {
        let (table, column) = (bytes.pick(self.tables.len()), bytes.pick(self.columns.len()));
        let mut fields = self.tables[table].fields();
        fields.push(self.columns[column].field());
        for Field { name, column_type, nullable } in &fields {
            self.texts(&[name, column_type]);
            self.sum(&[u8::from(*nullable)]);
        }
        let rows = self.columns[column].rows();
        self.sum(&rows.to_le_bytes());
        self.sum(self.tables[table].name().as_bytes());
        self.sum(&[tables::inputs().len() as u8, tables::outputs().len() as u8]);
    }

    fn model(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        let at = bytes.pick(self.models.len());
        match code {
            10 => {
                let ids = models::ids(&self.tables[bytes.pick(self.tables.len())]);
                // The ids themselves are new each time.
                self.sum(&[ids.as_ref().map_or(0, Vec::len) as u8]);
                self.note(&ids);
            }
            11 => {
                let table = &self.tables[bytes.pick(self.tables.len())];
                let loaded = match bytes.byte() % 4 {
                    0 => models::load_by_name(table, &bytes.name()),
                    1 => {
                        let ids = models::ids(table).unwrap_or_default();
                        models::load_by_id(table, ids.get(bytes.pick(2)).unwrap_or(&bytes.name()))
                    }
                    _ => models::load_newest(table),
                };
                self.note(&loaded);
                loaded.into_iter().for_each(|model| push(&mut self.models, model));
            }
            12 => {
                let Some(model) = self.models.get(at) else { return };
                let (id, name, metadata, names) = (model.id(), model.name(), model.metadata(), model.tensor_names());
                self.sum(&[id.len() as u8]);
                self.sum(name.as_bytes());
                metadata.iter().for_each(|(key, value)| self.texts(&[key, value]));
                names.iter().for_each(|name| self.sum(name.as_bytes()));
            }
            13 => {
                let tensor = self.models.get(at).map(|model| model.tensor(&bytes.name()));
                tensor.into_iter().for_each(|tensor| self.keep(tensor));
            }
            14 => {
                let (name, metadata) = (bytes.name(), [(bytes.name(), bytes.name())]);
                let variables: Vec<(String, &Variable)> =
                    self.variables.iter().take(bytes.pick(3)).map(|variable| (bytes.name(), variable)).collect();
                let done = models::checkpoint(&name, &variables, &metadata);
                self.note(&done);
            }
            _ => {
                let found = models::restore_checkpoint(&bytes.name());
                self.note(&found);
                found.into_iter().flatten().for_each(|model| push(&mut self.models, model));
            }
        }
    }

    fn texts(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.sum(text.as_bytes()));
    }
}
