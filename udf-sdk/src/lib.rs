//! Write procs for Quern: functions that run beside the rows of a table, on the
//! device that holds them, sandboxed in WebAssembly.
//!
//! ```no_run
//! use quern_udf::prelude::*;
//!
//! procs! {
//!     /// Fits a small classifier to labelled images.
//!     nondistributed train {
//!         /// Images and what they show.
//!         input images { data: tensor(uint8, [28, 28]), label: numeric }
//!         /// One model per run.
//!         output trained: models { loss: float64 }
//!         /// Passes over the images.
//!         param epochs: int = 5;
//!     }
//! }
//!
//! fn train(p: &Proc) -> Result {
//!     let images = p.input("images")?.tensor("data")?; // on the device, no copy
//!     let labels = p.input("images")?.tensor("label")?;
//!
//!     let x = images.reshape(&[images.len(), 784])?.cast(Float32)?.affine(1.0 / 255.0, 0.0)?;
//!     let net = Mlp::new(&[784, 64, 10])?;
//!     let mut adam = Adam::new(&net, 1e-3)?;
//!     let mut loss = f64::NAN;
//!     for epoch in 0..p.param::<u32>("epochs")? {
//!         loss = adam.step(|| net.forward(&x)?.cross_entropy(&labels))?.item()?;
//!         p.metric("loss", epoch.into(), loss);
//!     }
//!     p.output("trained")?.save("tiny", &net, &[("loss", &loss)])?;
//!     Ok(())
//! }
//! ```
//!
//! How it works
//! * Nothing is read into the proc unless it asks ([`Tensor::to_vec`],
//!   [`Column::to_vec`]): tables, columns and tensors are handles, four bytes
//!   each, to what lies on the device.
//! * Operations on tensors are recorded and executed together when a value is
//!   needed; a training loop that does the same in each turn is planned once and
//!   replayed (see [`Tape`]).
//! * Returning `Ok` completes the run: outputs commit. An error, a panic or a
//!   limit discards all of them.
//! * `quern proc build` turns the crate into a component, `quern proc create`
//!   registers it.
//!
//! Outside a database every call to the host panics; plain functions can be
//! tested with `cargo test`, procs with [`tests!`] and `quern proc test`.

mod cells;
mod column;
mod declare;
mod error;
mod log;
mod model;
mod panic;
mod proc;
mod table;
mod tape;
mod tensor;

#[doc(hidden)]
pub mod bindings;
pub mod nn;
pub mod testing;

pub use bindings::quern::udf::types::Dtype as DType;
pub use cells::{Cell, IntoCell};
pub use column::{Column, Field};
pub use error::{Error, ErrorCode, Result};
pub use log::{debug, error, info, trace, warn};
pub use model::{Model, Module};
pub use proc::{Param, Proc};
pub use table::Table;
pub use tape::{Tape, Variable};
pub use tensor::{Compute, Element, Tensor, set_compute, step, sync};

/// All that a proc usually needs: `use quern_udf::prelude::*;`.
pub mod prelude {
    pub use crate::DType::{self, *};
    pub use crate::nn::{Activation, Adam, Linear, Mlp, Schedule, Sgd};
    pub use crate::{Column, Error, Model, Module, Proc, Result, Table, Tape, Tensor, Variable, bail, procs};
    pub use crate::{debug, error, info, trace, warn};
}

#[doc(hidden)]
pub mod __private {
    //! What the macro [`crate::procs!`] expands to.
    pub use crate::bindings::exports::quern::udf::entry::Guest;
    pub use crate::bindings::quern::udf::types::Error as HostError;
    pub use crate::declare::{Declaration, dispatch};
    pub use crate::panic::install as install_panic_hook;
}
