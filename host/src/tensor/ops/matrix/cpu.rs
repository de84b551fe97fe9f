//! Products on the processor, by the `gemm` crate, cut into panels.
//!
//! Panels depend on shapes only, so results do not depend on threads. A panel is at
//! most [`MAX_PANEL_FLOP`], since the kill switch is looked at between panels;
//! products below [`SPLIT_FLOP`] are one panel, because handing over half of them
//! costs more than it gains.

use std::borrow::Cow;

use half::{bf16, f16};

use super::{Activation, Transposed};
use crate::base::{DType, Error, Result};
use crate::device::cuda::Compute;
use crate::tensor::call::{Call, View};
use crate::tensor::element::{Element, Real};
use crate::tensor::shape::Shape;
use crate::tensor::simd::simd;
use crate::tensor::team::Lanes;

/// About 2 ms of one core.
const MAX_PANEL_FLOP: usize = 400_000_000;

/// Products smaller than this are not cut.
const SPLIT_FLOP: usize = 4_000_000;

/// Panels of a product that is cut at all, about: two for each of a few threads, so
/// that one that falls behind is waited for less.
const PANELS: usize = 4;

/// Columns of a panel that is not made narrower.
const NARROW: usize = 64;

/// Panels are cut at multiples of this, which the microkernels like.
const PANEL_STEP: usize = 16;

/// A matrix: its first element and the distances of rows and columns.
#[derive(Clone, Copy)]
struct Strided<T> {
    ptr: *const T,
    row: isize,
    column: isize,
}

impl<T> Strided<T> {
    /// The same elements with rows and columns swapped.
    fn transposed(self) -> Self {
        Self { ptr: self.ptr, row: self.column, column: self.row }
    }
}

/// One product `[m, k] × [k, n]` into a row-major `[m, n]`.
#[derive(Clone, Copy)]
struct Product<T> {
    m: usize,
    k: usize,
    n: usize,
    a: Strided<T>,
    b: Strided<T>,
    out: *mut T,
    /// Added to every row: `n` elements, or null.
    bias: *const T,
    activation: Activation,
}

// SAFETY: a product is an address book; panels write disjoint parts of `out`.
unsafe impl<T> Send for Product<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Product<T> {}

/// The result of all products of a call.
struct Shared<T>(*mut T);

// SAFETY: products write disjoint parts.
unsafe impl<T> Sync for Shared<T> {}

/// `matmul` with broadcast leading dimensions.
pub(super) fn matmul(call: &Call, transposed: Transposed, compute: Compute) -> Result<()> {
    let (a, b, out) = (call.input(0), call.input(1), call.output(0));
    match out.dtype {
        DType::F32 => {
            let (x, y) = (factors(a, compute), factors(b, compute));
            matmul_in(call.lanes, (&*x, &*y), (a, b, out), transposed, out.ptr.cast())
        }
        DType::F64 => {
            matmul_in(call.lanes, (a.slice::<f64>(), b.slice::<f64>()), (a, b, out), transposed, out.ptr.cast())
        }
        DType::F16 => through_f32::<f16>(call, |[a32, b32, _], result| {
            matmul_in(call.lanes, (a32, b32), (a, b, out), transposed, result)
        }),
        _ => through_f32::<bf16>(call, |[a32, b32, _], result| {
            matmul_in(call.lanes, (a32, b32), (a, b, out), transposed, result)
        }),
    }
}

/// `linear`.
pub(super) fn linear(call: &Call, activation: Activation, compute: Compute) -> Result<()> {
    let has_bias = call.inputs.len() > 2;
    let null = |given: *const f32| if has_bias { given } else { std::ptr::null() };
    match call.output(0).dtype {
        DType::F32 => {
            let bias = if has_bias { call.input(2).slice::<f32>().as_ptr() } else { std::ptr::null() };
            let (x, w) = (factors(call.input(0), compute), factors(call.input(1), compute));
            linear_in(call, (&*x, &*w), bias, call.output(0).ptr.cast(), activation)
        }
        DType::F64 => {
            let bias = if has_bias { call.input(2).slice::<f64>().as_ptr() } else { std::ptr::null() };
            let (x, w) = (call.input(0).slice::<f64>(), call.input(1).slice::<f64>());
            linear_in(call, (x, w), bias, call.output(0).ptr.cast(), activation)
        }
        DType::F16 => {
            through_f32::<f16>(call, |[x, w, bias], out| linear_in(call, (x, w), null(bias.as_ptr()), out, activation))
        }
        _ => {
            through_f32::<bf16>(call, |[x, w, bias], out| linear_in(call, (x, w), null(bias.as_ptr()), out, activation))
        }
    }
}

/// The elements as they are multiplied: as they are, or rounded to nearest, ties to even,
/// to the bits that are left of a fraction. Products of them are exact in f32 or nearly,
/// and sums are made in f32, as by the units of a GPU.
fn factors(view: &View, compute: Compute) -> Cow<'_, [f32]> {
    let values = view.slice::<f32>();
    let dropped = match compute {
        Compute::Strict => return Cow::Borrowed(values),
        Compute::Tf32 => 13,
        Compute::Bf16 => 16,
    };
    Cow::Owned(values.iter().map(|x| rounded(*x, dropped)).collect())
}

/// A number without the last bits of its fraction. What is not finite stays as it is; a
/// finite number that is too large then becomes infinite.
fn rounded(x: f32, dropped: u32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let bits = x.to_bits();
    let half_less = (1u32 << (dropped - 1)) - 1 + (bits >> dropped & 1);
    f32::from_bits(bits.wrapping_add(half_less) >> dropped << dropped)
}

/// Executes a product of half-precision values in `f32`.
fn through_f32<T: Element<Work = f32>>(
    call: &Call,
    product: impl FnOnce([&[f32]; 3], *mut f32) -> Result<()>,
) -> Result<()> {
    let wide = |i: usize| -> Vec<f32> {
        let values = call.inputs.get(i).map(|_| call.input(i).slice::<T>()).unwrap_or_default();
        values.iter().map(|x| x.widen()).collect()
    };
    let (a, b, bias) = (wide(0), wide(1), wide(2));
    let out = call.output(0);
    let mut result = vec![0f32; out.elements()];
    product([&a, &b, &bias], result.as_mut_ptr())?;
    // SAFETY: the output is this call's, and one slice of it is made.
    let target = unsafe { out.slice_mut::<T>(0, out.elements()) };
    for (y, x) in target.iter_mut().zip(&result) {
        *y = T::narrow(*x);
    }
    Ok(())
}

/// A matrix that lies row by row.
fn row_major<T>(ptr: *const T, columns: usize) -> Strided<T> {
    Strided { ptr, row: columns as isize, column: 1 }
}

fn matmul_in<T: Panel>(
    lanes: &Lanes,
    (a, b): (&[T], &[T]),
    (view_a, view_b, view_out): (&View, &View, &View),
    transposed: Transposed,
    out: *mut T,
) -> Result<()> {
    let matrix = |view: &View| {
        let rank = view.shape.len();
        (view.shape[rank - 2], view.shape[rank - 1])
    };
    let ((a0, a1), (b0, b1), (m, n)) = (matrix(view_a), matrix(view_b), matrix(view_out));
    let k = if transposed.a { a0 } else { a1 };
    let leading = |view: &View| Shape::new(&view.shape[..view.shape.len() - 2]);
    let batch = leading(view_out)?;
    let (strides_a, strides_b) = (leading(view_a)?.strides_in(&batch), leading(view_b)?.strides_in(&batch));
    let products = batch.elements();
    let all = Shared(out);
    let product = |index: usize| {
        let all = &all;
        let (mut rest, mut at_a, mut at_b) = (index, 0, 0);
        for i in (0..batch.len()).rev() {
            at_a += rest % batch[i] * strides_a[i];
            at_b += rest % batch[i] * strides_b[i];
            rest /= batch[i];
        }
        let (a, b) = (row_major(a[at_a * a0 * a1..].as_ptr(), a1), row_major(b[at_b * b0 * b1..].as_ptr(), b1));
        Product {
            m,
            k,
            n,
            a: if transposed.a { a.transposed() } else { a },
            b: if transposed.b { b.transposed() } else { b },
            out: all.0.wrapping_add(index * m * n),
            bias: std::ptr::null(),
            activation: Activation::None,
        }
    };
    if m * n == 0 {
        return Ok(());
    }
    // Many small products: several to a chunk.
    let flop = 2 * m * n * k.max(1);
    if flop <= SPLIT_FLOP {
        return lanes.split(products, (SPLIT_FLOP / flop).max(1), &|start, len| {
            for index in start..start + len {
                product(index).panel((0, m), (0, n), lanes);
            }
        });
    }
    (0..products).try_for_each(|index| product(index).run(lanes))
}

fn linear_in<T: Panel>(
    call: &Call,
    (x, w): (&[T], &[T]),
    bias: *const T,
    out: *mut T,
    activation: Activation,
) -> Result<()> {
    let (&[m, n], &[_, k]) = (&*call.output(0).shape, &*call.input(0).shape) else {
        return Err(Error::Internal("linear on shapes that are not matrices".to_owned()));
    };
    let (a, b) = (row_major(x.as_ptr(), k), row_major(w.as_ptr(), n));
    Product { m, k, n, a, b, out, bias, activation }.run(call.lanes)
}

/// Types that `gemm` computes in.
trait Panel: Element + Real + Element<Work = Self> {}
impl Panel for f32 {}
impl Panel for f64 {}

impl<T: Panel> Product<T> {
    /// Executes it in panels.
    fn run(&self, lanes: &Lanes) -> Result<()> {
        let (rows, columns) = self.panel_size();
        if rows * columns == 0 {
            return Ok(());
        }
        let (down, across) = (self.m.div_ceil(rows), self.n.div_ceil(columns));
        lanes.run(down * across, &|chunk| {
            let (i, j) = (chunk / across * rows, chunk % across * columns);
            self.panel((i, rows.min(self.m - i)), (j, columns.min(self.n - j)), lanes);
        })
    }

    /// Rows and columns of a panel. Middling products are cut into narrow panels of
    /// all rows, which measured fastest; large ones into squares, which read least.
    fn panel_size(&self) -> (usize, usize) {
        let (mut rows, mut columns) = (self.m, self.n);
        let flop = |rows: usize, columns: usize| rows.saturating_mul(columns).saturating_mul(2 * self.k.max(1));
        let whole = flop(rows, columns);
        if whole < SPLIT_FLOP {
            return (rows, columns);
        }
        let large = whole > PANELS * MAX_PANEL_FLOP || rows > 4 * columns;
        let limit = whole.div_ceil(PANELS).min(MAX_PANEL_FLOP);
        let half = |extent: usize| (extent / 2).next_multiple_of(PANEL_STEP).min(extent);
        while flop(rows, columns) > limit.next_multiple_of(PANEL_STEP) {
            let across = if large { columns >= rows } else { columns > NARROW };
            match (half(rows) < rows, half(columns) < columns) {
                (_, true) if across => columns = half(columns),
                (true, _) => rows = half(rows),
                (_, true) => columns = half(columns),
                _ => break,
            }
        }
        (rows, columns)
    }

    /// Executes rows `[i, i + rows)` of columns `[j, j + columns)`, the depth in
    /// parts where a panel cannot be small enough otherwise.
    fn panel(&self, (i, rows): (usize, usize), (j, columns): (usize, usize), lanes: &Lanes) {
        let n = self.n as isize;
        let out = self.out.wrapping_add(i * self.n + j);
        let depth = (MAX_PANEL_FLOP / (2 * rows * columns).max(1)).max(1);
        let mut read = !self.bias.is_null();
        for row in 0..if read { rows } else { 0 } {
            // SAFETY: the bias has n elements; this panel alone writes these of `out`.
            unsafe {
                let bias = self.bias.add(j);
                std::ptr::copy_nonoverlapping(bias, out.add(row * self.n), columns);
            }
        }
        for start in (0..self.k.max(1)).step_by(depth) {
            let k = depth.min(self.k - start.min(self.k));
            let a = self.a.ptr.wrapping_offset(i as isize * self.a.row + start as isize * self.a.column);
            let b = self.b.ptr.wrapping_offset(start as isize * self.b.row + j as isize * self.b.column);
            // SAFETY: both operands hold the elements their strides name; this
            // panel alone writes its part of `out`, whose rows are n apart.
            unsafe {
                gemm::gemm(
                    rows,
                    columns,
                    k,
                    out,
                    1,
                    n,
                    read,
                    a,
                    self.a.column,
                    self.a.row,
                    b,
                    self.b.column,
                    self.b.row,
                    T::ONE,
                    T::ONE,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
            read = true;
            if lanes.killed() {
                return;
            }
        }
        if self.activation != Activation::None {
            for row in 0..rows {
                // SAFETY: as above.
                let row = unsafe { std::slice::from_raw_parts_mut(out.add(row * self.n), columns) };
                activate::<T>(row, self.activation);
            }
        }
    }
}

simd! {
    /// Applies an activation in place.
    fn activate[T] where [T: Real] (row: &mut [T], activation: Activation) {
        let zero = T::default();
        match activation {
            Activation::None => {}
            Activation::Relu => row.iter_mut().for_each(|y| *y = if *y < zero { zero } else { *y }),
            Activation::Sigmoid => row.iter_mut().for_each(|y| *y = y.sigmoid()),
            Activation::Tanh => row.iter_mut().for_each(|y| *y = y.tanh()),
        }
    }
}
