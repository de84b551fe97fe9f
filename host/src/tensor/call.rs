//! What a kernel is called with: views of memory, scalars and threads.

use super::element::{Element, with_dtype};
use super::shape::Shape;
use super::team::Lanes;
use crate::base::DType;

/// One value in memory, row-major and contiguous.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) ptr: *mut u8,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
}

// SAFETY: a view is an address; kernels keep the contract of `View::slice_mut`.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Number of elements.
    pub(crate) fn elements(&self) -> usize {
        self.shape.elements()
    }

    /// Element `i` of an integer type, if it is in `[0, extent)`.
    pub(crate) fn index(&self, i: usize, extent: usize) -> Option<usize> {
        let wide = with_dtype!(integer self.dtype, T => i128::from(self.slice::<T>()[i]), |_| -1);
        usize::try_from(wide).ok().filter(|index| *index < extent)
    }

    /// The elements, for reading. An empty slice if `T` is not its type.
    pub(crate) fn slice<T: Element>(&self) -> &[T] {
        debug_assert_eq!(T::DTYPE, self.dtype);
        let len = if T::DTYPE == self.dtype { self.elements() } else { 0 };
        // SAFETY: the executor gives every value memory of at least its size,
        // aligned to 64 bytes or a column offset checked for alignment, and
        // writes to it only in the call that has it as an output.
        unsafe { std::slice::from_raw_parts(self.ptr.cast(), len) }
    }

    /// Elements `[start, start + len)`, for writing.
    ///
    /// # Safety
    /// The view is an output of this call, the range lies inside it, and no
    /// other chunk or slice touches the range at the same time.
    #[expect(clippy::mut_from_ref, reason = "outputs are written by several threads in disjoint ranges")]
    pub(crate) unsafe fn slice_mut<T: Element>(&self, start: usize, len: usize) -> &mut [T] {
        debug_assert_eq!(T::DTYPE, self.dtype);
        debug_assert!(start + len <= self.elements());
        // SAFETY: upheld by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<T>().add(start), len) }
    }

    /// The bytes, for reading.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as in `slice`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.shape.size_bytes(self.dtype)) }
    }

    /// Bytes `[start, start + len)`, for writing.
    ///
    /// # Safety
    /// As for [`Self::slice_mut`].
    #[expect(clippy::mut_from_ref, reason = "outputs are written by several threads in disjoint ranges")]
    pub(crate) unsafe fn bytes_mut(&self, start: usize, len: usize) -> &mut [u8] {
        debug_assert!(start + len <= self.shape.size_bytes(self.dtype));
        // SAFETY: upheld by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }
}

/// What an operation works on, without the work.
pub(crate) struct Operands<'a> {
    pub(crate) views: &'a [View],
    pub(crate) inputs: &'a [u32],
    pub(crate) outputs: &'a [u32],
    /// Threads that may execute it together.
    pub(crate) threads: usize,
}

impl Operands<'_> {
    /// Type and shape of input `i`.
    pub(crate) fn input(&self, i: usize) -> &View {
        &self.views[self.inputs[i] as usize]
    }

    /// Type and shape of output `i`.
    pub(crate) fn output(&self, i: usize) -> &View {
        &self.views[self.outputs[i] as usize]
    }

    /// Elements of all inputs and outputs.
    pub(crate) fn elements(&self) -> usize {
        self.inputs.iter().chain(self.outputs).map(|v| self.views[*v as usize].elements()).sum()
    }
}

/// One execution of one operation.
pub(crate) struct Call<'a> {
    pub(crate) views: &'a [View],
    pub(crate) inputs: &'a [u32],
    pub(crate) outputs: &'a [u32],
    pub(crate) params: &'a [u64],
    pub(crate) lanes: &'a Lanes<'a>,
}

impl Call<'_> {
    /// What it works on.
    pub(crate) fn operands(&self) -> Operands<'_> {
        Operands { views: self.views, inputs: self.inputs, outputs: self.outputs, threads: 1 }
    }

    /// Input `i`.
    pub(crate) fn input(&self, i: usize) -> &View {
        &self.views[self.inputs[i] as usize]
    }

    /// Output `i`.
    pub(crate) fn output(&self, i: usize) -> &View {
        &self.views[self.outputs[i] as usize]
    }

    /// Scalar `i`.
    pub(crate) fn float(&self, i: usize) -> f64 {
        f64::from_bits(self.params[i])
    }

    /// Whole number `i`.
    pub(crate) fn word(&self, i: usize) -> u64 {
        self.params[i]
    }
}
