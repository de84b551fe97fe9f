//! Executing programs on CUDA.
//!
//! Recording, graphs, plans and the pipeline are the same for every device; only an
//! instruction is executed differently. Here an operation *records* what it would
//! have the device do: launches of kernels, products by cuBLAS, copies (its
//! `cuda.rs`), and the [`Machine`] has the device do all of it in order, on one
//! stream. Addresses of values are the device's and never looked at by this process.
//!
//! * Scalars that change from step to step are in the program's parameters, which are
//!   copied to the device before it; kernels get the address of theirs.
//! * What an operation needs for itself is scratch: one piece of memory for all
//!   operations of a program, which run one after another. How much that is, is found
//!   by recording once without memory.
//! * Indices are checked on the device. Each check leaves a *report*, looked at when
//!   the program has ended.
//!
//! A plan that is replayed with its inputs and variables where they were is recorded
//! as a graph, which the device replays with one call; what it makes is copied from
//! where the graph has it.
//!
//! Kernels are texts (`kernels.cu` beside the operations, `prelude.cu` before each),
//! compiled when they are first needed; those of elementwise chains are generated.

mod compiling;
mod library;
mod machine;
mod recorder;
pub(crate) mod sort;

pub use compiling::is_compiling;
pub(crate) use library::{Family, Named};
pub(crate) use machine::{Captured, Machine, Made, Needs, Replayed, Single, Workspace};
pub(crate) use recorder::{Arg, Grid, Product, Products, Recorder};

use crate::base::DType;
use crate::tensor::call::View;

/// The tag of a type in names of kernels.
pub(crate) fn tag(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::I8 => "i8",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::U8 => "u8",
        DType::U16 => "u16",
        DType::U32 => "u32",
        DType::U64 => "u64",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::F32 => "f32",
        DType::F64 => "f64",
    }
}

/// The type of elements in memory in kernel texts.
pub(crate) fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "Truth",
        DType::F16 => "Half",
        DType::BF16 => "Brain",
        other => tag(other),
    }
}

/// The number of an integer type for `integer_at` in `prelude.cu`.
pub(crate) fn integer_kind(dtype: DType) -> u64 {
    match dtype {
        DType::I8 => 0,
        DType::I16 => 1,
        DType::I32 => 2,
        DType::U8 => 4,
        DType::U16 => 5,
        DType::U32 => 6,
        _ => 3,
    }
}

/// The largest unit in which rows of `bytes` can be moved between these views: its
/// size, and the tag and type of kernels for it.
pub(crate) fn unit(bytes: usize, views: &[&View]) -> (usize, &'static str, &'static str) {
    let fits =
        |size: usize| bytes.is_multiple_of(size) && views.iter().all(|view| (view.ptr as usize).is_multiple_of(size));
    match () {
        () if fits(8) => (8, "8", "u64"),
        () if fits(4) => (4, "4", "u32"),
        () if fits(2) => (2, "2", "u16"),
        () => (1, "1", "u8"),
    }
}
