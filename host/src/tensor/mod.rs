//! Tensors: values in a recorded program, its planning and its execution.
//!
//! API (being filled in; one method of [`Session`] per function of
//! `wit/tensors.wit`, same name with `_`, `&Tensor` for `borrow<tensor>`):
//!
//! ```text
//! Executor::new(device: Device) -> Arc<Executor>                   one per device; .device()
//! Session::new(executor: &Arc<Executor>, settings: Settings) -> Session     (Send; one per instance)
//! Settings { quota: Quota, kill: KillSwitch, limits: Limits, seed: u64, stream: u64 (shard), mode: Mode::{Planned, Unplanned} }
//! Tensor (Clone, Send): dtype() -> DType, shape() -> &[usize]      Variable (Clone, Send)      Tape (Send; drop it before the next begins)
//! session.from_bytes(dtype, shape: &[usize], &[u8]) / full(dtype, shape, f64) / range(dtype, start, count: usize, step)
//!   random_normal(dtype, shape, mean, std) / random_uniform(dtype, shape, low, high) / random_permutation(count)     -> Result<Tensor>
//! session.from_buffer(buffer: Buffer, offset_bytes: usize, dtype, shape) -> Result<Tensor>       no copy
//! session.add(&a, &b) … where_(&cond, &yes, &no), cast(&a, dtype), matmul(&a, &b, Transposed { a: bool, b: bool }),
//!   linear(&x, &w, Option<&bias>, Activation)  (Activation: FromStr),  softmax(&a, axis: i32), cross_entropy(&logits, &labels),
//!   reduce_sum(&a, axes: &[i32], Keep::{Removed, Kept}), reduce_mean, reduce_max, arg_max(&a, axis),
//!   reshape(&a, &[usize]), transpose(&a, &[usize]), slice(&a, axis: i32, start: u64, length: u64), gather(&a, axis, &indices),
//!   concat(axis, &[&Tensor]), one_hot(&ids, classes: usize, dtype)                                 -> Result<Tensor>
//! session.variable(&initial) -> Result<Variable>; value(&Variable) -> Result<Tensor>; assign(&Variable, &Tensor) -> Result<()>
//! session.tape(&[&Variable]) -> Result<Tape>; gradients(&Tape, &loss) -> Result<Vec<Tensor>>
//! session.sgd(&Sgd { variables: &[&Variable], gradients: &[&Tensor], velocities: &[&Variable], rate, momentum, decay })
//! session.adam(&Adam { variables, gradients, first, second, step: u64, rate, beta1, beta2, epsilon, decay })
//! session.read(&Tensor) -> Result<Vec<u8>>; read_into(&Tensor, &mut [u8]); buffer(&Tensor) -> Result<Buffer>; item(&Tensor) -> Result<f64>
//! session.sync(); session.step(); session.stats() -> Stats
//! ```
