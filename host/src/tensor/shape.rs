//! Shapes: extents of the dimensions, row-major.

use crate::base::{DType, Error, Result};

/// Dimensions a tensor has at most.
pub const MAX_RANK: usize = 8;

/// Elements a tensor has at most; keeps every size in bytes inside `isize`.
const MAX_ELEMENTS: usize = 1 << 40;

/// Extents of at most [`MAX_RANK`] dimensions; none for a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    rank: u8,
    extents: [usize; MAX_RANK],
}

impl Shape {
    /// The shape of a scalar.
    pub(crate) const SCALAR: Self = Self { rank: 0, extents: [0; MAX_RANK] };

    /// Checks rank and size.
    pub(crate) fn new(extents: &[usize]) -> Result<Self> {
        if extents.len() > MAX_RANK {
            return Err(Error::OutOfRange(format!(
                "a shape of {} dimensions; tensors have at most {MAX_RANK}",
                extents.len()
            )));
        }
        let elements = extents.iter().try_fold(1usize, |n, e| n.checked_mul((*e).max(1)));
        if elements.is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(Error::OutOfRange(format!("shape {extents:?} has more than 2^40 elements")));
        }
        let mut shape = Self { rank: extents.len() as u8, extents: [0; MAX_RANK] };
        shape.extents[..extents.len()].copy_from_slice(extents);
        Ok(shape)
    }

    /// Number of elements, 1 for a scalar.
    pub(crate) fn elements(&self) -> usize {
        self.iter().product()
    }

    /// Size of that many elements.
    pub(crate) fn size_bytes(&self, dtype: DType) -> usize {
        self.elements() * dtype.size_bytes()
    }

    /// The dimension meant by `axis`, which counts from the end when negative.
    pub(crate) fn axis(&self, axis: i32) -> Result<usize> {
        let rank = i64::from(self.rank);
        let position = if i64::from(axis) < 0 { i64::from(axis) + rank } else { i64::from(axis) };
        usize::try_from(position).ok().filter(|a| *a < self.len()).ok_or_else(|| {
            Error::OutOfRange(format!("axis {axis} of a tensor of shape {self}; it has {rank} dimensions"))
        })
    }

    /// The shape with dimension `axis` set to `extent`.
    pub(crate) fn with(mut self, axis: usize, extent: usize) -> Self {
        self.extents[..self.rank as usize][axis] = extent;
        self
    }

    /// The extents as one `[outer, axis, inner]`.
    pub(crate) fn around(&self, axis: usize) -> (usize, usize, usize) {
        self.around_range(axis, axis + 1)
    }

    /// As [`Self::around`] with dimensions `[start, end)` taken as one.
    pub(crate) fn around_range(&self, start: usize, end: usize) -> (usize, usize, usize) {
        let product = |part: &[usize]| part.iter().product::<usize>();
        (product(&self[..start]), product(&self[start..end]), product(&self[end..]))
    }

    /// Elements between neighbours along each dimension.
    pub(crate) fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for i in (0..self.len()).rev() {
            strides[i] = step;
            step *= self.extents[i];
        }
        strides
    }

    /// Strides for reading this shape as if it had shape `target`: 0 along
    /// dimensions that are repeated.
    pub(crate) fn strides_in(&self, target: &Self) -> [usize; MAX_RANK] {
        let own = self.strides();
        let mut strides = [0; MAX_RANK];
        let missing = target.len() - self.len();
        for i in 0..self.len() {
            strides[missing + i] = if self[i] == 1 { 0 } else { own[i] };
        }
        strides
    }

    /// The shape both broadcast to, as in NumPy; `op` is named in the error.
    pub(crate) fn broadcast(&self, other: &Self, op: &str) -> Result<Self> {
        let rank = self.len().max(other.len());
        let mut result = Self { rank: rank as u8, extents: [0; MAX_RANK] };
        for i in 0..rank {
            let extent = |shape: &Self| {
                let missing = rank - shape.len();
                if i < missing { 1 } else { shape[i - missing] }
            };
            result.extents[i] = match (extent(self), extent(other)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => {
                    return Err(Error::OutOfRange(format!("{op}: shapes {self} and {other} do not broadcast")));
                }
            };
        }
        Self::new(&result).map(|_| result)
    }
}

impl std::ops::Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.extents[..self.rank as usize]
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (i, extent) in self.iter().enumerate() {
            write!(f, "{}{extent}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
