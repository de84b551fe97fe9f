//! One instance's use of the device: records operations and flushes them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::Job;
use super::executor::Executor;
use super::graph::{Binding, Graph, Origin};
use super::notice::Teller;
use super::op::{Op, Params};
use super::pipeline::Pipeline;
use super::program::Program;
use super::shape::Shape;
use super::tape::Notes;
use super::value::{Cell, Handle, Place, QuotaShare, Tensor, Variable};
use crate::base::{DType, Error, Limits, Result};
use crate::device::cuda::Compute;
use crate::device::{Block, Buffer, Charge, KillSwitch, Owner, Quota};

/// Host memory of one operation noted on a tape, about.
const NOTE_BYTES: usize = 512;

/// Host memory of each of its inputs, about.
const NOTED_INPUT_BYTES: usize = 16;

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The run's device memory.
    pub quota: Quota,
    /// Ends the run.
    pub kill: KillSwitch,
    /// `program_ops` and `programs` are looked at.
    pub limits: Limits,
    /// The run's seed.
    pub seed: u64,
    /// The instance's shard; instances draw different random numbers.
    pub stream: u64,
    /// How programs are executed.
    pub mode: Mode,
    /// Is told what takes long besides programs.
    pub teller: Teller,
}

/// How programs are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The first sighting of a program plainly, the second prepared, then replayed.
    #[default]
    Planned,
    /// One operation at a time on one thread: what the other is measured against.
    Unplanned,
}

/// What a session has used so far, for receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time spent executing programs.
    pub device_time: Duration,
    /// Time spent waiting for kernels to be compiled and loaded, and cuBLAS to be opened.
    pub compile_time: Duration,
    /// Most device memory that the run held at once.
    pub peak_bytes: u64,
    /// Programs executed.
    pub programs: u64,
    /// Those of them that were replayed from a plan.
    pub replays: u64,
    /// Operations recorded.
    pub operations: u64,
    /// Bytes copied from guests or files to the device.
    pub bytes_in: u64,
    /// Bytes copied from the device.
    pub bytes_out: u64,
    /// Bytes of scalars of programs copied to a GPU.
    pub scalars_bytes: u64,
    /// Bytes of what checks of indices found copied from a GPU.
    pub checks_bytes: u64,
}

/// One instance's recorder. Used by one thread at a time.
pub struct Session {
    id: u64,
    settings: Settings,
    executor: Arc<Executor>,
    pipeline: Pipeline,
    program: Program,
    next_id: u64,
    random_calls: u64,
    compute: Compute,
    tapes: Vec<Weak<Notes>>,
    stats: Stats,
}

impl Session {
    /// A session on the executor's device.
    pub fn new(executor: &Arc<Executor>, settings: Settings) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            pipeline: Pipeline::new(executor, &settings, Owner::instance(id)),
            executor: executor.clone(),
            settings,
            program: Program::default(),
            next_id: 0,
            random_calls: 0,
            compute: Compute::Strict,
            tapes: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// From packed little-endian bytes of exactly the shape's size.
    pub fn from_bytes(&mut self, dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        let size = shape.size_bytes(dtype);
        if bytes.len() != size {
            return Err(Error::Invalid(format!(
                "{} bytes for a {dtype} tensor of shape {shape}, which has {size}",
                bytes.len()
            )));
        }
        let charge = self.charge(size)?;
        let buffer = if dtype == DType::Bool {
            let truths: Vec<u8> = bytes.iter().map(|b| u8::from(*b != 0)).collect();
            Buffer::from_slice(&self.executor.device().pool, &truths)?
        } else {
            Buffer::from_slice(&self.executor.device().pool, bytes)?
        };
        self.stats.bytes_in += size as u64;
        Ok(Tensor(Handle::new(self.next_id(), dtype, shape, Place::Stored(buffer), Some(QuotaShare::Own(charge)))))
    }

    /// Memory that somebody else holds and accounts for, such as a column, from
    /// byte `offset_bytes` on; no copy unless the offset is not a multiple of the
    /// element size. Bytes of bools must be 0 or 1.
    pub fn from_buffer(
        &mut self,
        buffer: &Buffer,
        offset_bytes: usize,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        let part = buffer.slice(offset_bytes, shape.size_bytes(dtype))?;
        let aligned = (part.as_ptr() as usize).is_multiple_of(dtype.size_bytes());
        let part = if aligned { part } else { part.copy(&self.executor.device().pool)? };
        Ok(Tensor(Handle::new(self.next_id(), dtype, shape, Place::Stored(part), None)))
    }

    /// Memory that several tensors hold together: `charge` counts it until the
    /// last of them is gone.
    pub fn from_shared(
        &mut self,
        buffer: &Buffer,
        charge: &Arc<Charge>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        let part = buffer.slice(0, shape.size_bytes(dtype))?;
        let held = Some(QuotaShare::Shared(charge.clone()));
        Ok(Tensor(Handle::new(self.next_id(), dtype, shape, Place::Stored(part), held)))
    }

    /// A variable that starts as a copy of `initial`.
    pub fn variable(&mut self, initial: &Tensor) -> Result<Variable> {
        self.check_own(&[initial])?;
        let (dtype, shape) = (initial.dtype(), initial.0.shape);
        let size = shape.size_bytes(dtype);
        let charge = self.charge(size)?;
        let block = self.executor.device().pool.take_zeroed(size, Owner::instance(self.id))?;
        let variable = Variable(Cell::new(self.next_id(), dtype, shape, block, charge));
        self.assign(&variable, initial)?;
        Ok(variable)
    }

    /// The value of a variable at this point of the program.
    pub fn value(&mut self, variable: &Variable) -> Result<Tensor> {
        self.check_variables(&[variable])?;
        let cell = &variable.0;
        if let Some(handle) = cell.present().handle.upgrade() {
            return Ok(Tensor(handle));
        }
        let charge = self.charge(cell.shape.size_bytes(cell.dtype))?;
        let mut present = cell.present();
        let place = Place::Variable { cell: cell.clone(), version: present.version };
        let handle = Handle::new(self.next_id(), cell.dtype, cell.shape, place, Some(QuotaShare::Own(charge)));
        present.handle = Arc::downgrade(&handle);
        Ok(Tensor(handle))
    }

    /// The value's bytes, packed, little-endian, row-major. Executes what is recorded.
    pub fn read(&mut self, a: &Tensor) -> Result<Vec<u8>> {
        let buffer = self.buffer(a)?;
        self.stats.bytes_out += buffer.len() as u64;
        Ok(buffer.read()?.into_owned())
    }

    /// As [`Self::read`], into memory of exactly the value's size.
    pub fn read_into(&mut self, a: &Tensor, target: &mut [u8]) -> Result<()> {
        let buffer = self.buffer(a)?;
        if target.len() != buffer.len() {
            return Err(Error::Internal(format!("{} bytes read into {}", buffer.len(), target.len())));
        }
        buffer.read_into(target)?;
        self.stats.bytes_out += buffer.len() as u64;
        Ok(())
    }

    /// The value's memory on the device, unchanged while the buffer lives.
    /// Executes what is recorded.
    pub fn buffer(&mut self, a: &Tensor) -> Result<Buffer> {
        self.check_own(&[a])?;
        self.sync()?;
        match a.0.place() {
            Place::Stored(buffer) => Ok(buffer),
            Place::Variable { cell, .. } => cell.buffer().copy(&self.executor.device().pool),
            Place::Recorded(_) => Err(Error::Internal("a value was not computed".to_owned())),
        }
    }

    /// The value of a tensor of one element. Executes what is recorded.
    pub fn item(&mut self, a: &Tensor) -> Result<f64> {
        if a.elements() != 1 {
            return Err(Error::OutOfRange(format!("item of a tensor of shape {}; one element is needed", a.0.shape)));
        }
        let wide = self.cast(a, DType::F64)?;
        let bytes = self.read(&wide)?;
        Ok(f64::from_le_bytes(bytes.try_into().map_err(|_| Error::Internal("a scalar of odd size".to_owned()))?))
    }

    /// Executes what is recorded and waits for it.
    pub fn sync(&mut self) -> Result<()> {
        match self.flush()? {
            Some(job) => self.pipeline.run(job),
            None => self.pipeline.wait(),
        }
    }

    /// Executes what is recorded, while the caller goes on if a thread is free.
    /// An error of the execution is that of a later call, at the latest of `sync`.
    pub fn step(&mut self) -> Result<()> {
        match self.flush()? {
            Some(job) => self.pipeline.send(job),
            None => Ok(()),
        }
    }

    /// What was used by what has been executed so far.
    pub fn stats(&self) -> Stats {
        let used = self.pipeline.used();
        let (scalars_bytes, checks_bytes) = self.pipeline.moved_bytes();
        let compile_time = self.pipeline.compile_time();
        Stats {
            scalars_bytes,
            checks_bytes,
            compile_time,
            peak_bytes: self.settings.quota.peak_bytes(),
            device_time: used.time,
            programs: used.programs,
            replays: used.replays,
            ..self.stats
        }
    }

    /// The executor.
    pub fn executor(&self) -> &Arc<Executor> {
        &self.executor
    }

    /// How products of f32 are made that are recorded from now on, their gradients
    /// included; strictly at first.
    pub fn set_compute(&mut self, compute: Compute) {
        self.compute = compute;
    }

    pub(crate) fn compute(&self) -> Compute {
        self.compute
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Seed, number and stream of a random call.
    pub(crate) fn next_random(&mut self) -> [u64; 3] {
        self.random_calls += 1;
        [self.settings.seed, self.random_calls - 1, self.settings.stream]
    }

    /// How many random operations were recorded: with the seed and the stream,
    /// what the next one draws.
    pub fn random_calls(&self) -> u64 {
        self.random_calls
    }

    /// Lets the next random operation be the one after `calls` others.
    pub fn set_random_calls(&mut self, calls: u64) {
        self.random_calls = calls;
    }

    /// From now on operations are noted on a tape.
    pub(crate) fn watch(&mut self, notes: &Arc<Notes>) {
        self.tapes.retain(|tape| tape.strong_count() > 0);
        self.tapes.push(Arc::downgrade(notes));
    }

    /// Does `work` without noting its operations on tapes.
    pub(crate) fn unwatched<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let tapes = std::mem::take(&mut self.tapes);
        let result = work(self);
        self.tapes = tapes;
        result
    }

    /// Records an operation whose shape and type rules hold.
    pub(crate) fn record(
        &mut self,
        op: Op,
        inputs: &[&Tensor],
        params: Params,
        dtype: DType,
        shape: Shape,
    ) -> Result<Tensor> {
        self.before(inputs)?;
        // A tape keeps its notes, and with them the result, for as long as it lives.
        let noted_bytes = self.tapes.len() * (NOTE_BYTES + NOTED_INPUT_BYTES * inputs.len());
        let charge = self.charge(shape.size_bytes(dtype) + noted_bytes)?;
        let values = inputs.iter().map(|input| self.program.intern(&input.0)).collect();
        let noted = if self.tapes.is_empty() { None } else { Some(op.clone()) };
        let value = self.program.append(op, params, values, dtype, shape);
        let handle = Handle::new(self.next_id(), dtype, shape, Place::Recorded(value), Some(QuotaShare::Own(charge)));
        self.program.set_handle(value, &handle);
        let output = Tensor(handle);
        if let Some(op) = noted {
            for tape in self.tapes.iter().filter_map(Weak::upgrade) {
                tape.note(&op, params, inputs, &output);
            }
        }
        Ok(output)
    }

    /// Records an update of `variables`; `others` are its further inputs.
    pub(crate) fn update(&mut self, op: Op, params: Params, variables: &[&Variable], others: &[&Tensor]) -> Result<()> {
        self.check_variables(variables)?;
        self.before(others)?;
        let others: Vec<u32> = others.iter().map(|other| self.program.intern(&other.0)).collect();
        let cells: Vec<&Arc<Cell>> = variables.iter().map(|variable| &variable.0).collect();
        self.program.update(op, params, &cells, &others);
        Ok(())
    }

    /// Counts bytes against the quota; before it is exceeded, outputs go to the host,
    /// programs on their way end and plans give their memory back.
    pub fn charge(&mut self, bytes: usize) -> Result<Charge> {
        let quota = &self.settings.quota;
        quota.charge(bytes as u64).or_else(|_| {
            self.pipeline.forget_plans()?;
            quota.charge(bytes as u64)
        })
    }

    fn before(&mut self, inputs: &[&Tensor]) -> Result<()> {
        self.check_own(inputs)?;
        self.settings.kill.check()?;
        self.stats.operations += 1;
        if self.program.weight() as u64 >= self.settings.limits.program_ops {
            self.step()?;
        }
        Ok(())
    }

    fn check_own(&self, tensors: &[&Tensor]) -> Result<()> {
        self.pipeline.check()?;
        if tensors.iter().any(|tensor| tensor.0.session != self.id) {
            return Err(Error::Invalid("this tensor belongs to another run".to_owned()));
        }
        Ok(())
    }

    fn check_variables(&self, variables: &[&Variable]) -> Result<()> {
        if variables.iter().any(|variable| variable.0.session != self.id) {
            return Err(Error::Invalid("this variable belongs to another run".to_owned()));
        }
        Ok(())
    }

    fn next_id(&mut self) -> (u64, u64) {
        self.next_id += 1;
        (self.id, self.next_id)
    }

    /// The program recorded so far, ready to be executed; none when there is
    /// nothing to do. Values that are held have their memory from now on, which
    /// later programs may read, because programs are executed in order.
    fn flush(&mut self) -> Result<Option<Job>> {
        self.pipeline.check()?;
        self.settings.kill.check()?;
        if self.program.is_empty() {
            return Ok(None);
        }
        let made = self.job();
        made.inspect_err(|error| self.pipeline.fail(error))
    }

    fn job(&mut self) -> Result<Option<Job>> {
        let (graph, binding) = std::mem::take(&mut self.program).clean()?;
        let mut outputs = Vec::new();
        for (value, handle) in &binding.held {
            handle.set_place(Place::Stored(self.place(&graph, &binding, &mut outputs, *value)?));
        }
        Ok((!graph.nodes.is_empty()).then_some(Job { graph, binding, outputs }))
    }

    /// The memory in which a held value will be; `outputs` grows by new blocks.
    fn place(
        &self,
        graph: &Graph,
        binding: &Binding,
        outputs: &mut Vec<(u32, Arc<Block>)>,
        value: u32,
    ) -> Result<Buffer> {
        let root = graph.root(value);
        let info = &graph.values[root as usize];
        let size = info.shape.size_bytes(info.dtype);
        match info.origin {
            Origin::Stored { slot, .. } => Ok(binding.stored[slot as usize].clone()),
            Origin::Node { .. } => {
                let block = match outputs.iter().find(|(known, _)| *known == root) {
                    Some((_, block)) => block.clone(),
                    None => {
                        let block = self.executor.device().pool.take(size, Owner::instance(self.id))?;
                        outputs.push((root, block.clone()));
                        block
                    }
                };
                Ok(Buffer::of_block(block, size))
            }
            _ => Err(Error::Internal("a variable's memory would be held as a value".to_owned())),
        }
    }
}
