//! Windows that slide over images `[n, height, width, channels]`: convolution and
//! max-pooling.
//!
//! A convolution is recorded as three operations: *unfold* lays the elements under
//! each window side by side, `[n · out height · out width, kernel height · kernel
//! width · channels]`, a `linear` multiplies them with the weights, and a reshape,
//! which costs nothing. So its gradient is that of the `linear`, and *fold*: the
//! reverse of unfold, which adds up what windows share.

mod cpu;
mod cuda;
mod gradient;

use super::elementwise::same_dtype;
use super::matrix::Activation;
use crate::base::{DType, Error, Result};
use crate::tensor::call::{Call, Operands};
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Elements of a window at most, so that no device looks at one of them for long.
const MAX_WINDOW: usize = 1 << 16;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    /// What lies under each window, zeros beyond the edges.
    Unfold(Sliding),
    /// Sums of what windows had from each element; input: gradient of an unfold.
    Fold(Sliding),
    /// The largest element under each window; NaN if any is.
    MaxPool(Sliding),
    /// The gradient of each window given to its first largest element; inputs:
    /// gradient, images.
    MaxPoolGrad(Sliding),
}

/// How a window slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sliding {
    /// Height and width of the window.
    size: [usize; 2],
    /// From one window to the next, along both dimensions.
    stride: usize,
    /// Zeros around the image.
    padding: usize,
}

/// An image with its windows.
#[derive(Clone, Copy)]
struct Geometry {
    n: usize,
    image: [usize; 2],
    channels: usize,
    windows: [usize; 2],
    sliding: Sliding,
}

/// How [`Session::conv2d`] moves over images and what it applies.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// From one window to the next, along both dimensions; at least 1.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: usize,
    /// Applied to the sums.
    pub activation: Activation,
}

impl Sliding {
    /// Windows along each dimension of images `[n, height, width, channels]`.
    fn over(self, op: &str, shape: &Shape) -> Result<Geometry> {
        let &[n, height, width, channels] = &**shape else {
            return Err(Error::OutOfRange(format!(
                "{op}: images of shape {shape}; [n, height, width, channels] is needed"
            )));
        };
        let [kh, kw] = self.size;
        if self.stride == 0 || kh == 0 || kw == 0 {
            return Err(Error::OutOfRange(format!(
                "{op}: windows of {kh} × {kw} at stride {}; none of them may be 0",
                self.stride
            )));
        }
        if kh.saturating_mul(kw) > MAX_WINDOW {
            return Err(Error::OutOfRange(format!("{op}: windows of {kh} × {kw}; at most 2^16 elements")));
        }
        let count = |extent: usize, size: usize| {
            let padded = extent.checked_add(self.padding.checked_mul(2)?)?;
            Some(padded.checked_sub(size)? / self.stride + 1)
        };
        let (Some(down), Some(across)) = (count(height, kh), count(width, kw)) else {
            return Err(Error::OutOfRange(format!(
                "{op}: windows of {kh} × {kw} do not fit images of {height} × {width} with padding {}",
                self.padding
            )));
        };
        Ok(Geometry { n, image: [height, width], channels, windows: [down, across], sliding: self })
    }
}

impl Geometry {
    /// The windows that contain position `at` of dimension `d`, in order, each with
    /// the position inside it.
    fn covering(self, d: usize, at: usize) -> impl Iterator<Item = (usize, usize)> {
        let Sliding { size, stride, padding } = self.sliding;
        let at = at + padding;
        let first = (at + 1).saturating_sub(size[d]).div_ceil(stride);
        (first..self.windows[d].min(at / stride + 1)).map(move |window| (window, at - window * stride))
    }
}

impl Window {
    /// Executes it.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        cpu::run(self, call)
    }

    /// A fold adds up one pixel for each thread.
    pub(crate) fn scratch_bytes(self, operands: &Operands) -> usize {
        let channels = operands.output(0).shape.last().copied().unwrap_or_default();
        match self {
            Self::Fold(_) => channels * size_of::<f64>() * operands.threads,
            _ => 0,
        }
    }
}

impl Session {
    /// `activation(x * weight + bias)`: images `[n, h, w, c]`, weights
    /// `[kh, kw, c, o]` and a bias `[o]` to `[n, oh, ow, o]` with
    /// oh = (h + 2 · padding − kh) / stride + 1, and ow alike. Floats. Windows are
    /// multiplied with the weights as they are, not mirrored, as in other libraries
    /// for neural networks. What lies under all windows is in memory at once:
    /// `[n, oh, ow, kh, kw, c]`.
    pub fn conv2d(&mut self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, with: &Conv2d) -> Result<Tensor> {
        same_dtype("conv2d", x, weight)?;
        check_float("conv2d", x.dtype())?;
        let (sx, sw) = (x.0.shape, weight.0.shape);
        let &[kh, kw, c, o] = &*sw else {
            return Err(Error::OutOfRange(format!(
                "conv2d: weights of shape {sw}; [kernel height, kernel width, channels, outputs] is needed"
            )));
        };
        let sliding = Sliding { size: [kh, kw], stride: with.stride, padding: with.padding };
        let geometry = sliding.over("conv2d", &sx)?;
        if geometry.channels != c {
            return Err(Error::OutOfRange(format!(
                "conv2d: images of shape {sx} have {} channels and weights of shape {sw} {c}",
                geometry.channels
            )));
        }
        let [down, across] = geometry.windows;
        let rows = Shape::new(&[geometry.n, down, across])?.elements();
        let patches = Shape::new(&[rows, Shape::new(&[kh, kw, c])?.elements()])?;
        let target = Shape::new(&[geometry.n, down, across, o])?;
        let patches = self.record(Op::Window(Window::Unfold(sliding)), &[x], Params::NONE, x.dtype(), patches)?;
        let flat = self.reshape(weight, &[kh * kw * c, o])?;
        let y = self.linear(&patches, &flat, bias, with.activation)?;
        self.reshape_to(&y, target)
    }

    /// The largest element of each channel under windows of `size` × `size`:
    /// `[n, h, w, c] → [n, (h − size) / stride + 1, (w − size) / stride + 1, c]`.
    /// Numbers; NaN if there is one. Its gradient goes to the first largest element.
    pub fn max_pool2d(&mut self, x: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
        if x.dtype() == DType::Bool {
            return Err(Error::TypeMismatch("max-pool2d needs a number type, not bool; cast it first".to_owned()));
        }
        let sliding = Sliding { size: [size, size], stride, padding: 0 };
        let geometry = sliding.over("max-pool2d", &x.0.shape)?;
        let [down, across] = geometry.windows;
        let target = Shape::new(&[geometry.n, down, across, geometry.channels])?;
        self.record(Op::Window(Window::MaxPool(sliding)), &[x], Params::NONE, x.dtype(), target)
    }
}

fn check_float(op: &str, dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::TypeMismatch(format!("{op} needs a float type, not {dtype}; cast it first")))
}
