//! `tensors`: values in the session's program. Shapes, types and sizes are
//! checked by the session; ranges of columns here.

use wasmtime::component::Resource;

use super::bindings::quern::udf::tensors::{self, Dtype};
use super::tables::TableHandle;
use super::{ColumnHandle, GuestError, HostError};
use crate::base::{DType, Error, Limits, Result};
use crate::proc::handles::Handles;
use crate::proc::instance::Run;
use crate::proc::sandbox::State;
use crate::tensor::{Adam, Conv2d, Keep, MAX_RANK, Session, Sgd, Tape, Tensor, Transposed, Variable};

/// A variable; its constructor cannot answer, so that a failure shows at use.
pub struct VariableHandle(Result<Variable, GuestError>);

/// A tape; a failure of its constructor shows at `gradients`.
pub struct TapeHandle(Result<Tape, GuestError>);

type Handle = Resource<Tensor>;
type Made = Result<Handle, HostError>;

impl VariableHandle {
    pub(super) fn get(&self) -> Result<&Variable, HostError> {
        self.0.as_ref().map_err(|error| HostError::Mistake(error.clone()))
    }
}

impl State {
    /// Records an operation and opens a handle to its value.
    #[inline]
    fn make(
        &mut self,
        function: &'static str,
        operation: impl FnOnce(&mut Session, &Handles<Tensor>) -> Result<Tensor>,
    ) -> Made {
        let run = self.run(function)?;
        let tensor = operation(&mut run.session, &run.tensors)?;
        Ok(run.tensors.open(&mut run.budget, tensor)?)
    }
}

/// Sizes as the session takes them; lists that are no shape take no memory.
fn sizes(shape: &[u32]) -> Result<Vec<usize>> {
    if shape.len() > MAX_RANK {
        let n = shape.len();
        return Err(Error::OutOfRange(format!("a shape of {n} dimensions; tensors have at most {MAX_RANK}")));
    }
    Ok(shape.iter().map(|extent| *extent as usize).collect())
}

/// Whether a reduced axis stays.
fn keep(keep: bool) -> Keep {
    if keep { Keep::Kept } else { Keep::Removed }
}

/// Operations on one tensor without further arguments.
macro_rules! unary {
    ($($name:ident),*) => { $(
        fn $name(&mut self, a: Handle) -> Made {
            self.make(concat!("tensors.tensor.", stringify!($name)), |session, tensors| session.$name(tensors.get(&a)?))
        }
    )* };
}

/// Operations on two tensors without further arguments.
macro_rules! binary {
    ($($name:ident),*) => { $(
        fn $name(&mut self, a: Handle, b: Handle) -> Made {
            self.make(concat!("tensors.tensor.", stringify!($name)), |session, tensors| session.$name(tensors.get(&a)?, tensors.get(&b)?))
        }
    )* };
}

impl tensors::HostTensor for State {
    fn of_column(&mut self, source: Resource<ColumnHandle>, start: u64, rows: u64) -> Made {
        let run = self.run("tensors.tensor.of-column")?;
        let range = run.column_range(*run.columns.get(&source)?, start, rows)?;
        if range.null_count > 0 {
            return Err(Error::TypeMismatch(format!(
                "column `{}` has {} rows without a value; take `values` with a fill and `validity`",
                range.name, range.null_count
            ))
            .into());
        }
        let tensor = range.values(&mut run.session)?;
        Ok(run.tensors.open(&mut run.budget, tensor)?)
    }

    fn values(&mut self, source: Resource<ColumnHandle>, start: u64, rows: u64, fill: f64) -> Made {
        let run = self.run("tensors.tensor.values")?;
        let range = run.column_range(*run.columns.get(&source)?, start, rows)?;
        let values = range.values(&mut run.session)?;
        let filled = match range.present(&mut run.session)? {
            None => values,
            Some(present) => {
                let mut shape = vec![range.rows];
                shape.resize(values.shape().len(), 1);
                let present = run.session.reshape(&present, &shape)?;
                let fill = run.session.full(range.dtype, &[], fill)?;
                run.session.where_(&present, &values, &fill)?
            }
        };
        Ok(run.tensors.open(&mut run.budget, filled)?)
    }

    fn validity(&mut self, source: Resource<ColumnHandle>, start: u64, rows: u64) -> Made {
        let run = self.run("tensors.tensor.validity")?;
        let range = run.column_range(*run.columns.get(&source)?, start, rows)?;
        let present = match range.present(&mut run.session)? {
            Some(present) => present,
            None => run.session.full(DType::Bool, &[range.rows], 1.0)?,
        };
        Ok(run.tensors.open(&mut run.budget, present)?)
    }

    fn to_column(&mut self, a: Handle, target: Resource<ColumnHandle>, start: u64) -> Result<(), HostError> {
        let run = self.run("tensors.tensor.to-column")?;
        let column = *run.columns.get(&target)?;
        run.output_of(column)?;
        let moved = run.waiting(|run| {
            let Run { tensors, outputs, session, .. } = run;
            let tensor = tensors.get(&a)?;
            let TableHandle::Output(at) = column.table else {
                return Err(Error::Internal("an input among the outputs".into()));
            };
            let (_, output) = outputs.get_mut(at).ok_or_else(|| Error::Internal("no such output".into()))?;
            let rows = (column.index, start);
            if output.keep_tensor(rows, tensor.dtype(), tensor.shape(), || session.buffer(tensor))? {
                return Ok(0);
            }
            let bytes = output.tensor_target(column.index, start, tensor.dtype(), tensor.shape())?;
            session.read_into(tensor, bytes)?;
            Ok(bytes.len() as u64)
        })?;
        run.moved.outputs_bytes += moved;
        Ok(())
    }

    fn from_bytes(&mut self, element: Dtype, shape: Vec<u32>, data: Vec<u8>) -> Made {
        let made = self.make("tensors.tensor.from-bytes", |session, _| {
            session.from_bytes(element.into(), &sizes(&shape)?, &data)
        })?;
        // Bytes that were refused did not move.
        self.run("tensors.tensor.from-bytes")?.moved.parameters_bytes += data.len() as u64;
        Ok(made)
    }

    fn full(&mut self, element: Dtype, shape: Vec<u32>, value: f64) -> Made {
        self.make("tensors.tensor.full", |session, _| session.full(element.into(), &sizes(&shape)?, value))
    }

    fn range(&mut self, element: Dtype, start: f64, count: u32, step: f64) -> Made {
        self.make("tensors.tensor.range", |session, _| session.range(element.into(), start, count as usize, step))
    }

    fn random_normal(&mut self, element: Dtype, shape: Vec<u32>, mean: f64, std: f64) -> Made {
        self.make("tensors.tensor.random-normal", |session, _| {
            session.random_normal(element.into(), &sizes(&shape)?, mean, std)
        })
    }

    fn random_uniform(&mut self, element: Dtype, shape: Vec<u32>, low: f64, high: f64) -> Made {
        self.make("tensors.tensor.random-uniform", |session, _| {
            session.random_uniform(element.into(), &sizes(&shape)?, low, high)
        })
    }

    fn random_permutation(&mut self, count: u32) -> Made {
        self.make("tensors.tensor.random-permutation", |session, _| session.random_permutation(count as usize))
    }

    fn element(&mut self, a: Handle) -> wasmtime::Result<Dtype> {
        Ok(self.run("tensors.tensor.element")?.tensors.get(&a)?.dtype().into())
    }

    fn shape(&mut self, a: Handle) -> wasmtime::Result<Vec<u32>> {
        let run = self.run("tensors.tensor.shape")?;
        let shape = run.tensors.get(&a)?.shape().iter();
        Ok(shape.map(|extent| u32::try_from(*extent).unwrap_or(u32::MAX)).collect())
    }

    fn read(&mut self, a: Handle) -> Result<Vec<u8>, HostError> {
        let guest_bytes = self.limits.guest_memory_bytes;
        let run = self.run("tensors.tensor.read")?;
        let tensor = run.tensors.get(&a)?.clone();
        let bytes = (tensor.shape().iter().product::<usize>() * tensor.dtype().size_bytes()) as u64;
        if bytes > guest_bytes {
            return Err(Limits::exceeded("guest_memory_bytes", bytes, guest_bytes).into());
        }
        let data = run.waiting(|run| run.session.read(&tensor))?;
        run.moved.reads_bytes += bytes;
        Ok(data)
    }

    fn item(&mut self, a: Handle) -> Result<f64, HostError> {
        let run = self.run("tensors.tensor.item")?;
        let tensor = run.tensors.get(&a)?.clone();
        let item = run.waiting(|run| run.session.item(&tensor))?;
        run.moved.reads_bytes += size_of_val(&item) as u64;
        Ok(item)
    }

    unary!(relu, sigmoid, tanh, exp, log, sqrt);
    binary!(add, sub, mul, div, pow, maximum, minimum, cross_entropy);
    binary!(equal, less, less_equal, greater, greater_equal);

    fn affine(&mut self, a: Handle, scale: f64, shift: f64) -> Made {
        self.make("tensors.tensor.affine", |session, tensors| session.affine(tensors.get(&a)?, scale, shift))
    }

    fn power(&mut self, a: Handle, exponent: f64) -> Made {
        self.make("tensors.tensor.power", |session, tensors| session.power(tensors.get(&a)?, exponent))
    }

    fn matmul(&mut self, a: Handle, b: Handle, transpose_a: bool, transpose_b: bool) -> Made {
        let transposed = Transposed { a: transpose_a, b: transpose_b };
        self.make("tensors.tensor.matmul", |session, tensors| {
            session.matmul(tensors.get(&a)?, tensors.get(&b)?, transposed)
        })
    }

    fn linear(&mut self, x: Handle, weight: Handle, bias: Option<Handle>, activation: String) -> Made {
        self.make("tensors.tensor.linear", |session, tensors| {
            let bias = bias.as_ref().map(|bias| tensors.get(bias)).transpose()?;
            let activation = short("activation", &activation)?.parse()?;
            session.linear(tensors.get(&x)?, tensors.get(&weight)?, bias, activation)
        })
    }

    fn conv2d(
        &mut self,
        x: Handle,
        weight: Handle,
        bias: Option<Handle>,
        stride: u32,
        padding: u32,
        activation: String,
    ) -> Made {
        self.make("tensors.tensor.conv2d", |session, tensors| {
            let bias = bias.as_ref().map(|bias| tensors.get(bias)).transpose()?;
            let activation = short("activation", &activation)?.parse()?;
            let with = Conv2d { stride: stride as usize, padding: padding as usize, activation };
            session.conv2d(tensors.get(&x)?, tensors.get(&weight)?, bias, &with)
        })
    }

    fn max_pool2d(&mut self, x: Handle, size: u32, stride: u32) -> Made {
        self.make("tensors.tensor.max-pool2d", |session, tensors| {
            session.max_pool2d(tensors.get(&x)?, size as usize, stride as usize)
        })
    }

    fn softmax(&mut self, a: Handle, axis: i32) -> Made {
        self.make("tensors.tensor.softmax", |session, tensors| session.softmax(tensors.get(&a)?, axis))
    }

    fn log_softmax(&mut self, a: Handle, axis: i32) -> Made {
        self.make("tensors.tensor.log-softmax", |session, tensors| session.log_softmax(tensors.get(&a)?, axis))
    }

    fn reduce_sum(&mut self, a: Handle, axes: Vec<i32>, keeps: bool) -> Made {
        self.make("tensors.tensor.reduce-sum", |session, tensors| {
            session.reduce_sum(tensors.get(&a)?, &axes, keep(keeps))
        })
    }

    fn reduce_mean(&mut self, a: Handle, axes: Vec<i32>, keeps: bool) -> Made {
        self.make("tensors.tensor.reduce-mean", |session, tensors| {
            session.reduce_mean(tensors.get(&a)?, &axes, keep(keeps))
        })
    }

    fn reduce_max(&mut self, a: Handle, axes: Vec<i32>, keeps: bool) -> Made {
        self.make("tensors.tensor.reduce-max", |session, tensors| {
            session.reduce_max(tensors.get(&a)?, &axes, keep(keeps))
        })
    }

    fn arg_max(&mut self, a: Handle, axis: i32) -> Made {
        self.make("tensors.tensor.arg-max", |session, tensors| session.arg_max(tensors.get(&a)?, axis))
    }

    fn where_(&mut self, a: Handle, yes: Handle, no: Handle) -> Made {
        self.make("tensors.tensor.where", |session, tensors| {
            session.where_(tensors.get(&a)?, tensors.get(&yes)?, tensors.get(&no)?)
        })
    }

    fn cast(&mut self, a: Handle, element: Dtype) -> Made {
        self.make("tensors.tensor.cast", |session, tensors| session.cast(tensors.get(&a)?, element.into()))
    }

    fn reshape(&mut self, a: Handle, shape: Vec<u32>) -> Made {
        self.make("tensors.tensor.reshape", |session, tensors| session.reshape(tensors.get(&a)?, &sizes(&shape)?))
    }

    fn transpose(&mut self, a: Handle, permutation: Vec<u32>) -> Made {
        self.make("tensors.tensor.transpose", |session, tensors| {
            session.transpose(tensors.get(&a)?, &sizes(&permutation)?)
        })
    }

    fn slice(&mut self, a: Handle, axis: i32, start: u64, length: u64) -> Made {
        self.make("tensors.tensor.slice", |session, tensors| session.slice(tensors.get(&a)?, axis, start, length))
    }

    fn gather(&mut self, a: Handle, axis: i32, indices: Handle) -> Made {
        self.make("tensors.tensor.gather", |session, tensors| {
            session.gather(tensors.get(&a)?, axis, tensors.get(&indices)?)
        })
    }

    fn concat(&mut self, axis: i32, parts: Vec<Handle>) -> Made {
        self.make("tensors.tensor.concat", |session, tensors| {
            let parts = parts.iter().map(|part| tensors.get(part)).collect::<Result<Vec<_>>>()?;
            session.concat(axis, &parts)
        })
    }

    fn one_hot(&mut self, ids: Handle, classes: u32, element: Dtype) -> Made {
        self.make("tensors.tensor.one-hot", |session, tensors| {
            session.one_hot(tensors.get(&ids)?, classes as usize, element.into())
        })
    }

    fn drop(&mut self, a: Handle) -> wasmtime::Result<()> {
        let run = self.run("tensors.tensor.drop")?;
        run.tensors.close(&mut run.budget, &a)?;
        Ok(())
    }
}

impl tensors::HostVariable for State {
    fn new(&mut self, initial: Handle) -> wasmtime::Result<Resource<VariableHandle>> {
        let run = self.run("tensors.variable.new")?;
        let made = run.session.variable(run.tensors.get(&initial)?);
        let variable = VariableHandle(later(made.map_err(HostError::from))?);
        Ok(run.variables.open(&mut run.budget, variable)?)
    }

    fn value(&mut self, variable: Resource<VariableHandle>) -> Made {
        let run = self.run("tensors.variable.value")?;
        let tensor = run.session.value(run.variables.get(&variable)?.get()?)?;
        Ok(run.tensors.open(&mut run.budget, tensor)?)
    }

    fn assign(&mut self, variable: Resource<VariableHandle>, value: Handle) -> Result<(), HostError> {
        let run = self.run("tensors.variable.assign")?;
        Ok(run.session.assign(run.variables.get(&variable)?.get()?, run.tensors.get(&value)?)?)
    }

    fn drop(&mut self, variable: Resource<VariableHandle>) -> wasmtime::Result<()> {
        let run = self.run("tensors.variable.drop")?;
        run.variables.close(&mut run.budget, &variable)?;
        Ok(())
    }
}

impl tensors::HostTape for State {
    fn new(&mut self, variables: Vec<Resource<VariableHandle>>) -> wasmtime::Result<Resource<TapeHandle>> {
        let run = self.run("tensors.tape.new")?;
        let made = run.waiting(|run| {
            let Run { session, variables: known, .. } = run;
            Ok(session.tape(&found(known, &variables)?)?)
        });
        let tape = TapeHandle(later(made)?);
        Ok(run.tapes.open(&mut run.budget, tape)?)
    }

    fn gradients(&mut self, tape: Resource<TapeHandle>, loss: Handle) -> Result<Vec<Handle>, HostError> {
        let run = self.run("tensors.tape.gradients")?;
        let tape = run.tapes.get(&tape)?.0.as_ref().map_err(|error| HostError::Mistake(error.clone()))?;
        let gradients = run.session.gradients(tape, run.tensors.get(&loss)?)?;
        Ok(run.tensors.open_all(&mut run.budget, gradients)?)
    }

    fn drop(&mut self, tape: Resource<TapeHandle>) -> wasmtime::Result<()> {
        let run = self.run("tensors.tape.drop")?;
        run.tapes.close(&mut run.budget, &tape)?;
        Ok(())
    }
}

impl tensors::Host for State {
    fn sgd(
        &mut self,
        variables: Vec<Resource<VariableHandle>>,
        gradients: Vec<Handle>,
        velocities: Vec<Resource<VariableHandle>>,
        rate: f64,
        momentum: f64,
        decay: f64,
    ) -> Result<(), HostError> {
        let run = self.run("tensors.sgd")?;
        let update = Sgd {
            variables: &found(&run.variables, &variables)?,
            gradients: &values(&run.tensors, &gradients)?,
            velocities: &found(&run.variables, &velocities)?,
            rate,
            momentum,
            decay,
        };
        Ok(run.session.sgd(&update)?)
    }

    fn adam(
        &mut self,
        variables: Vec<Resource<VariableHandle>>,
        gradients: Vec<Handle>,
        first: Vec<Resource<VariableHandle>>,
        second: Vec<Resource<VariableHandle>>,
        step: u64,
        rate: f64,
        beta1: f64,
        beta2: f64,
        epsilon: f64,
        decay: f64,
    ) -> Result<(), HostError> {
        let run = self.run("tensors.adam")?;
        let update = Adam {
            variables: &found(&run.variables, &variables)?,
            gradients: &values(&run.tensors, &gradients)?,
            first: &found(&run.variables, &first)?,
            second: &found(&run.variables, &second)?,
            step,
            rate,
            beta1,
            beta2,
            epsilon,
            decay,
        };
        Ok(run.session.adam(&update)?)
    }

    fn set_compute(&mut self, kind: String) -> Result<(), HostError> {
        let compute = short("compute type", &kind)?.parse()?;
        self.run("tensors.set-compute")?.session.set_compute(compute);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), HostError> {
        Ok(self.run("tensors.sync")?.waiting(|run| run.session.sync())?)
    }

    fn step(&mut self) -> Result<(), HostError> {
        Ok(self.run("tensors.step")?.waiting(|run| run.session.step())?)
    }
}

/// Keeps a mistake for later, where it can be told; stops at once otherwise.
fn later<T>(made: Result<T, HostError>) -> wasmtime::Result<Result<T, GuestError>> {
    made.map(Ok).or_else(|error| error.told().map(Err))
}

fn found<'a>(
    variables: &'a Handles<VariableHandle>,
    handles: &[Resource<VariableHandle>],
) -> Result<Vec<&'a Variable>, HostError> {
    handles.iter().map(|handle| variables.get(handle)?.get()).collect()
}

fn values<'a>(tensors: &'a Handles<Tensor>, handles: &[Handle]) -> Result<Vec<&'a Tensor>> {
    handles.iter().map(|handle| tensors.get(handle)).collect()
}

/// A word from a fixed set, short enough to be repeated in a message.
fn short<'a>(what: &str, word: &'a str) -> Result<&'a str> {
    if word.len() > 32 {
        return Err(Error::Invalid(format!("a word of {} bytes is no {what}", word.len())));
    }
    Ok(word)
}
