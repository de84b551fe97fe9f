//! Procs that use handles that are not theirs to use.

use quern_udf::bindings::quern::udf::tables;
use quern_udf::bindings::quern::udf::tensors::Tensor;
use quern_udf::bindings::quern::udf::types::Dtype;
use quern_udf::prelude::{Proc, Result};

pub(crate) fn mixes_handles(p: &Proc) -> Result {
    let outputs = tables::outputs();
    let handle = outputs.first().map_or(1, |table| table.handle());
    // SAFETY: it is not safe; the host must find out.
    let wrong = unsafe { Tensor::from_handle(handle) };
    p.result("shape", wrong.shape().len())
}

pub(crate) fn uses_what_is_gone(p: &Proc) -> Result {
    let tensor = Tensor::full(Dtype::Float32, &[1], 0.0)?;
    let handle = tensor.handle();
    drop(tensor);
    // SAFETY: as above.
    let gone = unsafe { Tensor::from_handle(handle) };
    p.result("shape", gone.shape().len())
}

pub(crate) fn drops_twice(_: &Proc) -> Result {
    let tensor = Tensor::full(Dtype::Float32, &[1], 0.0)?;
    // SAFETY: as above.
    let twice = unsafe { Tensor::from_handle(tensor.handle()) };
    drop(tensor);
    drop(twice);
    Ok(())
}
