//! A chain of elementwise operations executed block by block, so that what they
//! pass to each other stays in the nearest cache. One operation alone is a chain
//! of one.

use std::cell::RefCell;

use super::Elementwise;
use super::cpu::{Piece, run};
use crate::base::{DType, Result};
use crate::tensor::call::{Operands, View};
use crate::tensor::shape::{MAX_RANK, Shape};
use crate::tensor::team::Lanes;

/// Elements of a block. Registers of a few steps fit the first-level cache.
const BLOCK: usize = 2048;

/// Bytes of a register: a block of the widest type.
const REGISTER_BYTES: usize = BLOCK * 8;

/// Elements one thread takes at a time.
const CHUNK: usize = 4 * BLOCK;

/// Operations of a chain at most.
pub(crate) const MAX_STEPS: usize = 16;

/// A chain with one shape throughout.
#[derive(Debug)]
pub(crate) struct Fused {
    pub(super) shape: Shape,
    pub(super) inputs: Vec<Input>,
    pub(super) steps: Vec<Step>,
    registers: usize,
}

/// A value the chain reads.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) value: u32,
    pub(super) dtype: DType,
    pub(super) access: Access,
    /// Where blocks are put together, unless access is direct.
    register: usize,
}

/// How a block of an input is found.
#[derive(Debug)]
pub(super) enum Access {
    /// It has the chain's shape.
    Direct,
    /// It has one element.
    Scalar,
    /// It is repeated along the dimensions of stride 0 (in elements).
    Strided([usize; MAX_RANK]),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) op: Elementwise,
    pub(super) from: DType,
    pub(super) to: DType,
    pub(super) args: [Arg; 3],
    pub(super) target: Target,
    /// Where its scalars begin in the program's parameters.
    pub(super) param: usize,
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    None,
    Input(usize),
    Step(usize),
}

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Register(usize),
    Value(u32),
}

thread_local! {
    /// Registers of the chains this thread executes.
    static REGISTERS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// A cache line, for alignment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its place is used")] [u8; 64]);

impl Fused {
    /// An empty chain.
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, inputs: Vec::new(), steps: Vec::new(), registers: 0 }
    }

    /// A chain of one operation, whose scalars begin at `param`.
    pub(crate) fn single(op: Elementwise, call: &Operands, param: usize) -> Self {
        let output = call.output(0);
        let mut fused = Self::new(output.shape);
        let args: Vec<Operand> = call.inputs.iter().map(|v| Operand::Value(*v, call.views[*v as usize])).collect();
        fused.push(op, output.dtype, &args, Some(call.outputs[0]), param);
        fused
    }

    /// Appends an operation and returns its number. Its result is stored as
    /// value `keep`, or only passed on.
    pub(crate) fn push(
        &mut self,
        op: Elementwise,
        to: DType,
        operands: &[Operand],
        keep: Option<u32>,
        param: usize,
    ) -> usize {
        let mut args = [Arg::None; 3];
        for (arg, operand) in args.iter_mut().zip(operands) {
            *arg = match operand {
                Operand::Step(step) => Arg::Step(*step),
                Operand::Value(value, view) => Arg::Input(self.input(*value, view)),
            };
        }
        let typed = if op == Elementwise::Where { args[1] } else { args[0] };
        let from = match typed {
            Arg::None => to,
            Arg::Input(i) => self.inputs[i].dtype,
            Arg::Step(step) => self.steps[step].to,
        };
        let target = keep.map_or_else(|| Target::Register(self.register()), Target::Value);
        self.steps.push(Step { op, from, to, args, target, param });
        self.steps.len() - 1
    }

    fn input(&mut self, value: u32, view: &View) -> usize {
        if let Some(known) = self.inputs.iter().position(|input| input.value == value) {
            return known;
        }
        let access = if view.shape.elements() == 1 {
            Access::Scalar
        } else if view.elements() == self.shape.elements() {
            Access::Direct
        } else {
            Access::Strided(view.shape.strides_in(&self.shape))
        };
        let register = if matches!(access, Access::Direct) { 0 } else { self.register() };
        self.inputs.push(Input { value, dtype: view.dtype, access, register });
        self.inputs.len() - 1
    }

    fn register(&mut self) -> usize {
        self.registers += 1;
        self.registers - 1
    }

    /// Executes it. `params` are the program's.
    pub(crate) fn run(&self, views: &[View], params: &[u64], lanes: &Lanes) -> Result<()> {
        lanes.split(self.shape.elements(), CHUNK, &|start, len| {
            REGISTERS.with_borrow_mut(|registers| {
                let lines = self.registers * REGISTER_BYTES / size_of::<Line>();
                if registers.len() < lines {
                    registers.resize(lines, Line([0; 64]));
                }
                let registers = registers.as_mut_ptr().cast::<u8>();
                self.load_scalars(views, registers, len.min(BLOCK));
                for block in (start..start + len).step_by(BLOCK) {
                    self.run_block(views, params, registers, (block, BLOCK.min(start + len - block)));
                }
            });
        })
    }

    /// Fills the registers of inputs of one element; they serve every block.
    fn load_scalars(&self, views: &[View], registers: *mut u8, len: usize) {
        for input in &self.inputs {
            if matches!(input.access, Access::Scalar) {
                let source = views[input.value as usize].ptr;
                // SAFETY: the value has one element; the register holds a block.
                unsafe { fill(source, registers.add(input.register * REGISTER_BYTES), input.dtype.size_bytes(), len) }
            }
        }
    }

    /// Executes all steps on elements `[start, start + len)`.
    fn run_block(&self, views: &[View], params: &[u64], registers: *mut u8, (start, len): (usize, usize)) {
        // SAFETY: registers are numbered below `self.registers`, which were reserved.
        let register = |i: usize| unsafe { registers.add(i * REGISTER_BYTES) };
        let at = |value: u32, dtype: DType| {
            // SAFETY: the value has the chain's shape, and the block lies inside it.
            unsafe { views[value as usize].ptr.add(start * dtype.size_bytes()) }
        };
        for input in &self.inputs {
            if let Access::Strided(strides) = &input.access {
                let source = views[input.value as usize].ptr;
                let size = input.dtype.size_bytes();
                gather(&self.shape, strides, (source, register(input.register)), size, (start, len));
            }
        }
        let result = |step: &Step| match step.target {
            Target::Register(i) => register(i),
            Target::Value(value) => at(value, step.to),
        };
        for step in &self.steps {
            let pointer = |arg: &Arg| match arg {
                Arg::None => std::ptr::null(),
                Arg::Step(i) => result(&self.steps[*i]).cast_const(),
                Arg::Input(i) => match &self.inputs[*i] {
                    input if matches!(input.access, Access::Direct) => at(input.value, input.dtype).cast_const(),
                    input => register(input.register).cast_const(),
                },
            };
            let scalar = |i: usize| if i < step.op.scalars() { f64::from_bits(params[step.param + i]) } else { 0.0 };
            let piece = Piece {
                args: [pointer(&step.args[0]), pointer(&step.args[1]), pointer(&step.args[2])],
                out: result(step),
                len,
                start,
                scalars: [scalar(0), scalar(1)],
            };
            // SAFETY: every pointer holds `len` elements of the step's types, and
            // results lie in registers or outputs that no operand shares.
            unsafe { run(step.op, step.from, step.to, &piece) }
        }
    }
}

/// An operand of [`Fused::push`].
pub(crate) enum Operand {
    /// The result of an earlier step.
    Step(usize),
    /// A value outside the chain; only type and shape of the view are used.
    Value(u32, View),
}

/// Repeats one element of `size` bytes.
unsafe fn fill(source: *const u8, target: *mut u8, size: usize, len: usize) {
    // SAFETY: the caller's pointers hold 1 and `len` elements, aligned.
    unsafe {
        match size {
            1 => std::slice::from_raw_parts_mut(target, len).fill(*source),
            2 => std::slice::from_raw_parts_mut(target.cast::<u16>(), len).fill(*source.cast()),
            4 => std::slice::from_raw_parts_mut(target.cast::<u32>(), len).fill(*source.cast()),
            _ => std::slice::from_raw_parts_mut(target.cast::<u64>(), len).fill(*source.cast()),
        }
    }
}

/// Puts a block of a broadcast operand together, run by run along the innermost
/// dimension.
fn gather(
    shape: &Shape,
    strides: &[usize; MAX_RANK],
    (source, target): (*const u8, *mut u8),
    size: usize,
    (start, len): (usize, usize),
) {
    let rank = shape.len();
    let mut index = [0usize; MAX_RANK];
    let mut rest = start;
    for i in (0..rank).rev() {
        index[i] = rest % shape[i];
        rest /= shape[i];
    }
    let (mut offset, mut done) = ((0..rank).map(|i| index[i] * strides[i]).sum::<usize>(), 0);
    while done < len {
        let run = (shape[rank - 1] - index[rank - 1]).min(len - done);
        // SAFETY: the multi-index stays inside the shape, so the operand's
        // elements are inside it; the register holds a block.
        unsafe {
            let (from, to) = (source.add(offset * size), target.add(done * size));
            if strides[rank - 1] == 0 {
                fill(from, to, size, run)
            } else {
                std::ptr::copy_nonoverlapping(from, to, run * size)
            }
        }
        done += run;
        index[rank - 1] += run;
        offset += run * strides[rank - 1];
        for i in (1..rank).rev() {
            if index[i] < shape[i] {
                break;
            }
            offset = offset + strides[i - 1] - index[i] * strides[i];
            index[i] = 0;
            index[i - 1] += 1;
        }
    }
}
