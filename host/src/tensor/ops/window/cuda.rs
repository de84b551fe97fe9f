//! Windows on CUDA.

use super::{Geometry, Window};
use crate::tensor::call::{Operands, View};
use crate::tensor::cuda::{Arg, Family, Recorder, tag, unit};

const FAMILY: Family = Family { name: "window", text: include_str!("kernels.cu") };

impl Window {
    /// Records its execution.
    pub(crate) fn record(self, call: &Operands, on: &mut Recorder) {
        let (input, output) = (call.input(0), call.output(0));
        let (images, name, sliding) = match self {
            Self::Unfold(sliding) => (input, "unfold", sliding),
            Self::Fold(sliding) => (output, "fold", sliding),
            Self::MaxPool(sliding) => (input, "max_pool", sliding),
            Self::MaxPoolGrad(sliding) => (output, "max_pool_gradient", sliding),
        };
        // The shapes were checked when it was recorded by the session.
        let Ok(mut geometry) = sliding.over(name, &images.shape) else { return };
        let operands = (0..call.inputs.len()).map(|i| *call.input(i)).chain([*output]).map(Arg::from);
        if name == "unfold" {
            let pixel = geometry.channels * input.dtype.size_bytes();
            let (unit, tag, kind) = unit(pixel, &[input, output]);
            geometry.channels = pixel / unit;
            let kernel = on.kernel_of(&FAMILY, &format!("UNFOLDS({tag}, {kind})"), &format!("unfold_{tag}"));
            let args = operands.chain([geometry.words()]).collect();
            return on.each(kernel, size(output) / unit, args);
        }
        let kernel = on.kernel(&FAMILY, ("WINDOWS", output.dtype), &format!("{name}_{}", tag(output.dtype)));
        on.each(kernel, output.elements(), operands.chain([geometry.words()]).collect());
    }
}

fn size(view: &View) -> usize {
    view.shape.size_bytes(view.dtype)
}

impl Geometry {
    /// As in `kernels.cu`.
    fn words(&self) -> Arg {
        let ([height, width], [down, across], [kh, kw]) = (self.image, self.windows, self.sliding.size);
        let sliding = [kh, kw, self.sliding.stride, self.sliding.padding];
        let all = [self.n, height, width, self.channels, down, across].into_iter().chain(sliding);
        Arg::Words(all.map(|n| n as u64).collect())
    }
}
