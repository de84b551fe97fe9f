//! What operations write down for the device.

use super::library::{Family, Library, Named};
use super::machine::Workspace;
use super::{tag, type_name};
use crate::base::{DType, Error, Result};
use crate::device::cuda::{self, Compute, Gemm, Gpu, Stored};
use crate::tensor::MAX_RANK;
use crate::tensor::call::View;
use crate::tensor::ops::elementwise::Fused;
use crate::tensor::ops::matrix::Transposed;
use crate::tensor::shape::Shape;

/// Threads of a block where each takes single elements.
const THREADS: usize = 256;

/// Pieces of scratch start at multiples of this.
const ALIGNMENT_BYTES: usize = 256;

/// Bytes of a report: a position and what was found there.
pub(crate) const REPORT_BYTES: usize = 16;

/// Blocks of a launch at most; threads take several elements where there are more.
const MAX_BLOCKS: usize = 1 << 16;

/// An argument of a kernel: 8 bytes, or a struct of words.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Address(u64),
    U64(u64),
    F64(f64),
    Words(Vec<u64>),
}

impl Arg {
    /// A pointer to nothing.
    pub(crate) const NULL: Self = Self::Address(0);

    fn as_cuda(&self) -> cuda::Arg<'_> {
        match self {
            Self::Address(address) => cuda::Arg::Address(*address),
            Self::U64(number) => cuda::Arg::U64(*number),
            Self::F64(number) => cuda::Arg::F64(*number),
            Self::Words(words) => cuda::Arg::Words(words),
        }
    }
}

/// Blocks in a line and threads of each along x, y and z.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    blocks: usize,
    threads: [usize; 3],
}

impl Grid {
    /// A block for each item, or fewer that take several.
    pub(crate) fn new(items: usize, threads: [usize; 3]) -> Self {
        Self { blocks: items.clamp(1, MAX_BLOCKS), threads }
    }

    /// Just so many blocks.
    pub(crate) fn exactly(blocks: usize, threads: usize) -> Self {
        Self { blocks, threads: [threads, 1, 1] }
    }

    fn as_cuda(self) -> Result<cuda::Grid> {
        let narrow = |n: usize| u32::try_from(n).map_err(|_| Error::OutOfRange(format!("{n} blocks of threads")));
        let [x, y, z] = self.threads;
        let threads = [narrow(x)?, narrow(y)?, narrow(z)?];
        Ok(cuda::Grid { blocks: [narrow(self.blocks)?, 1, 1], threads, shared_bytes: 0 })
    }
}

/// Work of the device that counts as one call which nothing more is known of.
pub(crate) const CALL_FLOP: u64 = 3_000_000_000;

/// Things for the device to do: one call of it, or several that are alike.
pub(crate) enum Command {
    Launch { kernel: Named, grid: Grid, args: Vec<Arg> },
    Products(Box<Products>),
    Copy { from: u64, to: u64, bytes: usize },
    Zero { at: u64, bytes: usize },
}

/// `[m, k] × [k, n] → [m, n]`, row-major, `batch` times.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
    /// m, n, k.
    pub(crate) extents: [usize; 3],
    pub(crate) transposed: Transposed,
    /// Of the operands.
    pub(crate) dtype: DType,
    /// Of the result: as the operands, or single precision of half.
    pub(crate) out: DType,
    pub(crate) compute: Compute,
    pub(crate) batch: usize,
    /// Elements between one a, b or c and the next.
    pub(crate) strides: [usize; 3],
}

/// A product for each position of leading dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Products {
    /// That of the first position.
    pub(crate) first: Product,
    /// The dimensions.
    pub(crate) outer: Shape,
    /// Bytes from one position to the next along each of them, of `a` and `b`.
    pub(crate) a_bytes: [usize; MAX_RANK],
    pub(crate) b_bytes: [usize; MAX_RANK],
    /// Bytes from one result to the next.
    pub(crate) c_bytes: usize,
}

impl Products {
    /// A single one.
    fn one(first: Product) -> Self {
        Self { first, outer: Shape::SCALAR, a_bytes: [0; MAX_RANK], b_bytes: [0; MAX_RANK], c_bytes: 0 }
    }

    /// The product of a position, counted row by row.
    fn at(&self, index: usize) -> Product {
        let (mut rest, mut at_a, mut at_b) = (index, 0usize, 0usize);
        for ((extent, a), b) in self.outer.iter().zip(&self.a_bytes).zip(&self.b_bytes).rev() {
            at_a += rest % extent * a;
            at_b += rest % extent * b;
            rest /= extent;
        }
        let moved = |address: u64, bytes: usize| address.wrapping_add(bytes as u64);
        let Product { a, b, c, .. } = self.first;
        Product { a: moved(a, at_a), b: moved(b, at_b), c: moved(c, index * self.c_bytes), ..self.first }
    }
}

impl Product {
    /// Multiplications and additions.
    fn flop(&self) -> u64 {
        let factors = self.extents.iter().chain([&self.batch]);
        factors.fold(2u64, |flop, n| flop.saturating_mul(*n as u64))
    }

    fn as_cuda(&self) -> Gemm {
        let stored = |transposed| if transposed { Stored::Transposed } else { Stored::Straight };
        let [m, n, k] = self.extents;
        Gemm {
            a: self.a,
            b: self.b,
            c: self.c,
            m,
            n,
            k,
            a_is: stored(self.transposed.a),
            b_is: stored(self.transposed.b),
            dtype: self.dtype,
            out: self.out,
            compute: self.compute,
            alpha: 1.0,
            beta: 0.0,
            batch: self.batch,
            strides: self.strides,
        }
    }
}

/// A check of indices whose outcome is read after the program.
pub(crate) struct Report {
    dtype: DType,
    extent: usize,
}

impl Report {
    /// The error, if there was a bad index.
    pub(crate) fn verdict(&self, position: u64, value: u64) -> Result<()> {
        if position == u64::MAX {
            return Ok(());
        }
        let value = if self.dtype == DType::U64 { i128::from(value) } else { i128::from(value as i64) };
        Err(Error::OutOfRange(format!(
            "gather: index {value} at position {position}; the axis has {} elements",
            self.extent
        )))
    }
}

/// Writes commands down, for memory that is known or only to see how much is needed.
pub(crate) struct Recorder<'a> {
    library: &'a Library,
    workspace: Workspace,
    commands: Vec<Command>,
    reports: Vec<Report>,
    /// Scratch taken by the present operation, and by the greediest so far.
    taken_bytes: usize,
    peak_bytes: usize,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(library: &'a Library, workspace: Workspace) -> Self {
        Self { library, workspace, commands: Vec::new(), reports: Vec::new(), taken_bytes: 0, peak_bytes: 0 }
    }

    /// Commands and reports.
    pub(crate) fn finish(self) -> (Vec<Command>, Vec<Report>) {
        (self.commands, self.reports)
    }

    /// Scratch of the greediest operation and number of reports.
    pub(crate) fn needs(&self) -> (usize, usize) {
        (self.peak_bytes, self.reports.len())
    }

    /// Calls of the device, and their work in all.
    pub(crate) fn work(&self) -> (usize, u64) {
        let calls = self.commands.iter().map(Command::calls).sum();
        let all = |command: &Command| command.flop().saturating_mul(command.calls() as u64);
        (calls, self.commands.iter().map(all).fold(0, u64::saturating_add))
    }

    /// From here on another operation records: scratch is free again.
    pub(crate) fn next_operation(&mut self) {
        self.taken_bytes = 0;
    }

    /// Memory that the present operation alone uses.
    pub(crate) fn scratch(&mut self, bytes: usize) -> Arg {
        let at = self.taken_bytes;
        self.taken_bytes += bytes.next_multiple_of(ALIGNMENT_BYTES);
        self.peak_bytes = self.peak_bytes.max(self.taken_bytes);
        Arg::Address(self.workspace.scratch().wrapping_add(at as u64))
    }

    /// The address of the parameters from number `param` on.
    pub(crate) fn params(&self, param: usize) -> Arg {
        Arg::Address(self.workspace.params().wrapping_add(8 * param as u64))
    }

    /// Where a check of `indices` leaves its report.
    pub(crate) fn report(&mut self, indices: &View, extent: usize) -> Arg {
        let at = self.reports.len() * REPORT_BYTES;
        self.reports.push(Report { dtype: indices.dtype, extent });
        Arg::Address(self.workspace.reports().wrapping_add(at as u64))
    }

    /// A kernel of `family`, instantiated by `macro` for a type.
    pub(crate) fn kernel(&self, family: &Family, (r#macro, dtype): (&str, DType), name: &str) -> Named {
        self.kernel_of(family, &format!("{macro}({}, {})", tag(dtype), type_name(dtype)), name)
    }

    /// A kernel of `family` with this line after its text.
    pub(crate) fn kernel_of(&self, family: &Family, instance: &str, name: &str) -> Named {
        self.library.kernel(family, instance, name)
    }

    /// A kernel that no macro makes.
    pub(crate) fn plain_kernel(&self, family: &Family, name: &str) -> Named {
        self.library.kernel(family, "", name)
    }

    /// The kernel of a chain of elementwise operations.
    pub(crate) fn chain(&self, chain: &Fused) -> Named {
        self.library.chain(chain)
    }

    /// Launches `kernel`.
    pub(crate) fn launch(&mut self, kernel: Named, grid: Grid, args: Vec<Arg>) {
        self.commands.push(Command::Launch { kernel, grid, args });
    }

    /// Launches `kernel` with a thread for each of `n` elements, or fewer that take several.
    pub(crate) fn each(&mut self, kernel: Named, n: usize, args: Vec<Arg>) {
        if n > 0 {
            self.launch(kernel, Grid::new(n.div_ceil(THREADS), [THREADS, 1, 1]), args);
        }
    }

    /// Multiplies matrices.
    pub(crate) fn product(&mut self, product: Product) {
        if product.batch > 0 && product.extents.iter().all(|n| *n > 0) {
            self.commands.push(Command::Products(Box::new(Products::one(product))));
        }
    }

    /// Multiplies matrices for each position of leading dimensions.
    pub(crate) fn products(&mut self, products: Products) {
        let Product { batch, extents, .. } = products.first;
        if batch > 0 && extents.iter().chain(&*products.outer).all(|n| *n > 0) {
            self.commands.push(Command::Products(Box::new(products)));
        }
    }

    /// Copies a value to another of its size.
    pub(crate) fn copy(&mut self, from: &View, to: &View) {
        let bytes = to.shape.size_bytes(to.dtype);
        if bytes > 0 {
            self.commands.push(Command::Copy { from: from.ptr as u64, to: to.ptr as u64, bytes });
        }
    }

    /// Zeroes a value.
    pub(crate) fn zero(&mut self, view: &View) {
        self.zero_bytes(view.ptr as u64, view.shape.size_bytes(view.dtype));
    }

    /// Zeroes memory.
    pub(crate) fn zero_bytes(&mut self, at: u64, bytes: usize) {
        if bytes > 0 {
            self.commands.push(Command::Zero { at, bytes });
        }
    }
}

impl Command {
    /// Its kernel.
    pub(crate) fn kernel(&self) -> Option<&Named> {
        match self {
            Self::Launch { kernel, .. } => Some(kernel),
            Self::Products(_) | Self::Copy { .. } | Self::Zero { .. } => None,
        }
    }

    /// How many calls of the device it is.
    pub(crate) fn calls(&self) -> usize {
        match self {
            Self::Products(products) => products.outer.elements(),
            Self::Launch { .. } | Self::Copy { .. } | Self::Zero { .. } => 1,
        }
    }

    /// The work of each call, about.
    pub(crate) fn flop(&self) -> u64 {
        match self {
            Self::Products(products) => products.first.flop().max(CALL_FLOP),
            Self::Launch { .. } | Self::Copy { .. } | Self::Zero { .. } => CALL_FLOP,
        }
    }

    /// Has the device do one of its calls, after all that it was told before.
    pub(crate) fn play(&self, call: usize, gpu: &Gpu) -> Result<()> {
        match self {
            Self::Launch { kernel, grid, args } => {
                let args: Vec<cuda::Arg> = args.iter().map(Arg::as_cuda).collect();
                gpu.launch(kernel.resolve(gpu)?, grid.as_cuda()?, &args)
            }
            Self::Products(products) => gpu.gemm(&products.at(call).as_cuda()),
            Self::Copy { from, to, bytes } => gpu.copy(*from, *to, *bytes),
            Self::Zero { at, bytes } => gpu.fill(*at, 0, *bytes),
        }
    }
}

impl From<View> for Arg {
    fn from(view: View) -> Self {
        Self::Address(view.ptr as u64)
    }
}
