//! Values on the device: making them, looking at them, reading them back. The
//! operations are in `ops.rs`, `+ - * /` in `operators.rs`.

mod compute;
mod element;
mod operators;
mod ops;

use std::fmt;
use std::rc::Rc;

pub use compute::{Compute, set_compute};
pub use element::Element;
pub(crate) use element::spelling;

use crate::bindings::quern::udf::tensors;
use crate::{Column, DType, Error, Result};

/// A value on the device. Cloning copies the handle, not the data; no operation
/// changes a value.
///
/// Operations are recorded and executed together when a value is needed: at
/// [`to_vec`](Self::to_vec), [`item`](Self::item), a write to an output, the
/// beginning of a [`Tape`](crate::Tape), [`step`] or [`sync`].
///
/// # Errors
/// Operations return at once `type-mismatch` where operands are of different element
/// types or of one the operation is not for, `out-of-range` where shapes or axes do
/// not fit, `quota-exceeded` where the limit `device_bytes` would be, and
/// `invalid-argument` for a malformed argument. What shows only when the operations are
/// executed, as an index outside in [`gather`](Self::gather), is returned by what
/// needs the value.
#[derive(Clone)]
pub struct Tensor(Rc<tensors::Tensor>);

impl Tensor {
    pub(crate) fn own(raw: tensors::Tensor) -> Self {
        Self(Rc::new(raw))
    }

    pub(crate) fn raw(&self) -> &tensors::Tensor {
        &self.0
    }

    /// Rows `[start, start + rows)` of an input column, `[rows, ..row shape]`,
    /// without a copy.
    ///
    /// # Errors
    /// `type-mismatch` for a column that has nulls ([`values`](Self::values) fills them)
    /// or holds no numbers; `out-of-range` for rows that there are not.
    pub fn of_column(source: &Column, start: u64, rows: u64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::of_column(source.raw(), start, rows)?))
    }

    /// As [`of_column`](Self::of_column), with `fill` in the place of nulls.
    pub fn values(source: &Column, start: u64, rows: u64, fill: f64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::values(source.raw(), start, rows, fill)?))
    }

    /// `[rows]` boolean: true where the row of the column is present.
    pub fn validity(source: &Column, start: u64, rows: u64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::validity(source.raw(), start, rows)?))
    }

    /// Overwrites rows `[start, start + n)` of an output column with `[n, ..row shape]`.
    ///
    /// # Errors
    /// `type-mismatch` unless element type and row shape are the column's,
    /// `out-of-range` for rows that are not reserved, `denied` for an input.
    pub fn to_column(&self, target: &Column, start: u64) -> Result {
        Ok(self.0.to_column(target.raw(), start)?)
    }

    /// From values in row-major order: `[..shape]` of the type of `T`.
    ///
    /// # Errors
    /// `invalid-argument` where their number is not that of the shape.
    pub fn from_slice<T: Element>(shape: &[u32], values: &[T]) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::from_bytes(T::DTYPE, shape, &T::pack(values))?))
    }

    /// All elements `value`: `[..shape]`.
    pub fn full(element: DType, shape: &[u32], value: f64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::full(element, shape, value)?))
    }

    /// All elements 0: `[..shape]`.
    pub fn zeros(element: DType, shape: &[u32]) -> Result<Self> {
        Self::full(element, shape, 0.0)
    }

    /// All elements 1: `[..shape]`.
    pub fn ones(element: DType, shape: &[u32]) -> Result<Self> {
        Self::full(element, shape, 1.0)
    }

    /// `[count]`: start, start + step, …
    pub fn range(element: DType, start: f64, count: u32, step: f64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::range(element, start, count, step)?))
    }

    /// Normally distributed float32 numbers, `[..shape]`, with that mean and standard
    /// deviation `std`. All random values follow from the run's seed and the
    /// instance's shard.
    pub fn random_normal(shape: &[u32], mean: f64, std: f64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::random_normal(DType::Float32, shape, mean, std)?))
    }

    /// Float32 numbers uniform in `[low, high)`: `[..shape]`.
    pub fn random_uniform(shape: &[u32], low: f64, high: f64) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::random_uniform(DType::Float32, shape, low, high)?))
    }

    /// `[count]` int64: 0 … count − 1 in random order.
    pub fn random_permutation(count: u32) -> Result<Self> {
        Ok(Self::own(tensors::Tensor::random_permutation(count)?))
    }

    /// Parts of equal shape but for `axis`, joined along it: `[m, ..]` and `[n, ..]` to
    /// `[m + n, ..]` along axis 0.
    pub fn concat(axis: i32, parts: &[Tensor]) -> Result<Self> {
        let parts: Vec<_> = parts.iter().map(Self::raw).collect();
        Ok(Self::own(tensors::Tensor::concat(axis, &parts)?))
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.0.element()
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> Vec<u32> {
        self.0.shape()
    }

    /// The first dimension, usually the number of rows; 1 for a scalar.
    pub fn len(&self) -> u32 {
        self.shape().first().copied().unwrap_or(1)
    }

    /// Whether the first dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, row-major. Executes what is recorded, waits and copies.
    ///
    /// # Errors
    /// `type-mismatch` unless `T` is the element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let found = self.dtype();
        if found != T::DTYPE {
            let message = format!("a {} tensor was read as {}; cast it first", spelling(found), spelling(T::DTYPE));
            return Err(Error::new(crate::ErrorCode::TypeMismatch, message));
        }
        Ok(T::unpack(&self.0.read()?))
    }

    /// The value of a tensor of one element. Executes what is recorded and waits.
    ///
    /// # Errors
    /// `out-of-range` for more or fewer elements.
    pub fn item(&self) -> Result<f64> {
        Ok(self.0.item()?)
    }
}

impl fmt::Debug for Tensor {
    /// `tensor float32 [100, 784]`: what it is, without executing anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {} {:?}", spelling(self.dtype()), self.shape())
    }
}

/// Executes what is recorded without waiting: the end of one turn of a loop that
/// has no [`Tape`](crate::Tape).
pub fn step() -> Result {
    Ok(tensors::step()?)
}

/// Executes what is recorded and waits for it.
pub fn sync() -> Result {
    Ok(tensors::sync()?)
}
