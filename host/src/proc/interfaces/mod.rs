//! The host side of `wit/`, one file per interface, same names. Functions here
//! look things up, delegate and push; what they delegate to checks and computes.

#![expect(unreachable_pub, reason = "the generated code re-exports the types of handles and errors")]

mod declare;
mod job;
mod models;
mod tables;
mod tensors;
mod testing;
mod types;

/// Generated from `wit/`.
mod bindings {
    wasmtime::component::bindgen!({
        world: "proc",
        path: "../wit",
        imports: { default: trappable },
        with: {
            "quern:udf/tables.table": super::TableHandle,
            "quern:udf/tables.column": super::ColumnHandle,
            "quern:udf/tensors.tensor": crate::tensor::Tensor,
            "quern:udf/tensors.variable": super::VariableHandle,
            "quern:udf/tensors.tape": super::TapeHandle,
            "quern:udf/models.model": super::ModelHandle,
        },
        trappable_error_type: { "quern:udf/types.error" => super::HostError },
    });
}

/// Generated from `wit/testing.wit`.
mod testing_bindings {
    wasmtime::component::bindgen!({
        world: "test-kit",
        path: "../wit",
        imports: { default: trappable },
        with: { "quern:udf/types": super::bindings::quern::udf::types },
    });
}

pub(super) use bindings::quern::udf::types::Error as GuestError;
pub(super) use bindings::{Proc, ProcPre};
pub use tables::{ColumnHandle, TableHandle};
pub use tensors::{TapeHandle, VariableHandle};
pub(super) use testing_bindings::TestKit;
pub use types::HostError;

pub use super::models::ModelHandle;
