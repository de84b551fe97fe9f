//! The operations, one host call each. Shapes broadcast as in NumPy; operands
//! have the same element type unless said otherwise; negative axes count from
//! the end.

use super::Tensor;
use crate::nn::{Activation, Convolution};
use crate::{DType, Result};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// `[..] → [..]`, each element by itself.
            pub fn $name(&self) -> Result<Tensor> {
                Ok(Tensor::own(self.raw().$name()?))
            }
        )*}
    };
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// `[..a] × [..b] → [..]`, the shape to which both broadcast.
            pub fn $name(&self, b: &Tensor) -> Result<Tensor> {
                Ok(Tensor::own(self.raw().$name(b.raw())?))
            }
        )*}
    };
}

unary! {
    /// max(a, 0).
    relu;
    /// 1 / (1 + e⁻ᵃ); float types only, as the functions below.
    sigmoid;
    /// Hyperbolic tangent.
    tanh;
    /// eᵃ.
    exp;
    /// Natural logarithm.
    log;
    /// Square root.
    sqrt;
}

binary! {
    /// a + b, as `&a + &b`; number types, integers wrap around.
    add;
    /// a − b, as `&a - &b`; number types, integers wrap around.
    sub;
    /// a · b, as `&a * &b`; number types, integers wrap around.
    mul;
    /// a / b, as `&a / &b`; float types only.
    div;
    /// aᵇ; float types only.
    pow;
    /// The larger of a and b, NaN if either is; number types.
    maximum;
    /// The smaller of a and b, NaN if either is; number types.
    minimum;
    /// Boolean a = b.
    equal;
    /// Boolean a < b.
    less;
    /// Boolean a ≤ b.
    less_equal;
    /// Boolean a > b.
    greater;
    /// Boolean a ≥ b.
    greater_equal;
}

impl Tensor {
    /// scale · a + shift: `[..] → [..]`. The scalars may change from step to step at no
    /// cost. Integers are computed in float64, truncated and saturated.
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Tensor> {
        Ok(Self::own(self.raw().affine(scale, shift)?))
    }

    /// a to the power of a scalar: `[..] → [..]`; float types only.
    pub fn power(&self, exponent: f64) -> Result<Tensor> {
        Ok(Self::own(self.raw().power(exponent)?))
    }

    /// a · a: `[..] → [..]`.
    pub fn square(&self) -> Result<Tensor> {
        self.mul(self)
    }

    /// `[.., m, k] × [.., k, n] → [.., m, n]`; float types. Leading dimensions
    /// broadcast.
    pub fn matmul(&self, b: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().matmul(b.raw(), false, false)?))
    }

    /// aᵀ · b: `[.., k, m] × [.., k, n] → [.., m, n]`.
    pub fn matmul_tn(&self, b: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().matmul(b.raw(), true, false)?))
    }

    /// a · bᵀ: `[.., m, k] × [.., n, k] → [.., m, n]`.
    pub fn matmul_nt(&self, b: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().matmul(b.raw(), false, true)?))
    }

    /// `activation(x · weight + bias)`: `[n, i] × [i, o] (+ [o]) → [n, o]`, one
    /// operation.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
        Ok(Self::own(self.raw().linear(weight.raw(), bias.map(Self::raw), activation.name())?))
    }

    /// `activation(x * weight + bias)`:
    /// `[n, h, w, c] * [kh, kw, c, o] (+ [o]) → [n, oh, ow, o]`, oh = (h + 2 · padding
    /// − kh) / stride + 1; float types only. Windows are multiplied as they are, not mirrored.
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, with: Convolution) -> Result<Tensor> {
        let Convolution { stride, padding, activation } = with;
        let bias = bias.map(Self::raw);
        Ok(Self::own(self.raw().conv2d(weight.raw(), bias, stride, padding, activation.name())?))
    }

    /// The largest element of each channel under windows of size × size:
    /// `[n, h, w, c] → [n, oh, ow, c]`, oh = (h − size) / stride + 1.
    pub fn max_pool2d(&self, size: u32, stride: u32) -> Result<Tensor> {
        Ok(Self::own(self.raw().max_pool2d(size, stride)?))
    }

    /// Exponentials that sum to 1 along `axis`: `[..] → [..]`; float types only.
    pub fn softmax(&self, axis: i32) -> Result<Tensor> {
        Ok(Self::own(self.raw().softmax(axis)?))
    }

    /// Logarithm of [`softmax`](Self::softmax), computed without overflow:
    /// `[..] → [..]`; float types only.
    pub fn log_softmax(&self, axis: i32) -> Result<Tensor> {
        Ok(Self::own(self.raw().log_softmax(axis)?))
    }

    /// Mean softmax cross-entropy of these logits against class ids of an integer
    /// type: `[n, classes] × [n] → []`. An id outside the classes makes it NaN.
    pub fn cross_entropy(&self, labels: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().cross_entropy(labels.raw())?))
    }

    /// Sum over `axes`, all when empty: `[m, n] → [m]` over axis 1, `[m, n] → []` over
    /// all; number types.
    pub fn sum(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_sum(axes, false)?))
    }

    /// Arithmetic mean over `axes`, all when empty: `[m, n] → [m]` over axis 1; float
    /// types only.
    pub fn mean(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_mean(axes, false)?))
    }

    /// Largest element over `axes`, all when empty: `[m, n] → [m]` over axis 1; number
    /// types, no axis of size 0.
    pub fn max(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_max(axes, false)?))
    }

    /// As [`sum`](Self::sum), the axes stay with size 1: `[m, n] → [m, 1]` over axis 1.
    pub fn sum_keep(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_sum(axes, true)?))
    }

    /// As [`mean`](Self::mean), the axes stay with size 1: `[m, n] → [m, 1]` over axis 1.
    pub fn mean_keep(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_mean(axes, true)?))
    }

    /// As [`max`](Self::max), the axes stay with size 1: `[m, n] → [m, 1]` over axis 1.
    pub fn max_keep(&self, axes: &[i32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reduce_max(axes, true)?))
    }

    /// int64 index of the first largest element along `axis`, NaN being the largest:
    /// `[m, n] → [m]` along axis 1; number types, no axis of size 0.
    pub fn arg_max(&self, axis: i32) -> Result<Tensor> {
        Ok(Self::own(self.raw().arg_max(axis)?))
    }

    /// Elements of `yes` where this boolean tensor is true, else of `no` (`where` in the
    /// contract, a keyword in Rust): `[..] × [..yes] × [..no] → [..]`, the shape to which
    /// all broadcast.
    pub fn choose(&self, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().where_(yes.raw(), no.raw())?))
    }

    /// To another element type, `[..] → [..]`: to integers truncates toward zero and saturates
    /// (NaN becomes 0), to boolean is `≠ 0`.
    pub fn cast(&self, element: DType) -> Result<Tensor> {
        Ok(Self::own(self.raw().cast(element)?))
    }

    /// The same elements in another shape of equal size, row-major: `[m, n] → [m · n]`.
    pub fn reshape(&self, shape: &[u32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().reshape(shape)?))
    }

    /// Dimension i of the result is dimension `permutation[i]` of this: `[m, n] → [n, m]`
    /// by `[1, 0]`.
    pub fn transpose(&self, permutation: &[u32]) -> Result<Tensor> {
        Ok(Self::own(self.raw().transpose(permutation)?))
    }

    /// Elements `[start, start + length)` along `axis`: `[.., n, ..] → [.., length, ..]`.
    /// `start` may change from step to step at no cost.
    pub fn slice(&self, axis: i32, start: u64, length: u64) -> Result<Tensor> {
        Ok(Self::own(self.raw().slice(axis, start, length)?))
    }

    /// Rows `[start, start + length)`, a [`slice`](Self::slice) of the first axis:
    /// `[n, ..] → [length, ..]`.
    pub fn rows(&self, start: u64, length: u64) -> Result<Tensor> {
        self.slice(0, start, length)
    }

    /// Elements of `axis` picked by a vector of an integer type:
    /// `[.., m, ..] × [n] → [.., n, ..]`. An index outside is an error at execution.
    pub fn gather(&self, axis: i32, indices: &Tensor) -> Result<Tensor> {
        Ok(Self::own(self.raw().gather(axis, indices.raw())?))
    }

    /// A 1 of the type `element` at each class id, of an integer type, and zeros
    /// elsewhere: `[..] → [.., classes]`. Ids outside give zeros only.
    pub fn one_hot(&self, classes: u32, element: DType) -> Result<Tensor> {
        Ok(Self::own(self.raw().one_hot(classes, element)?))
    }
}
