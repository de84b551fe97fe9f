//! Windows on the processor.

use super::{Geometry, Window};
use crate::base::Result;
use crate::tensor::call::Call;
use crate::tensor::element::{Element, Number, with_dtype};

/// Elements one thread looks at between two looks at the kill switch, about.
const CHUNK: usize = 1 << 14;

pub(super) fn run(op: Window, call: &Call) -> Result<()> {
    match op {
        Window::Unfold(sliding) => unfold(call, sliding.over("conv2d", &call.input(0).shape)?),
        Window::Fold(sliding) => {
            let geometry = sliding.over("conv2d", &call.output(0).shape)?;
            with_dtype!(any call.output(0).dtype, T => fold::<T>(call, geometry))
        }
        Window::MaxPool(sliding) => {
            let geometry = sliding.over("max-pool2d", &call.input(0).shape)?;
            with_dtype!(any call.output(0).dtype, T => max_pool::<T>(call, geometry))
        }
        Window::MaxPoolGrad(sliding) => {
            let geometry = sliding.over("max-pool2d", &call.output(0).shape)?;
            with_dtype!(any call.output(0).dtype, T => max_pool_gradient::<T>(call, geometry))
        }
    }
}

/// Copies what lies under each window, row of the kernel by row.
fn unfold(call: &Call, g: Geometry) -> Result<()> {
    let (input, output) = (call.input(0), call.output(0));
    let pixel = g.channels * input.dtype.size_bytes();
    let ([height, width], [down, across], [kh, kw]) = (g.image, g.windows, g.sliding.size);
    let (source, row) = (input.bytes(), kw * pixel);
    call.lanes.split(g.n * down * across, (CHUNK / (kh * row).max(1)).max(1), &|start, len| {
        for window in start..start + len {
            let (n, y, x) = (window / across / down, window / across % down, window % across);
            // SAFETY: windows are disjoint parts of the output.
            let target = unsafe { output.bytes_mut(window * kh * row, kh * row) };
            let left = x * g.sliding.stride;
            // Columns of the window inside the image.
            let from = g.sliding.padding.saturating_sub(left).min(kw);
            let to = (width + g.sliding.padding).saturating_sub(left).clamp(from, kw);
            for (k, target) in target.chunks_exact_mut(row.max(1)).enumerate() {
                if row > CHUNK && call.lanes.killed() {
                    return;
                }
                let line = (y * g.sliding.stride + k).checked_sub(g.sliding.padding).filter(|line| *line < height);
                let (Some(line), true) = (line, from < to) else {
                    target.fill(0);
                    continue;
                };
                let at = ((n * height + line) * width + left + from - g.sliding.padding) * pixel;
                target[..from * pixel].fill(0);
                target[to * pixel..].fill(0);
                target[from * pixel..to * pixel].copy_from_slice(&source[at..at + (to - from) * pixel]);
            }
        }
    })
}

/// Adds up, for each pixel, what the windows that contain it have, in their order.
fn fold<T: Element>(call: &Call, g: Geometry) -> Result<()> {
    let (patches, output) = (call.input(0).slice::<T>(), call.output(0));
    let ([height, width], [down, across], [kh, kw]) = (g.image, g.windows, g.sliding.size);
    let per_chunk = (CHUNK / (g.channels * kh * kw).max(1)).max(1);
    call.lanes.split(g.n * height * width, per_chunk, &|start, len| {
        let mut sums = vec![T::Work::default(); g.channels];
        for pixel in start..start + len {
            let (n, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
            sums.fill(T::Work::default());
            for (window_y, ky) in g.covering(0, y) {
                if kw * g.channels > CHUNK && call.lanes.killed() {
                    return;
                }
                for (window_x, kx) in g.covering(1, x) {
                    let window = (n * down + window_y) * across + window_x;
                    let at = ((window * kh + ky) * kw + kx) * g.channels;
                    for (sum, part) in sums.iter_mut().zip(&patches[at..]) {
                        *sum = sum.plus(part.widen());
                    }
                }
            }
            // SAFETY: pixels are disjoint parts of the output.
            let target = unsafe { output.slice_mut::<T>(pixel * g.channels, g.channels) };
            for (y, sum) in target.iter_mut().zip(&sums) {
                *y = T::narrow(*sum);
            }
        }
    })
}

/// The first largest element under a window, by its position in the images.
#[inline(always)]
fn largest<T: Element>(images: &[T], g: &Geometry, [n, y, x, channel]: [usize; 4]) -> usize {
    let [kh, kw] = g.sliding.size;
    let mut best = None;
    for ky in 0..kh {
        for kx in 0..kw {
            let (line, column) = (y * g.sliding.stride + ky, x * g.sliding.stride + kx);
            let at = ((n * g.image[0] + line) * g.image[1] + column) * g.channels + channel;
            let value = images[at].widen();
            let better = |(_, top): (usize, T::Work)| value > top || (value.is_nan() && !top.is_nan());
            if best.is_none_or(better) {
                best = Some((at, value));
            }
        }
    }
    best.map_or(0, |(at, _)| at)
}

fn max_pool<T: Element>(call: &Call, g: Geometry) -> Result<()> {
    let (images, output) = (call.input(0).slice::<T>(), call.output(0));
    let ([down, across], [kh, kw]) = (g.windows, g.sliding.size);
    call.lanes.split(output.elements(), (CHUNK / (kh * kw)).max(1), &|start, len| {
        // SAFETY: chunks are disjoint.
        let target = unsafe { output.slice_mut::<T>(start, len) };
        for (i, y) in (start..).zip(target) {
            let (window, channel) = (i / g.channels, i % g.channels);
            *y =
                images[largest(images, &g, [window / across / down, window / across % down, window % across, channel])];
        }
    })
}

fn max_pool_gradient<T: Element>(call: &Call, g: Geometry) -> Result<()> {
    let (dy, images, output) = (call.input(0).slice::<T>(), call.input(1).slice::<T>(), call.output(0));
    let [down, across] = g.windows;
    call.lanes.split(output.elements(), CHUNK, &|start, len| {
        // SAFETY: chunks are disjoint.
        unsafe { output.slice_mut::<T>(start, len) }.fill(T::default());
    })?;
    // Channels of one image are cut, its windows are not: they may share elements.
    let per_chunk = (CHUNK / (down * across).max(1)).clamp(1, g.channels.max(1));
    let parts = g.channels.div_ceil(per_chunk);
    call.lanes.run(g.n * parts, &|chunk| {
        let (n, first) = (chunk / parts, chunk % parts * per_chunk);
        for channel in first..(first + per_chunk).min(g.channels) {
            for window in 0..down * across {
                if window % CHUNK == CHUNK - 1 && call.lanes.killed() {
                    return;
                }
                let at = largest(images, &g, [n, window / across, window % across, channel]);
                // SAFETY: a chunk owns its channels of its image.
                let target = unsafe { output.slice_mut::<T>(at, 1) };
                let part = dy[(n * down * across + window) * g.channels + channel];
                for y in target {
                    *y = T::narrow(y.widen().plus(part.widen()));
                }
            }
        }
    })
}
