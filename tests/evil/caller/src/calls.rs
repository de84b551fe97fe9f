//! One call of the host after the other.

mod asks;

use quern_udf::bindings::quern::udf::models::Model;
use quern_udf::bindings::quern::udf::tables::{self, Column, Table};
use quern_udf::bindings::quern::udf::tensors::{self, Tape, Tensor, Variable};
use quern_udf::bindings::quern::udf::types::{Buffers, Dtype, Error, ErrorCode};
use quern_udf::bindings::quern::udf::{declare, job, models};

use crate::bytes::Bytes;

/// Handles of a kind that are kept.
const KEPT: usize = 24;

/// Elements of a value that is read at the end at most.
const READ_ELEMENTS: u32 = 1 << 10;

/// What the calls have made, and the sum of the host's answers.
pub(crate) struct Caller {
    tables: Vec<Table>,
    columns: Vec<Column>,
    tensors: Vec<Tensor>,
    variables: Vec<Variable>,
    tapes: Vec<Tape>,
    models: Vec<Model>,
    digest: u64,
    calls: u64,
}

impl Caller {
    pub(crate) fn new() -> Self {
        let tables: Vec<Table> = tables::inputs().into_iter().chain(tables::outputs()).collect();
        let columns = [(0, "id"), (0, "flag"), (0, "text"), (2, "n"), (2, "word"), (2, "x")];
        let columns = columns.iter().filter_map(|(table, name)| tables.get(*table)?.column(name).ok()).collect();
        let tensors = Tensor::full(Dtype::Float32, &[2, 3], 0.5).into_iter().collect();
        Self {
            tables,
            columns,
            tensors,
            variables: Vec::new(),
            tapes: Vec::new(),
            models: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
            calls: 0,
        }
    }

    /// Adds all values that are kept to the sum, unless they are large.
    pub(crate) fn read_all(&mut self) {
        let values: Vec<Tensor> = self.variables.iter().filter_map(|variable| variable.value().ok()).collect();
        for tensor in std::mem::take(&mut self.tensors).into_iter().chain(values) {
            if tensor.shape().iter().fold(1u32, |n, extent| n.saturating_mul(*extent)) <= READ_ELEMENTS {
                match tensor.read() {
                    Ok(read) => self.sum(&read),
                    Err(error) => self.note::<()>(&Err(error)),
                }
            }
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// The call that the next bytes spell.
    pub(crate) fn call(&mut self, bytes: &mut Bytes<'_>) {
        self.calls += 1;
        match bytes.byte() % 80 {
            code @ 0..=9 => self.make(code, bytes),
            code @ 10..=25 => self.combine(code, bytes),
            code @ 26..=39 => self.arrange(code, bytes),
            code @ 40..=49 => self.learn(code, bytes),
            code @ 50..=57 => self.rows(code, bytes),
            code @ 58..=63 => self.others(code, bytes),
            code => self.ask(code - 64, bytes),
        }
    }

    fn make(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        let column = bytes.pick(self.columns.len());
        let made = match code {
            0 => Tensor::full(bytes.dtype(), &bytes.shape(), bytes.number()),
            1 => {
                let (dtype, shape) = (bytes.dtype(), bytes.shape());
                let count = shape.iter().fold(1usize, |n, e| n.saturating_mul(*e as usize)).min(64) * 4;
                Tensor::from_bytes(dtype, &shape, &bytes.take(count))
            }
            2 => Tensor::range(bytes.dtype(), bytes.number(), bytes.extent(), bytes.number()),
            3 => Tensor::random_normal(bytes.dtype(), &bytes.shape(), bytes.number(), bytes.number()),
            4 => Tensor::random_uniform(bytes.dtype(), &bytes.shape(), bytes.number(), bytes.number()),
            5 => Tensor::random_permutation(bytes.extent()),
            6 => Tensor::of_column(&self.columns[column], bytes.row(), bytes.row()),
            7 => Tensor::values(&self.columns[column], bytes.row(), bytes.row(), bytes.number()),
            8 => Tensor::validity(&self.columns[column], bytes.row(), bytes.row()),
            _ => {
                let indices: Vec<u8> = (0..3).flat_map(|_| i64::from(bytes.byte() % 4).to_le_bytes()).collect();
                Tensor::from_bytes(Dtype::Int64, &[3], &indices)
            }
        };
        self.keep(made);
    }

    fn combine(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        let (a, b) = (self.tensor(bytes), self.tensor(bytes));
        let made = match code {
            10 => a.add(b),
            11 => a.sub(b),
            12 => a.mul(b),
            13 => a.div(b),
            14 => a.pow(b),
            15 => a.maximum(b),
            16 => a.minimum(b),
            17 => a.matmul(b, bytes.flag(), bytes.flag()),
            18 if bytes.flag() => a.conv2d(b, None, bytes.extent(), bytes.extent(), "relu"),
            18 => a.linear(b, bytes.flag().then_some(a), ["none", "relu", "tanh", "gelu"][bytes.pick(4)]),
            19 => a.cross_entropy(b),
            20 => a.equal(b),
            21 => a.less(b),
            22 => a.greater_equal(b),
            23 => a.where_(b, self.tensor(bytes)),
            24 => a.gather(bytes.axis(), b),
            _ => Tensor::concat(bytes.axis(), &[a, b]),
        };
        self.keep(made);
    }

    fn arrange(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        let a = self.tensor(bytes);
        let made = match code {
            26 => a.affine(bytes.number(), bytes.number()),
            27 => a.power(bytes.number()),
            28 => {
                [Tensor::relu, Tensor::sigmoid, Tensor::tanh, Tensor::exp, Tensor::log, Tensor::sqrt][bytes.pick(6)](a)
            }
            29 if bytes.flag() => a.max_pool2d(bytes.extent(), bytes.extent()),
            29 => a.softmax(bytes.axis()),
            30 => a.log_softmax(bytes.axis()),
            31 => a.reduce_sum(&[bytes.axis(), bytes.axis()][..bytes.pick(3)], bytes.flag()),
            32 => a.reduce_mean(&[bytes.axis()][..bytes.pick(2)], bytes.flag()),
            33 => a.reduce_max(&[bytes.axis()][..bytes.pick(2)], bytes.flag()),
            34 => a.arg_max(bytes.axis()),
            35 => a.cast(bytes.dtype()),
            36 => a.reshape(&bytes.shape()),
            37 => a.transpose(&bytes.shape()),
            38 => a.slice(bytes.axis(), bytes.row(), bytes.row()),
            _ => a.one_hot(bytes.extent(), bytes.dtype()),
        };
        self.keep(made);
    }

    fn learn(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        match code {
            40 | 41 => {
                let variable = Variable::new(self.tensor(bytes));
                push(&mut self.variables, variable);
            }
            42 => {
                let made = self.variables.get(bytes.pick(self.variables.len())).map(Variable::value);
                made.into_iter().for_each(|made| self.keep(made));
            }
            43 => {
                let at = bytes.pick(self.variables.len());
                let assigned = self.variables.get(at).map(|variable| variable.assign(self.tensor(bytes)));
                assigned.into_iter().for_each(|done| self.note(&done));
            }
            44 => {
                let all: Vec<&Variable> = self.variables.iter().take(4).collect();
                self.tapes.clear();
                self.tapes.push(Tape::new(&all));
            }
            45 | 46 => {
                let made = self.tapes.first().map(|tape| tape.gradients(self.tensor(bytes)));
                match made {
                    Some(Ok(gradients)) => gradients.into_iter().for_each(|gradient| self.keep(Ok(gradient))),
                    Some(Err(error)) => self.note::<()>(&Err(error)),
                    None => {}
                }
            }
            47 => {
                let variables: Vec<&Variable> = self.variables.iter().take(2).collect();
                let gradients: Vec<&Tensor> = self.tensors.iter().rev().take(bytes.pick(3)).collect();
                let done = tensors::sgd(&variables, &gradients, &[], bytes.number(), bytes.number(), bytes.number());
                self.note(&done);
            }
            48 => {
                let of = |from: usize| self.variables.get(from).into_iter().collect::<Vec<_>>();
                let gradients = [self.tensor(bytes)];
                let (step, rate) = (bytes.row(), bytes.number());
                let done =
                    tensors::adam(&of(0), &gradients, &of(1), &of(2), step, rate, 0.9, 0.999, 1e-8, bytes.number());
                self.note(&done);
            }
            _ => self.tapes.clear(),
        }
    }

    fn rows(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        let (a, b) = (bytes.pick(self.columns.len()), bytes.pick(self.columns.len()));
        let table = bytes.pick(self.tables.len());
        match code {
            50 => match self.columns[a].read(bytes.row(), bytes.row()) {
                Ok(read) => {
                    [read.validity, read.offsets, Some(read.values)].iter().flatten().for_each(|part| self.sum(part))
                }
                Err(error) => self.note::<()>(&Err(error)),
            },
            51 => {
                let rows = bytes.row();
                let take = |part: &mut Bytes<'_>| part.flag().then(|| part.byte());
                let validity = take(bytes).map(|byte| vec![byte]);
                let offsets =
                    take(bytes).map(|end| [0, i64::from(end % 8)].iter().flat_map(|o| o.to_le_bytes()).collect());
                let count = usize::from(bytes.byte() % 32);
                let data = Buffers { rows, validity, offsets, values: bytes.take(count) };
                let done = self.columns[a].write(bytes.row(), &data);
                self.note(&done);
            }
            52 => {
                let done = self.columns[a].copy_from(bytes.row(), &self.columns[b]);
                self.note(&done);
            }
            53 | 54 => {
                let done = self.tables[table].resize(bytes.row());
                self.note(&done);
            }
            55 => {
                let done = self.tensor(bytes).to_column(&self.columns[a], bytes.row());
                self.note(&done);
            }
            56 => match self.tables[table].column(&bytes.name()) {
                Ok(column) => push(&mut self.columns, column),
                Err(error) => self.note::<()>(&Err(error)),
            },
            _ => self.sum(&self.tables[table].rows().to_le_bytes()),
        }
    }

    fn others(&mut self, code: u8, bytes: &mut Bytes<'_>) {
        match code {
            58 => match self.tensor(bytes).read() {
                Ok(read) => self.sum(&read),
                Err(error) => self.note::<()>(&Err(error)),
            },
            59 => match self.tensor(bytes).item() {
                Ok(item) => self.sum(&item.to_bits().to_le_bytes()),
                Err(error) => self.note::<()>(&Err(error)),
            },
            60 => {
                let done = match bytes.byte() % 4 {
                    0 => tensors::step(),
                    1 => tensors::set_compute(["strict", "tf32", "bf16", ""][bytes.pick(4)]),
                    _ => tensors::sync(),
                };
                self.note(&done);
            }
            61 => {
                let table = bytes.pick(self.tables.len());
                let (name, tensor, loss) = (bytes.name(), self.tensor(bytes), bytes.number().to_string());
                let metadata = [("loss".to_owned(), loss)];
                let saved = models::save(&self.tables[table], &name, &[(bytes.name(), tensor)], &metadata);
                // The id is new each time.
                self.note(&saved.map(drop));
            }
            62 => {
                let done = match bytes.byte() % 3 {
                    0 => job::set_result(&bytes.name(), &bytes.name()),
                    1 => declare::proc(&bytes.name(), "distributed", ""),
                    _ => {
                        job::metric(&bytes.name(), bytes.row(), bytes.number());
                        Ok(())
                    }
                };
                self.note(&done);
            }
            _ => {
                let at = bytes.pick(self.tensors.len());
                if self.tensors.len() > 1 {
                    self.tensors.swap_remove(at);
                }
            }
        }
    }

    fn tensor(&self, bytes: &mut Bytes<'_>) -> &Tensor {
        // There is always one.
        &self.tensors[bytes.pick(self.tensors.len())]
    }

    fn keep(&mut self, made: Result<Tensor, Error>) {
        self.note(&made.as_ref().map(|_| ()).map_err(Clone::clone));
        if let Ok(tensor) = made {
            tensor.shape().iter().for_each(|extent| self.sum(&extent.to_le_bytes()));
            push(&mut self.tensors, tensor);
        }
    }

    /// Adds whether a call succeeded, or the error's words to the sum.
    fn note<T>(&mut self, done: &Result<T, Error>) {
        match done {
            Ok(_) => self.sum(b"ok"),
            // How much was used before depends on the way of execution.
            Err(error) if error.code == ErrorCode::QuotaExceeded => self.sum(b"quota"),
            Err(error) => self.sum(error.message.as_bytes()),
        }
    }

    /// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>).
    fn sum(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.digest = self.digest.rotate_left(1);
    }
}

/// Adds a handle; the oldest leaves when there are many.
fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(item);
}
